"""Progress as one JSON object a line, for log collectors."""

from __future__ import annotations

import re
import time
from typing import Final, Protocol, TextIO

SECONDS: Final = 10.0
"""At most so often a share that is done is written, besides the first one of a stage and the end."""
_WARNING: Final = re.compile(r"\s*warning: ")


class Record(Protocol):
    """See voice.Voice.record."""

    def __call__(self, message: str, level: str, *, done: float | None = None) -> str:
        """A line of JSON."""


class Records:
    """Writes a JSON object for each line, and one now and then for the share that is done; see voice.Display."""

    def __init__(self, stream: TextIO, record: Record) -> None:
        self._stream, self._record = stream, record
        self._next = 0.0

    def line(self, text: str) -> None:
        """Writes it, of the level warning if the text says so."""
        found = _WARNING.match(text)
        self._write(self._record(text[found.end() :] if found else text.strip(), "warning" if found else "info"))

    def update(self, text: str, done: float | None) -> None:
        """Writes it unless that was done a moment ago."""
        now = time.monotonic()
        if now >= self._next or done == 1.0:
            self._next = now + SECONDS
            self._write(self._record(text, "info", done=None if done is None else round(done, 4)))

    def begin(self, stage: str) -> None:
        """The next share is written at once."""
        self._next = 0.0

    def end(self) -> None:
        """Nothing."""

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()
