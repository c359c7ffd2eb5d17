"""Translates Spark's exceptions into messages for users: what happened, and what to do."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import traceback
from collections.abc import Iterator
from typing import Final

from recsys import errors, storage
from recsys.errors import ConfigError, MissingComponentError, RecsysError, RetryError, shortened
from recsys.spark.ends import ended

_RAISED: Final = re.compile(r"^recsys\.errors\.(\w+): (.*)$", re.MULTILINE)
"""An error of recsys in the traceback of a worker."""
_FULL: Final = re.compile("No space left on device|Disk quota exceeded|Failed to create a temp directory")
_KNOWN: Final = (
    (
        "(SparkContext was shut down|stopped SparkContext)",  # its JVM stops it on SIGTERM
        RetryError,
        "Spark's JVM was ended by a signal; run the same command again",
    ),
    (
        "(Permission denied|AccessDeniedException|Read-only file system)",
        ConfigError,
        "{cause}; {permit}",
    ),
    (
        r'Cannot run program "([^"]+)"[^\n]*No such file or directory',
        MissingComponentError,
        "Spark needs the program {found}, which is not on PATH; install it",
    ),
    (
        "(OutOfMemoryError)",
        ConfigError,
        "Spark's heap is too small; raise the container's memory limit or set spark.memory, such as 4g",
    ),
    (
        "(FileNotFoundException)",
        RetryError,
        "a temporary file of Spark has disappeared ({cause}); run the same command again",
    ),
)
"""What Spark says, the error that it is, and what the user is told. The first that matches counts."""
_CALL: Final = re.compile(r"^An error occurred while calling \S+\n: ")
_FRAMES: Final = re.compile(r"\n\s+at .*|\n\s+\.\.\. \d+ more|\nDriver stacktrace:", re.DOTALL)
_NOT_MADE: Final = re.compile(r"Mkdirs failed to create (?:file:)?(/\S+)")
_PASSING: Final = re.compile(
    r"Connection (refused|reset)|ConnectException|UnknownHostException|NoRouteToHostException|Timeout|timed out|"
    r"masters are unresponsive|code=(408|429|5\d\d)"
)
"""What a cluster that cannot be reached, or is busy, is recognised by; `code` is the answer of a Kubernetes API server."""
_SPARK: Final = ("pyspark", "py4j")
_JVM: Final = "Spark's JVM"
JVM_SECONDS: Final = 5.0
"""Longer than the system takes to end a killed JVM after its connections."""
ENDING_SECONDS: Final = 2.0
"""Longer than a JVM takes to end after it has stopped Spark on SIGTERM."""


@contextlib.contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turns exceptions of Spark and py4j into the errors of recsys.

    Args:
        doing: what was being done, for the message.

    Raises:
        DataError: a worker could not read an input file.
        ConfigError: the heap is too small, or this user may not write.
        MissingComponentError: Spark needs a program that is not on PATH.
        RetryError: a disk is full, a store does not answer, or the JVM was killed.
    """
    try:
        yield
    except Exception as error:
        if not _is_of_spark(error):
            raise
        text = _text(error)
        lost = text is None or isinstance(error, ConnectionError) or _is_of_py4j(error)
        text = text or ""
        known = None if lost else _of_worker(text) or explain(text, doing)
        if known is None and (status := _status_of_jvm(JVM_SECONDS if lost else ENDING_SECONDS)) is not None:
            known = ended(_JVM, status, doing)
        if known is None and not _is_named_by_spark(error):
            raise
        raise known or explain(text, doing) or RuntimeError(f"{doing}: Spark failed: {cause(text)}") from None


def _text(error: Exception) -> str | None:
    """The words of an exception; None if the JVM, which holds those of Java's, has ended meanwhile."""
    try:
        return str(error)
    except Exception:
        return None


def cause(text: str) -> str:
    """The words of the exception that started it all, the last `Caused by` of a Java stack trace, in one line."""
    return shortened(_FRAMES.sub("", _CALL.sub("", text).rpartition("\nCaused by: ")[2]))


def explain(text: str, doing: str) -> RecsysError | None:
    """The error for a message of Spark; None if it is not a known one."""
    if _FULL.search(text):
        return storage.full(doing)
    if made := _NOT_MADE.search(text):
        return _not_made(made[1], doing)
    for pattern, kind, words in _KNOWN:
        if found := re.search(pattern, text):
            told = words.format(found=found[1], cause=cause(text), permit=storage.permit())
            return kind(f"{doing}: {told}")
    return None


def not_started(text: str, master: str, local: bool) -> RecsysError:
    """The error for a Spark that did not start.

    Args:
        text: Spark's message.
        master: spark.master.
        local: whether that is this machine.
    """
    if _FULL.search(text):
        return storage.full("starting Spark")
    told = f"Spark did not start on {master}: {cause(text)}"
    if not local and _PASSING.search(text):
        return RetryError(f"{told}; the cluster cannot be reached or is busy, run the same command again")
    return MissingComponentError(f"{told}; `recsys doctor` shows what was found")


def is_jvm_gone(error: Exception) -> bool:
    """Whether Spark did not start because its JVM ended or does not answer."""
    from py4j.protocol import Py4JNetworkError

    return isinstance(error, (ConnectionError, Py4JNetworkError)) or "JAVA_GATEWAY_EXITED" in str(error)


def of_killed_jvm(doing: str) -> RecsysError | None:
    """The error for a JVM that a signal has ended; None if it lives, has ended by itself, or before it told its port."""
    status = _status_of_jvm(JVM_SECONDS)
    return ended(_JVM, status, doing) if status is not None and status < 0 else None


def _is_named_by_spark(error: Exception) -> bool:
    return type(error).__module__.split(".")[0] in _SPARK or isinstance(error, ConnectionError)


def _is_of_spark(error: Exception) -> bool:
    """Whether it is an exception of Spark and py4j, or one that they stumble over, as they do if the JVM ends beneath them."""
    if _is_named_by_spark(error):
        return True
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__")).split(".")[0] in _SPARK


def _is_of_py4j(error: Exception) -> bool:
    """Whether it tells of the connection to the JVM, not of an exception in Java."""
    from py4j.protocol import Py4JError, Py4JJavaError

    return isinstance(error, Py4JError) and not isinstance(error, Py4JJavaError)


def _status_of_jvm(seconds: float) -> int | None:
    """The exit status of the JVM if it has ended or does so soon; None if it has not, or never started."""
    from pyspark import SparkContext

    process = getattr(SparkContext._gateway, "proc", None)
    if process is None:
        return None
    try:
        status: int = process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    return status


def _not_made(path: str, doing: str) -> RecsysError:
    """The error for a folder that Java could not create: Java does not say why, so it is tried again here."""
    try:
        storage.create_folder(os.path.dirname(path))
    except RecsysError as error:
        return type(error)(f"{doing}: {error}")
    return storage.full(f"{doing}: folder {os.path.dirname(path)} could not be created before")


def _of_worker(text: str) -> RecsysError | None:
    """The error that recsys itself raised in a Python worker of Spark."""
    if raised := _RAISED.search(text):
        own: RecsysError = getattr(errors, raised[1])(raised[2])
        return own
    return storage.failure(text)
