"""Fills the configuration: defaults < file < environment < command line. An unknown key is an error.

A TOML file has one table per section (`[source]`, `[split]`, `[training]`, …). Environment variables name the same fields as
`RECSYS__SECTION__FIELD`, and the command line as `--set section.field=value`, besides its own options.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError, create_model
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.sources import EnvSettingsSource, InitSettingsSource, TomlConfigSettingsSource

from recsys import redaction, setting_errors
from recsys.config import Config
from recsys.errors import ConfigError

ENVIRONMENT_PREFIX = "RECSYS__"
COMMAND_LINE = "command line"
_SECTIONS = {field.name for field in dataclasses.fields(Config)}
Location = tuple[str, ...]
"""A field's name in parts, such as ("training", "epochs")."""


@dataclasses.dataclass(frozen=True)
class Resolved:
    """A configuration, and where its values came from.

    Attributes:
        config: the configuration.
        origins: where each value came from: "file PATH", the name of an environment variable, or "command line". Values that
            are not in there are defaults.
    """

    config: Config
    origins: Mapping[Location, str]

    def origin(self, place: Location) -> str:
        """Where the value came from: one of `origins`, or "default"."""
        return next((self.origins[place[:n]] for n in range(len(place), 0, -1) if place[:n] in self.origins), "default")


class _Fields(BaseSettings):
    """What pydantic-settings fills; the fields of Config are added below."""

    model_config = SettingsConfigDict(extra="forbid", case_sensitive=True, enable_decoding=False, allow_inf_nan=False)


class _File(TomlConfigSettingsSource):
    """A TOML file, with its relative paths made relative to it."""

    def _read_file(self, file_path: Any) -> dict[str, Any]:
        tree = super()._read_file(file_path)
        source = tree.get("source")
        for name in ("interactions", "users", "items"):
            table = source.get(name) if isinstance(source, dict) else None
            if isinstance(table, dict):
                _make_relative(table, "path", file_path)
        if isinstance(source, dict):
            _make_relative(source, "forget", file_path)
        return tree


def _make_relative(tree: dict[str, Any], name: str, file_path: Any) -> None:
    """Makes a relative path in a file relative to that file."""
    path = tree.get(name)
    if isinstance(path, str) and path and "://" not in path:
        tree[name] = os.path.join(os.path.dirname(os.path.abspath(file_path)), path)


class _Environment(EnvSettingsSource):
    """The variables that begin with RECSYS__; the library reads os.environ alone and passes over unknown sections."""

    def __init__(self, settings: type[BaseSettings], environment: Mapping[str, str]) -> None:
        self._given = {name.lower(): value for name, value in variables(environment).items()}
        super().__init__(settings, case_sensitive=False, env_prefix=ENVIRONMENT_PREFIX.lower(), env_nested_delimiter="__")

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._given

    def __call__(self) -> dict[str, Any]:
        tree = super().__call__()
        parts = {name[len(ENVIRONMENT_PREFIX) :].split("__")[0]: value for name, value in self._given.items()}
        return tree | {name: value for name, value in parts.items() if name not in self.settings_cls.model_fields}


def load(file: str | None, environment: Mapping[str, str], options: Iterable[tuple[str, Any]]) -> Config:
    """The configuration; see `resolve`."""
    return resolve(file, environment, options).config


def resolve(
    file: str | None, environment: Mapping[str, str], options: Iterable[tuple[str, Any]], origin: str = COMMAND_LINE
) -> Resolved:
    """Resolves the configuration.

    Args:
        file: path of a TOML file, or None.
        environment: usually os.environ; only names that begin with RECSYS__ are read.
        options: pairs of a dotted field name and a value; None means "not given".
        origin: where the options came from, for messages.

    Raises:
        ConfigError: an unknown key, a value that is not allowed, or a file that cannot be read; names all of them.
    """
    given = [(name, value) for name, value in options if value is not None]
    settings = _settings()
    sources = [] if file is None else [(_read_toml(settings, file), f"file {file}")]
    return _resolve(
        settings, [*sources, (_Environment(settings, environment), ""), (_options(settings, given), origin)], environment
    )


def change(
    config: Config,
    options: Iterable[tuple[str, Any]],
    sections: tuple[str, ...],
    environment: Mapping[str, str] | None = None,
    origin: str = COMMAND_LINE,
) -> Config:
    """A run's configuration with some settings of the given sections changed.

    Args:
        config: the configuration that the run was made with.
        options: pairs of a dotted field name and a value.
        sections: the sections that may be changed.
        environment: usually os.environ; variables of other sections are left alone, see `ignored`, but for Spark properties
            that are masked in run.json.
        origin: where the options came from, for messages.

    Raises:
        ConfigError: a setting of another section, which an earlier stage has already used, or one that is wrong.
    """
    given = list(options)
    for name, _ in given:
        section = name.split(".", maxsplit=1)[0]
        if section not in sections and section in _SECTIONS:  # what is no section at all is refused below
            raise ConfigError(
                f"--set {name}: this stage only reads {' and '.join(f'[{section}]' for section in sections)}; "
                "start a new run to change other settings"
            )
    masked = {("spark", "conf", name) for name, value in config.spark.conf.items() if redaction.MASK in value}
    own = {
        name: value
        for name, value in variables(environment or {}).items()
        if location(name)[0] in sections or location(name) in masked
    }
    settings = _settings()
    stored = (InitSettingsSource(settings, to_dict(config)), "run.json")
    return _resolve(settings, [stored, (_Environment(settings, own), ""), (_options(settings, given), origin)], own).config


def ignored(config: Config, sections: tuple[str, ...], environment: Mapping[str, str]) -> list[str]:
    """Names of the variables that `change` leaves alone although they would change the run's configuration."""
    found = []
    for name, value in sorted(variables(environment).items()):
        if location(name)[0] in ("output", *sections):
            continue
        settings = _settings()
        stored = (InitSettingsSource(settings, to_dict(config)), "run.json")
        try:
            changed = _resolve(settings, [stored, (_Environment(settings, {name: value}), "")], {}).config
        except ConfigError:
            changed = None
        if changed is None or not same(changed, config):
            found.append(name)
    return found


def output(environment: Mapping[str, str], option: str | None) -> str:
    """The output that a command without further settings works on: its option, RECSYS__OUTPUT or the default.

    Raises:
        ConfigError: it cannot be a folder or URI.
    """
    known = {name: value for name, value in variables(environment).items() if location(name) == ("output",)}
    return load(None, known, [("output", option)]).output


def to_dict(config: Any) -> dict[str, Any]:
    """The configuration as plain JSON types, for another process; `from_dict(Config, …)` reads it back."""
    return dataclasses.asdict(config)


def to_record(config: Config) -> dict[str, Any]:
    """The configuration to be recorded or shown: `to_dict`, with secrets masked; `from_dict(Config, …)` reads it back."""
    tree = to_dict(config)
    tree["source"]["mirror"] = redaction.redacted(config.source.mirror)
    tree["monitoring"]["pushgateway"] = redaction.redacted(config.monitoring.pushgateway)
    tree["spark"] = redaction.redacted(tree["spark"])
    return tree


def same(one: Config, other: Config) -> bool:
    """Whether two configurations are the same but for secrets: run.json does not have them, and they may be renewed."""
    return to_record(one) == to_record(other)


def from_dict(cls: type, tree: Mapping[str, Any], origin: str = "") -> Any:
    """Builds the dataclass `cls` from nested mappings, with its checks and defaults.

    Args:
        cls: Config, one of its sections, or another dataclass.
        tree: what `to_dict` returned, by this or an earlier version.
        origin: where it came from, for messages.

    Raises:
        ConfigError: unknown or missing keys, or values that are not allowed.
    """
    adapter: TypeAdapter[Any] = TypeAdapter(cls)
    try:
        return adapter.validate_python(tree)
    except ValidationError as error:
        raise setting_errors.explain(error, adapter.json_schema(), {(): origin} if origin else {}) from None


def location(variable: str) -> Location:
    """The field that an environment variable names."""
    return tuple(variable[len(ENVIRONMENT_PREFIX) :].lower().split("__"))


def variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that are settings."""
    return {name: value for name, value in environment.items() if name.startswith(ENVIRONMENT_PREFIX)}


def _settings() -> type[BaseSettings]:
    types = typing.get_type_hints(Config, include_extras=True)
    fields: dict[str, Any] = {field.name: (types[field.name], field.default) for field in dataclasses.fields(Config)}
    return create_model("Settings", __base__=_Fields, **fields)


def _read_toml(settings: type[BaseSettings], file: str) -> _File:
    if not os.path.exists(file):
        raise ConfigError(f"configuration file {file} does not exist")
    try:
        return _File(settings, toml_file=Path(file))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"configuration file {file} cannot be read: {error}") from None


def _options(settings: type[BaseSettings], given: list[tuple[str, Any]]) -> PydanticBaseSettingsSource:
    tree: dict[str, Any] = {}
    for name, value in given:
        # Spark's properties have dots in their names.
        keys = name.split(".", maxsplit=2 if name.startswith("spark.conf.") else -1)
        part = tree
        for place, key in enumerate(keys[:-1]):
            part = part.setdefault(key, {})
            if not isinstance(part, dict):
                raise ConfigError(f"--set {name}: '{'.'.join(keys[: place + 1])}' is a value, not a section")
        part[keys[-1]] = value
    return InitSettingsSource(settings, tree)


def _resolve(
    settings: type[BaseSettings], sources: list[tuple[PydanticBaseSettingsSource, str]], environment: Mapping[str, str]
) -> Resolved:
    """Merges the sources, the later ones winning; a source without an origin is the environment."""

    class Filled(settings):  # type: ignore[valid-type,misc]
        @classmethod
        def settings_customise_sources(cls, *_: Any, **__: Any) -> tuple[PydanticBaseSettingsSource, ...]:
            return tuple(source for source, _ in reversed(sources))

    names = {location(name): name for name in variables(environment)}
    origins: dict[Location, str] = {}
    for source, origin in sources:
        origins |= {place: origin or _variable(names, place) for place in leaves(source())}
    try:
        filled = Filled()
        config = TypeAdapter(Config).validate_python({name: getattr(filled, name) for name in Filled.model_fields})
    except ValidationError as error:
        raise setting_errors.explain(error, TypeAdapter(Config).json_schema(), origins) from None
    return Resolved(config, origins)


def _variable(names: Mapping[Location, str], place: Location) -> str:
    """The variable that set a field, or something below what is no field."""
    return next((name for known, name in names.items() if known[: len(place)] == place), "environment")


def leaves(tree: Mapping[str, Any]) -> dict[Location, Any]:
    """The values of nested mappings by their place; an empty mapping is a value."""
    found: dict[Location, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            found |= {(name, *place): leaf for place, leaf in leaves(value).items()}
        else:
            found[(name,)] = value
    return found
