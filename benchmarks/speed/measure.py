"""Runs commands in turns and says what they cost: seconds, and peak memory of the whole process tree."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import psutil

ROOT: Final = Path(__file__).resolve().parents[2]
SAMPLE_SECONDS: Final = 0.1


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a command cost.

    Attributes:
        seconds: wall time.
        peak: bytes, peak of the resident memory of all processes together, sampled.
        told: the last line that it printed.
    """

    seconds: float
    peak: int
    told: str = ""


def run(words: Sequence[str | Path], log: Path) -> Cost:
    """Runs a command to its end.

    Raises:
        SystemExit: it failed; the end of what it printed is shown.
    """
    os.sync()  # what the command before has left to be written is not this one's cost
    started, peak = time.monotonic(), 0
    with open(log, "wb") as output:
        process = psutil.Popen([str(word) for word in words], stdout=output, stderr=output)
        while process.poll() is None:
            peak = max(peak, _resident(process))
            time.sleep(SAMPLE_SECONDS)
    seconds = time.monotonic() - started
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, words))} ended with {process.returncode}:\n{log.read_text()[-2000:]}")
    return Cost(seconds, peak, (log.read_text().splitlines() or [""])[-1])


def in_turns(commands: Mapping[str, Sequence[str | Path]], repeats: int, folder: Path) -> dict[str, list[Cost]]:
    """Several runs of each command, one after the other, so that noise meets all alike."""
    found: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(repeats):
        for name, words in commands.items():
            found[name].append(run(words, folder / f"{name}.log"))
    return found


def environment(folder: Path, *packages: str, alone: Sequence[str] = ()) -> Path:
    """Python of a virtual environment with some packages, which is made if it is not there.

    Args:
        folder: of the environment.
        packages: installed with all that they need.
        alone: packages installed without what they say they need.
    """
    python = folder / "bin" / "python"
    if not (folder / "made").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
        if alone:
            subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", *alone], check=True)
        (folder / "made").touch()
    return python


def version_in(python: Path, package: str) -> str:
    """Version of a package in another environment."""
    asked = [python, "-c", f"from importlib.metadata import version; print(version({package!r}))"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def described() -> str:
    """Hardware, date and revision."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "CPU")
    revision = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    cores = len(os.sched_getaffinity(0))
    return (
        f"{name}, {cores} cores, {psutil.virtual_memory().total >> 30} GiB; {datetime.now(UTC):%Y-%m-%d}; "
        f"recsys {version('recsys')}, revision `{revision.stdout.strip() or 'unknown'}`"
    )


def _resident(process: psutil.Process) -> int:
    total = 0
    with contextlib.suppress(psutil.Error):
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                total += one.memory_info().rss
    return total


def median(costs: Sequence[Cost]) -> Cost:
    """The median of the seconds, and the greatest peak."""
    return Cost(statistics.median(cost.seconds for cost in costs), max(cost.peak for cost in costs))
