"""The traditional methods by name, as `evaluation.baselines` lists them."""

from __future__ import annotations

import importlib

from recsys.config import Baseline
from recsys.methods.base import TraditionalMethod


def find(name: Baseline) -> type[TraditionalMethod]:
    """The method of that name: `METHOD` of the module that is called like it."""
    module = importlib.import_module(f"recsys.methods.{name.replace('-', '_')}")
    found: type[TraditionalMethod] = module.METHOD
    return found
