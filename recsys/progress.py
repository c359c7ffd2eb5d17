"""What a user sees while a command runs: lines of text and, on a terminal, one line that changes in place."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

from recsys.redaction import one_line, printable

Log = Callable[[str], None]
"""Takes one line of text for the user, without its line end; `Progress` is one, `list.append` another."""


def silent(line: str) -> None:
    """A Log that nobody reads."""


class Progress:
    """Writes lines to a stream: `progress("text")` writes one line, without secrets and control characters.

    Args:
        stream: standard error by default, so that standard output stays free for results.
        quiet: writes nothing.
    """

    def __init__(self, stream: TextIO | None = None, quiet: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._shown, self._last = 0, 0.0

    def __call__(self, text: str) -> None:
        """Writes one line."""
        if not self._quiet:
            self._clear()
            self._stream.write(printable(text) + "\n")
            self._stream.flush()

    def update(self, text: str, done: float | None = None) -> None:
        """Replaces the changing line, at most ten times a second and only on a terminal; `done` (0 to 1) draws a bar."""
        now = time.monotonic()
        if self._quiet or not self._stream.isatty() or now - self._last < 0.1:
            return
        self._last = now
        bar = "" if done is None else "[" + ("#" * int(24 * done)).ljust(24, ".") + "] "
        line = (bar + one_line(printable(text)))[:110]
        self._stream.write("\r" + line.ljust(self._shown))
        self._stream.flush()
        self._shown = len(line)

    def _clear(self) -> None:
        if self._shown:
            self._stream.write("\r" + " " * self._shown + "\r")
            self._shown = 0
