"""What can go wrong, each with the exit code that a Kubernetes Job, a script or an operator reads.

Every error message names the file, column, row or option concerned, what was expected, what was received and what to do.
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
    """An error that a user can act on; printed without a traceback."""

    exit_code = EXIT_DEFECT


class ConfigError(RecsysError):
    """The command line, the environment or the configuration file asks for something that does not exist."""

    exit_code = EXIT_USAGE


class DataError(RecsysError):
    """The input data cannot be used as they are."""

    exit_code = EXIT_DATA


class MissingComponentError(RecsysError):
    """Java, a demanded GPU or another part of the machine is not there."""

    exit_code = EXIT_MISSING


class RetryError(RecsysError):
    """Something that may pass: storage out of reach, a download cut off, another run holding the lock, a pre-emption."""

    exit_code = EXIT_RETRY


class RefusedError(RecsysError):
    """The quality gate refused to publish; the last good run stays published."""

    exit_code = EXIT_REFUSED


class TerminatedError(RecsysError):
    """SIGTERM came; what was finished is kept and the same command goes on from there."""

    exit_code = EXIT_TERMINATED


BY_EXIT_CODE: dict[int, type[RecsysError]] = {
    error.exit_code: error
    for error in (ConfigError, DataError, MissingComponentError, RecsysError, RetryError, RefusedError, TerminatedError)
}
