"""Progress as plain lines: in a file, a pipe or a container's log."""

from __future__ import annotations

from typing import TextIO


class Plain:
    """Writes lines and nothing that changes in place; see voice.Display."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def line(self, text: str) -> None:
        """Writes it."""
        self._stream.write(text + "\n")
        self._stream.flush()

    def update(self, text: str, done: float | None) -> None:
        """Nothing: a log would fill with it."""

    def begin(self, stage: str) -> None:
        """Nothing: the lines of a stage say so themselves."""

    def end(self) -> None:
        """Nothing."""
