"""How a process waits for others of the same run: the run's folder on shared storage is all that they have in common."""

from __future__ import annotations

import time
from collections.abc import Callable

from recsys.errors import RetryError

POLL_SECONDS = 1.0


def wait(missing: Callable[[], str], patience: float, progress: Callable[[str], None]) -> None:
    """Returns as soon as nothing is missing.

    Args:
        missing: names what is not there yet; empty when all is there.
        patience: seconds, at most.
        progress: is told what is waited for, whenever that changes.

    Raises:
        RetryError: something is still missing.
    """
    end, said = time.monotonic() + patience, ""
    while what := missing():
        if time.monotonic() >= end:
            raise RetryError(f"{what}: not there after {patience:g} seconds; see what became of it, then run this again")
        if what != said:
            progress(f"waiting for {what}")
            said = what
        time.sleep(POLL_SECONDS)
