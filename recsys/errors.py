"""The errors, each with the exit code that a Kubernetes Job, a script or an operator acts on.

Every error message names the file, column, row or option, what was expected, what was received and what to do.
"""

from __future__ import annotations

EXIT_DONE = 0
EXIT_USAGE = 2
EXIT_DATA = 65
EXIT_MISSING = 69
EXIT_DEFECT = 70
EXIT_RETRY = 75
EXIT_REFUSED = 78
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class RecsysError(Exception):
    """An error that the user can act on; printed without a traceback."""

    exit_code = EXIT_DEFECT


class ConfigError(RecsysError):
    """The command line, the environment, the configuration file or a permission is wrong: a retry would end the same way."""

    exit_code = EXIT_USAGE


class DataError(RecsysError):
    """The input data cannot be used as it is."""

    exit_code = EXIT_DATA


class DamagedError(DataError):
    """A file that recsys has written is missing, cut off or no longer what was written.

    Attributes:
        uri: of the file; the command line adds how to make it again (recsys.run.remedies).
    """

    def __init__(self, message: str, uri: str = "") -> None:
        super().__init__(message)
        self.uri = uri


class MissingComponentError(RecsysError):
    """Java, a required GPU or another part of the machine is missing."""

    exit_code = EXIT_MISSING


class RetryError(RecsysError):
    """A temporary failure: storage unreachable, a full disk, a download interrupted, a lock held by another run, preemption."""

    exit_code = EXIT_RETRY


class RefusedError(RecsysError):
    """A run is not good enough to be published, not measured or damaged; the last published run stays in place."""

    exit_code = EXIT_REFUSED


class TerminatedError(BaseException):
    """SIGTERM was received; finished work is kept, and the same command resumes from there.

    Like KeyboardInterrupt it is no Exception: nobody may take it for a failure of what it interrupts. TensorFlow would put its
    own words around it, and a release that ignores failures would swallow it.
    """

    exit_code = EXIT_TERMINATED


BY_EXIT_CODE: dict[int, type[RecsysError]] = {
    error.exit_code: error for error in (ConfigError, DataError, MissingComponentError, RecsysError, RetryError, RefusedError)
}


def shortened(words: str, most: int = 600) -> str:
    """Words in one line; of a long one the middle is left out, since the cause tends to stand at the end."""
    words = " ".join(words.split())
    return words if len(words) <= most else f"{words[: most // 3]} … {words[len(words) - 2 * most // 3 :]}"
