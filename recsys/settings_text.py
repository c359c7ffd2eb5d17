"""The settings as text: a table with where each came from, TOML, and the JSON Schema for editors."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import tomli_w
from pydantic import TypeAdapter

from recsys import settings
from recsys.config import Config
from recsys.settings import Resolved


def table(resolved: Resolved) -> str:
    """One line per setting: name, value ('-' if left out; secrets are masked), and where it came from."""
    rows = [("setting", "value", "from")]
    for place, value in settings.leaves(settings.to_record(resolved.config)).items():
        rows.append((".".join(place), shown(value), resolved.origin(place)))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(f"{name:<{widths[0]}}  {value:<{min(widths[1], 40)}}  {origin}" for name, value, origin in rows)


def toml(config: Config) -> str:
    """A file that gives the same configuration with --config, but for secrets, which are masked; paths are absolute."""
    tree = _without_none(settings.to_record(config))
    for name in ("interactions", "users", "items"):
        described = tree["source"].get(name)
        if described is not None and "://" not in described["path"]:
            described["path"] = os.path.abspath(described["path"])
    return tomli_w.dumps(tree)


def schema() -> str:
    """The JSON Schema of the TOML file."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(dialect | TypeAdapter(Config).json_schema() | {"title": "recsys"}, indent=2)


def shown(value: Any) -> str:
    """A value for people: `-` if it is left out."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "(none)"
    if isinstance(value, Mapping):
        return "(none)"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) and value.strip() != value else str(value)


def _without_none(tree: Mapping[str, Any]) -> dict[str, Any]:
    """TOML has no null: what is left out is None."""
    kept = {name: value for name, value in tree.items() if value is not None}
    return {name: _without_none(value) if isinstance(value, Mapping) else value for name, value in kept.items()}
