"""Fills the configuration: defaults < file < environment < command line. An unknown key is an error.

A TOML file has one table for each section (`[source]`, `[split]`, `[training]`, …). The environment names the same fields as
`RECSYS__SECTION__FIELD`, and the command line as `--set section.field=value` beside its own options.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from recsys import storage
from recsys.config import Config
from recsys.errors import ConfigError

ENVIRONMENT_PREFIX = "RECSYS__"


def load(file: str | None, environment: Mapping[str, str], options: Iterable[tuple[str, Any]]) -> Config:
    """Resolves the configuration.

    Args:
        file: path of a TOML file, or None.
        environment: usually os.environ; only names that start with RECSYS__ are read.
        options: pairs of a dotted field name and a value, from the command line; None means "not given".

    Raises:
        ConfigError: an unknown key, a value of the wrong type, or a file that cannot be read.
    """
    tree: dict[str, Any] = {}
    if file is not None:
        tree = _read_toml(file)
    for name, value in sorted(environment.items()):
        if name.startswith(ENVIRONMENT_PREFIX):
            _put(tree, name[len(ENVIRONMENT_PREFIX) :].lower().split("__"), value, name)
    for name, value in options:
        if value is not None:
            _put(tree, name.split("."), value, f"--set {name}")
    config: Config = from_dict(Config, tree)
    _check(config)
    return config


def change(config: Config, options: Iterable[tuple[str, Any]], sections: tuple[str, ...]) -> Config:
    """The configuration of a run with some settings changed, of the given sections alone.

    Raises:
        ConfigError: a setting of another section, which an earlier stage has already used, or one that does not exist.
    """
    tree = to_dict(config)
    for name, value in options:
        section = name.split(".", maxsplit=1)[0]
        if section not in sections:
            raise ConfigError(
                f"--set {name}: this stage reads the sections {', '.join(sections)} alone; begin a new run to change it"
            )
        _put(tree, name.split("."), value, f"--set {name}")
    changed: Config = from_dict(Config, tree)
    _check(changed)
    return changed


def to_dict(config: Any) -> dict[str, Any]:
    """The configuration as plain JSON types, for run.json; `from_dict(Config, …)` reads it back."""
    return dataclasses.asdict(config)


def from_dict(cls: type, tree: Mapping[str, Any], where: str = "") -> Any:
    """Builds the dataclass `cls` from nested mappings, converting text to the field's type.

    Raises:
        ConfigError: an unknown key, a missing one, or a value of the wrong type.
    """
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    unknown = sorted(set(tree) - set(fields))
    if unknown:
        raise ConfigError(f"unknown key '{where}{unknown[0]}'; known here: {', '.join(fields)}")
    values = {name: _convert(value, hints[name], where + name) for name, value in tree.items()}
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise ConfigError(f"missing key '{where}{name}'")
    return cls(**values)


def _read_toml(file: str) -> dict[str, Any]:
    try:
        tree = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"configuration file {file} is not there") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"configuration file {file} cannot be read: {error}") from None
    for name in ("interactions", "users", "items"):
        table = tree.get("source", {}).get(name)
        if isinstance(table, dict) and isinstance(table.get("path"), str) and "://" not in table["path"]:
            table["path"] = os.path.join(os.path.dirname(os.path.abspath(file)), table["path"])
    return tree


def _put(tree: dict[str, Any], keys: list[str], value: Any, name: str) -> None:
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"{name}: '{key}' is a value, not a section")
    tree[keys[-1]] = value


def _convert(value: Any, hint: Any, where: str) -> Any:
    """`value` as the type `hint`; text is parsed, since the environment and the command line know nothing else."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None or (isinstance(value, str) and value.lower() in ("", "none", "auto") and str not in arguments):
            return None
        return _convert(value, next(a for a in arguments if a is not type(None)), where)
    if origin is Literal:
        if value not in arguments:
            raise ConfigError(f"'{where}' must be one of {', '.join(map(str, arguments))}, not {value!r}")
        return value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise ConfigError(f"'{where}' is a section, not the value {value!r}")
        return from_dict(hint, value, where + ".")
    return _collection(value, hint, where) if origin is not None else _scalar(value, hint, where)


def _collection(value: Any, hint: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        parts = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        if not isinstance(parts, list | tuple):
            raise ConfigError(f"'{where}' must be a list, not {value!r}")
        return tuple(_convert(part, arguments[0], where) for part in parts)
    if not isinstance(value, Mapping):
        raise ConfigError(f"'{where}' must be a table of keys, not {value!r}")
    return {str(key): _convert(part, arguments[1], f"{where}.{key}") for key, part in value.items()}


def _scalar(value: Any, hint: type, where: str) -> Any:
    words = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False, "off": False}
    try:
        if hint is bool and isinstance(value, str):
            return words[value.lower()]
        if hint is int and isinstance(value, str):
            return int(value.replace("_", ""))
        if hint is float and isinstance(value, str | int) and not isinstance(value, bool):
            return float(value)
    except (KeyError, ValueError):
        raise ConfigError(f"'{where}' must be of type {hint.__name__}, not {value!r}") from None
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ConfigError(f"'{where}' must be of type {hint.__name__}, not {value!r}")
    return value


def _check(config: Config) -> None:
    tables = (config.source.interactions, config.source.users, config.source.items)
    for uri in (config.output, *(table.path for table in tables if table is not None)):
        storage.check(uri)
    fractions = [
        ("split.test_fraction", config.split.test_fraction),
        ("split.valid_fraction", config.split.valid_fraction),
    ]
    for name, value in fractions:
        if not 0 < value < 1:
            raise ConfigError(f"'{name}' must lie between 0 and 1, not be {value}")
    shares = {"features.max_rejected": config.features.max_rejected, "training.cold_starts": config.training.cold_starts}
    for name, share in shares.items():
        if share is not None and not 0 <= share <= 1:
            raise ConfigError(f"'{name}' must lie between 0 and 1, not be {share}")
    positive: dict[str, float | None] = {
        "recommend.k": config.recommend.k,
        "recommend.block_users": config.recommend.block_users,
        "recommend.rows_per_file": config.recommend.rows_per_file,
        "training.row_length": config.training.row_length,
        "training.learning_rate": config.training.learning_rate,
        "source.synthetic.users": config.source.synthetic.users,
        "source.synthetic.items": config.source.synthetic.items,
        "source.synthetic.mean_events": config.source.synthetic.mean_events,
        "features.max_vocabulary": config.features.max_vocabulary,
        "model.kernel_size": config.model.kernel_size,
        "evaluation.max_users": config.evaluation.max_users,
        "training.epochs": config.training.epochs,
        "training.batch_tokens": config.training.batch_tokens,
        "training.patience": config.training.patience,
        "model.width": config.model.width,
    }
    for name, size in positive.items():
        if size is not None and not size > 0:
            raise ConfigError(f"'{name}' must be greater than 0, not {size}")
    if config.publish.keep_runs < 0:
        raise ConfigError(f"'publish.keep_runs' must be 0 (all runs stay) or more, not {config.publish.keep_runs}")
    if config.training.negatives is not None and config.training.negatives < 0:
        raise ConfigError(f"'training.negatives' must be 0 (all items) or greater, not {config.training.negatives}")
    if config.source.dataset == "tabular" and config.source.interactions is None:
        raise ConfigError("a tabular source needs [source.interactions] in a configuration file; see README, 'Your own events'")
