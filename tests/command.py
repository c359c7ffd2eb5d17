"""The command line in a process of its own, as a user runs it, and a small configuration for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SPARK = ("--spark-master", "local[2]")
SMALL = ("--set", "model.width=16", "--set", "model.dilations=1,2", "--set", "training.refit_epochs=1")
SMALL += ("--set", "training.xla=off", "--set", "evaluation.bootstrap=20", "--set", "publish.must_beat=")
ONLY_POPULARITY = ("--set", "evaluation.baselines=popularity")
"""A network that is trained in seconds, and published although it is no good."""

TOML = """\
[source]
dataset = "tabular"
{source}
[source.interactions]
path = "{path}"
user_id = "user"
item_id = "item"
rating = "stars"
timestamp = "time"
{table}
"""


def environment(home: Path, **changes: str) -> dict[str, str]:
    """The environment of the tests without settings of recsys, with a home, and so a cache, of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RECSYS")}
    path = os.pathsep.join(filter(None, (changes.pop("PYTHONPATH", ""), str(ROOT), kept.get("PYTHONPATH", ""))))
    return {**kept, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PYTHONPATH": path, **changes}


def command(*words: object) -> list[str]:
    """The command line as a list for subprocess."""
    return [sys.executable, "-m", "recsys.cli", *map(str, words)]


def recsys(
    *words: object, home: Path, changes: Mapping[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end; `home` is its working folder and home."""
    return subprocess.run(
        command(*words),
        env=environment(home, **(changes or {})),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        **options,
    )


def succeed(*words: object, home: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command that must end with exit code 0."""
    done = recsys(*words, home=home)
    assert done.returncode == 0, done.stderr
    return done


def run_folder(output: Path) -> Path:
    """The folder of the only run of an output."""
    (found,) = (output / "runs").iterdir()
    return found


def manifest(output: Path) -> dict[str, Any]:
    """run.json of the only run of an output."""
    value: dict[str, Any] = json.loads((run_folder(output) / "run.json").read_text(encoding="utf-8"))
    return value


def write_toml(folder: Path, path: str, source: str = "", table: str = "") -> Path:
    """Writes a configuration for events in the columns user, item, stars and time; returns its path."""
    file = folder / "shop.toml"
    file.write_text(TOML.format(path=path, source=source, table=table), encoding="utf-8")
    return file
