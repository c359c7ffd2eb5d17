"""Whatever stands in a file, in variables or on the command line: settings are accepted or refused, never a defect."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from recsys import settings, settings_text
from recsys.config import Config, Feature, Table
from tests.command import invoke

few = how(max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
FIELDS = [
    f"{section.name}.{field.name}"
    for section in dataclasses.fields(Config)
    if dataclasses.is_dataclass(section.default)
    for field in dataclasses.fields(section.default)
] + ["output", "seed", "source.synthetic.users", "source.synthetic.mean_events", "spark.conf.spark.ui.port", "nowhere.at.all"]
FIELDS += [f"source.items.{field.name}" for field in dataclasses.fields(Table)]
FIELDS += [f"source.items.features.x.{field.name}" for field in dataclasses.fields(Feature)]
ODD = ["", " ", "auto", "none", "0", "-1", "1e400", "nan", "inf", "0x10", "1_000", "٣", "true", "a,b,,a", "🦙", "2g", "900k"]
ODD += [
    "local[2]",
    "k8s://",
    "https://x",
    "s3://bucket/path?key=value",
    "abfs://c@a/p",
    "file:///tmp",
    "%",
    "(",
    "(a)",
    "[[a]]",
]
ODD += [
    "utf-16",
    "klingon",
    "rot13",
    "\t",
    "::",
    '"',
    "'",
    "=",
    "-",
    "--",
    "{}",
    "[]",
    "null",
    "1.5",
    "\\",
    str(2**63),
    "9" * 400,
]


def limits(node: Any) -> Iterator[Any]:
    """Every bound in a JSON Schema with its neighbours, and every value of an enumeration."""
    if isinstance(node, dict):
        yield from node.get("enum", ())
        for name, value in node.items():
            if name.lower().endswith(("minimum", "maximum")) and isinstance(value, int | float):
                yield from (value - 1, value, value + 1)
            yield from limits(value)
    elif isinstance(node, list):
        for value in node:
            yield from limits(value)


LIMITS = sorted(set(limits(json.loads(settings_text.schema()))), key=str)
text = st.sampled_from(ODD) | st.sampled_from(LIMITS).map(str) | st.text(st.characters(blacklist_categories=["Cs"]), max_size=8)
"""Surrogates cannot be written to a file as UTF-8."""
scalars = text | st.sampled_from(LIMITS) | st.integers() | st.floats() | st.booleans()
values: Any = scalars | st.lists(scalars, max_size=3) | st.dictionaries(text, scalars, max_size=2)
names = st.sampled_from(FIELDS) | text
printable = text.filter(lambda value: "\0" not in value)
"""What the system takes as an argument or a variable."""


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Dotted names as tables; a name that is a value and a table at once is left out."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        part = tree
        *tables, last = name.split(".")
        for table in tables:
            part = part.setdefault(table, {})
            if not isinstance(part, dict):
                break
        else:
            part[last] = value
    return tree


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def check(home: Path, *words: str, changes: dict[str, str] | None = None) -> None:
    """`recsys config` accepts the settings and shows them as a file that means the same, or refuses them with a message."""
    done = invoke("config", "--format", "toml", *words, home=home, changes=changes)
    if done.returncode == 0:
        (home / "again.toml").write_text(done.stdout, encoding="utf-8")
        again = invoke("config", "--format", "toml", "--config", "again.toml", home=home)
        assert again.stdout == done.stdout, again.stderr
        return
    assert done.returncode == 2 and not done.stdout, done.stderr
    assert done.stderr.strip() and "Traceback" not in done.stderr


@few
@given(st.dictionaries(names, values, max_size=4))
def test_a_file(home: Path, flat: dict[str, Any]) -> None:
    (home / "shop.toml").write_text(tomli_w.dumps(nested(flat)), encoding="utf-8")
    check(home, "--config", "shop.toml")


@few
@given(st.binary(max_size=40) | text.map(lambda value: f"[source]\npath = {value}\n".encode()))
def test_a_file_that_is_no_toml(home: Path, content: bytes) -> None:
    (home / "shop.toml").write_bytes(content)
    check(home, "--config", "shop.toml")


@few
@given(st.dictionaries(st.sampled_from(FIELDS), printable, max_size=3))
def test_variables(home: Path, flat: dict[str, str]) -> None:
    check(home, changes={f"RECSYS__{name.replace('.', '__').upper()}": value for name, value in flat.items()})


@few
@given(st.lists(st.tuples(names, printable), max_size=3), st.sampled_from(["--set", "--spark-conf"]), printable)
def test_the_command_line(home: Path, pairs: list[tuple[str, str]], option: str, loose: str) -> None:
    words = [word for name, value in pairs for word in (option, f"{name}={value}")]
    check(home, *words, "--set", loose)
    check(home, *words, f"--epochs={loose}")


def test_every_setting_is_tried() -> None:
    tried = set(FIELDS)
    known = {".".join(place) for place in settings.leaves(settings.to_dict(Config()))}
    assert {name for name in known if not name.startswith("source.synthetic.")} <= tried
    assert typing.get_type_hints(Config).keys() >= {name.split(".")[0] for name in tried} - {"nowhere"}
