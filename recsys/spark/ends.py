"""What it means that a process ended without an answer: the JVM, the Python process that drives it, one of those that train."""

from __future__ import annotations

import signal

from recsys.errors import RecsysError, RetryError


def ended(what: str, status: int, words: str = "") -> RecsysError:
    """The error for a process that ended by itself or was ended.

    Args:
        what: which process.
        status: as subprocess returns it: negative for a signal.
        words: the last words of the process.
    """
    if status == -signal.SIGKILL:
        return RetryError(
            f"{what} was killed, most likely out of memory; raise the memory limit of the container, or lower spark.memory "
            "(for Spark) or training.batch_tokens (for training)"
        )
    if status in (-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, 128 + signal.SIGTERM):
        return RetryError(f"{what} was ended by a signal (status {status}); run the same command again")
    return RecsysError(f"{what} ended with status {status} without an answer: {words}")
