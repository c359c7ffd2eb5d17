"""A command in a process of its own: what it prints, what to kill of it, what is left of it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import psutil

from benchmarks.faults.plan import CHILD, GROUP, JVM, PROCESS

ROOT: Final = Path(__file__).resolve().parents[2]
MARK: Final = "BENCHMARK_FAULTS_JOB"
"""Variable that all descendants of a job inherit, by which they are found even when their parent is gone."""
POLL_SECONDS: Final = 0.002
PATIENCE: Final = 20.0
"""Seconds for the descendants of a process that has ended."""
LONGEST: Final = 600.0
"""Seconds for a command."""


class Process:
    """A recsys command at work in `home`, with a TMPDIR and a cache of its own."""

    def __init__(self, home: Path, words: list[str]) -> None:
        self.lines: list[str] = []
        self.started = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "recsys.cli", *words],
            cwd=home,
            env=_environment(home),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Of the process itself, and of its group."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it has exited."""
        return self._process.poll() is not None

    def wait_for(self, line: str, instead: str) -> bool:
        """Whether it prints a line before another one, and before it ends."""
        while True:
            over, lines = self.ended, list(self.lines)
            if line in lines:
                return True
            if instead in lines or over:
                return False
            time.sleep(POLL_SECONDS)

    def wait_until(self, met: Callable[[], bool]) -> None:
        """Returns when a condition is met, or the process has ended."""
        while not met() and not self.ended:
            time.sleep(10 * POLL_SECONDS)

    def find(self, target: str) -> int | None:
        """The pid of a target; None if it is not there (yet, or any more)."""
        if target in (PROCESS, GROUP):
            return None if self.ended else self.pid
        with contextlib.suppress(psutil.Error):
            for process in psutil.Process(self.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    words = process.cmdline()
                    if (target == JVM and process.name() == "java") or (target == CHILD and "recsys.spark.child" in words):
                        return process.pid
        return None

    def kill(self, target: str, how: signal.Signals) -> bool:
        """Sends the signal; whether the target was there."""
        pid = self.find(target)
        if pid is None:
            return False
        try:
            if target == GROUP:
                os.killpg(pid, how)
            else:
                os.kill(pid, how)
        except ProcessLookupError:
            return False
        return True

    def wait(self) -> int:
        """Waits for the end. Returns the exit code as a shell has it: 137 after SIGKILL. 124 if it had to be ended here."""
        try:
            code = self._process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            code = 124
        self._reader.join(PATIENCE)
        return code if code >= 0 else 128 - code

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.lines.append(line.rstrip("\n"))


def is_done(pid: int) -> bool:
    """Whether a command's work is done, and only its process is not over yet: it ignores SIGTERM, or is gone."""
    try:
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    except OSError:
        return True
    return status["State"].startswith(("Z", "X")) or bool(int(status["SigIgn"], 16) >> (signal.SIGTERM - 1) & 1)


def orphans(home: Path, patience: float = PATIENCE) -> list[str]:
    """Command lines of the processes of a job that live on although its command has ended."""
    end = time.monotonic() + patience
    while found := [words for _, words in _descendants(home)]:
        if time.monotonic() > end:
            return found
        time.sleep(0.05)
    return []


def end_orphans(home: Path) -> None:
    """Kills them, so that they do not disturb what follows."""
    for process, _ in _descendants(home):
        with contextlib.suppress(psutil.Error):
            process.kill()


def _descendants(home: Path) -> Iterator[tuple[psutil.Process, str]]:
    """Living processes with the job's mark, and their command lines."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == str(home) and process.status() != psutil.STATUS_ZOMBIE:
                yield process, " ".join(process.cmdline())[:200]


def _environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RECSYS")}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    own = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "TMPDIR": str(home / "tmp"), "PYTHONPATH": path}
    return {**kept, **own, MARK: str(home)}
