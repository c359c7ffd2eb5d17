"""What people and log collectors see while a command runs: lines of text, a bar on a terminal, or a JSON object a line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from recsys.progress.voice import Voice
from recsys.redaction import one_line, printable

__all__ = ["Log", "Progress", "Voice", "silent"]

Log = Callable[[str], None]
"""Takes one line of text for the user, without its line end; `Progress` is one, `list.append` another."""


def silent(line: str) -> None:
    """A Log that nobody reads."""


class Progress:
    """Writes lines to a stream: `progress("text")` writes one line, without secrets and control characters.

    Args:
        stream: standard error by default, so that standard output stays free for results.
        quiet: writes nothing.
        voice: in which form, and what JSON says besides; text by default.
    """

    def __init__(self, stream: TextIO | None = None, quiet: bool = False, voice: Voice | None = None) -> None:
        self._voice = voice or Voice()
        self._quiet = quiet
        self._display = self._voice.display(stream)

    def __call__(self, text: str) -> None:
        """Writes one line."""
        if not self._quiet:
            self._display.line(printable(text))

    def update(self, text: str, done: float | None = None) -> None:
        """Replaces what the line that changes says, where there is one, which is on a terminal.

        Args:
            text: what is at hand.
            done: share of it that is done, 0 to 1.
        """
        if not self._quiet:
            self._display.update(one_line(printable(text)), done)

    @contextmanager
    def stage(self, name: str, number: int = 1, of: int = 1) -> Iterator[None]:
        """What is written in the block belongs to a stage, and after a failure in it the reason too.

        Args:
            name: of the stage.
            number, of: its place among the stages of the command.
        """
        self._voice.stage = name
        if not self._quiet:
            self._display.begin(name if of == 1 else f"{name} ({number}/{of})")
        try:
            yield
        finally:
            self._display.end()
        self._voice.stage = None
