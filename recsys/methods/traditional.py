"""The traditional methods by the names used in `evaluation.baselines`."""

from __future__ import annotations

import importlib

from recsys.config import Baseline
from recsys.methods.base import TraditionalMethod


def find(name: Baseline) -> type[TraditionalMethod]:
    """The method of that name: `METHOD` of the module of the same name."""
    module = importlib.import_module(f"recsys.methods.{name.replace('-', '_')}")
    found: type[TraditionalMethod] = module.METHOD
    return found
