"""How the process ends: SIGTERM at a safe point, and the reason of a failure where Kubernetes shows it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from recsys.errors import EXIT_DEFECT, RecsysError, TerminatedError

TERMINATED = "ended by SIGTERM; what was finished is kept, and the same command goes on from there"


class Stop:
    """SIGTERM, made orderly: TerminatedError at once; inside `softly` it is only noted, until the next safe point."""

    def __init__(self) -> None:
        self._asked = self._soft = False

    def __call__(self) -> bool:
        """Whether the process has been asked to end."""
        return self._asked

    def install(self) -> None:
        """Takes over SIGTERM for this process."""
        signal.signal(signal.SIGTERM, self._on_signal)

    @contextmanager
    def softly(self) -> Iterator[None]:
        """While the block runs, SIGTERM is noted; the block asks and ends by itself. If it does not, it ends here."""
        self._soft = True
        try:
            yield
        finally:
            self._soft = False
        if self._asked:
            raise TerminatedError(TERMINATED)

    def _on_signal(self, _signal: int, _frame: Any) -> None:
        self._asked = True
        if not self._soft:
            raise TerminatedError(TERMINATED)


def leave_last_words(error: BaseException, path: str = "/dev/termination-log") -> None:
    """Leaves the reason of a failed run where Kubernetes shows it; elsewhere the file does not exist and nothing happens."""
    if os.path.isfile(path) and os.access(path, os.W_OK):
        code = error.exit_code if isinstance(error, RecsysError) else EXIT_DEFECT
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"exit {code}: {error}"[:4000])
