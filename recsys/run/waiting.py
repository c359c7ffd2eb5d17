"""Waiting for other processes of the same run; the run's folder on shared storage is all they have in common."""

from __future__ import annotations

import time
from collections.abc import Callable

from recsys.errors import RetryError
from recsys.progress import Log

POLL_SECONDS = 1.0


def wait(missing: Callable[[], str], patience: float, log: Log) -> None:
    """Returns as soon as nothing is missing.

    Args:
        missing: names what is still missing; empty if nothing is.
        patience: seconds to wait at most.
        log: receives what is missing, whenever that changes.

    Raises:
        RetryError: something is still missing after `patience` seconds.
    """
    end, said = time.monotonic() + patience, ""
    while what := missing():
        if time.monotonic() >= end:
            raise RetryError(
                f"{what}: still missing after {patience:g} seconds; check the process that makes it, then run the same "
                "command again"
            )
        if what != said:
            log(f"waiting for {what}")
            said = what
        time.sleep(POLL_SECONDS)
