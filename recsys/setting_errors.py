"""What is wrong with the settings, in the words of their user: key, what is allowed, what was given, and where."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from recsys.errors import ConfigError
from recsys.redaction import redacted

_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")
_MISSING = ("missing", "missing_argument")
_SECTION = ("dataclass_type", "dataclass_exact_type", "model_type")
_TYPES = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "text"}


def explain(error: ValidationError, schema: Mapping[str, Any], origins: Mapping[tuple[str, ...], str]) -> ConfigError:
    """One error that lists all that is wrong.

    Args:
        error: pydantic's.
        schema: JSON Schema of what was validated.
        origins: where the values came from, by their place; () stands for all others.
    """
    problems = error.errors(include_url=False)
    # A list whose values were refused also counts as too short.
    inside = {problem["loc"][:-1] for problem in problems}
    shown = [problem for problem in problems if problem["type"] != "too_short" or problem["loc"] not in inside]
    lines = [_line(problem, schema, origins) for problem in shown]
    if len(lines) == 1:
        return ConfigError(lines[0])
    return ConfigError("\n  ".join([f"{len(lines)} settings are wrong:", *lines]))


def _line(problem: Any, schema: Mapping[str, Any], origins: Mapping[tuple[str, ...], str]) -> str:
    place = tuple(map(str, problem["loc"]))
    names = [part for part in problem["loc"] if isinstance(part, str)]
    key, kind, value = ".".join(names), problem["type"], problem["input"]
    given = repr(redacted(value, names[-1] if names else ""))
    given = given if len(given) <= 80 else given[:77] + "..."
    words = str(problem.get("ctx", {}).get("error", "")) if kind == "value_error" else ""
    if kind in _UNKNOWN:
        told = f"unknown key '{key}'; {_suggestion(schema, place)}"
    elif kind in _MISSING:
        told = f"missing key '{key}'"
    elif kind in _SECTION:
        told = f"'{key}' is a section, not a value such as {given}"
    elif words.startswith("must "):
        told = f"'{key}' {words}, not {given}"
    elif words:
        told = f"{f'[{key}]' if _node(schema, place).get('properties') else key}: {words}" if key else words
    else:
        each = "" if len(names) == len(place) else "each value of "
        told = f"{each}'{key}' must be {_allowed(schema, _node(schema, place))}, not {given}"
    origin = _origin(place, origins)
    return f"{told} ({origin})" if origin else told


def _origin(place: tuple[str, ...], origins: Mapping[tuple[str, ...], str]) -> str:
    for length in range(len(place), 0, -1):
        below = [origin for known, origin in origins.items() if known[:length] == place[:length]]
        if below:
            return below[-1]
        if place[:length] in origins:
            return origins[place[:length]]
    return origins.get((), "")


def _suggestion(schema: Mapping[str, Any], place: tuple[str, ...]) -> str:
    known = list(_node(schema, place[:-1]).get("properties", {}))
    close = difflib.get_close_matches(place[-1], known, 1)
    if not close:
        fields: dict[str, str] = {}
        for section, name in _fields(schema):
            fields.setdefault(name, f"{section}.{name}")
        close = [fields[name] for name in difflib.get_close_matches(place[-1], fields, 1)]
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}known here: {', '.join(known)}"


def _fields(schema: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for section in schema.get("properties", {}):
        for name in _node(schema, (section,)).get("properties", {}):
            yield section, name


def _node(schema: Mapping[str, Any], place: tuple[str, ...]) -> Mapping[str, Any]:
    """The schema of a field; empty where there is none."""
    node = _followed(schema, schema)
    for part in place:
        below = node.get("properties", {}).get(part) or node.get("additionalProperties") or node.get("items")
        if not isinstance(below, Mapping):
            return {}
        node = _followed(schema, below)
    return node


def _followed(schema: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema that a reference, or the only alternative to null, stands for."""
    while True:
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
        elif "anyOf" in node:
            node = next(one for one in node["anyOf"] if one.get("type") != "null")
        else:
            return node


def _allowed(schema: Mapping[str, Any], node: Mapping[str, Any]) -> str:
    if "enum" in node:
        return f"one of {', '.join(map(str, node['enum']))}"
    kind = node.get("type", "")
    if kind == "array":
        return f"a list of values, each {_allowed(schema, _followed(schema, node.get('items', {})))}" + (
            "; it must not be empty" if node.get("minItems") else ""
        )
    if kind == "object":
        return "a table of keys"
    if node.get("minLength"):
        return (
            f"text of {node['minLength']} to {node['maxLength']} characters"
            if "maxLength" in node
            else "text that is not empty"
        )
    return _TYPES.get(kind, "another value") + _range(node)


def _range(node: Mapping[str, Any]) -> str:
    bounds = {
        "minimum": "at least {:,}",
        "exclusiveMinimum": "greater than {:,}",
        "maximum": "at most {:,}",
        "exclusiveMaximum": "less than {:,}",
    }
    told = [text.format(node[name]) for name, text in bounds.items() if name in node]
    return f", {' and '.join(told)}" if told else ""
