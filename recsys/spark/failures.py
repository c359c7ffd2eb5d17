"""Translates Spark's exceptions into messages for users: which file cannot be read, and what to do."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

from recsys import errors, storage
from recsys.errors import DataError, RecsysError, RetryError

_FILE: Final = re.compile(r"(?:[a-z0-9]+:/[^\s'\"]+|/[^\s'\"]+)\.(?:\w+)")
_DAMAGED: Final = (
    "Unexpected end of input stream",
    "not a gzip file",
    "EOFException",
    "ZipException",
    "incorrect header check",
    "invalid block type",
    "invalid distance",
    "incorrect data check",
    "is not a Parquet file",
    "not a Parquet file",
    "could not read page",
    "Could not read",
    "can not read class",
    "CANNOT_READ_FILE_FOOTER",
    "Malformed",
    "FAILED_READ_FILE",
    "snappy",
)
_RAISED: Final = re.compile(r"^recsys\.errors\.(\w+): (.*)$", re.MULTILINE)
"""An error of recsys in the traceback of a worker."""
_MISSING: Final = ("FileNotFoundException", "PATH_NOT_FOUND", "FILE_NOT_EXIST", "does not exist")


@contextlib.contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turns exceptions of Spark and py4j into the errors of recsys.

    Args:
        doing: what was being done, for the message.

    Raises:
        DataError: an input file is damaged, truncated or gone.
        RetryError: a disk is full or a store does not answer.
        RecsysError: the heap is too small.
    """
    try:
        yield
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("pyspark", "py4j") and not isinstance(error, ConnectionError):
            raise
        text = str(error)  # must happen before the JVM ends, which holds the text
        raise _of_worker(text) or explain(text, doing) or RuntimeError(f"{doing}: {type(error).__name__}: {text}") from None


def explain(text: str, doing: str) -> RecsysError | None:
    """The error for a message of Spark; None if it is not a known one."""
    match = _FILE.search(text)
    file = re.sub(r"^file:/+", "/", unquote(match.group())) if match else "an input file"
    if "No space left on device" in text:
        return RetryError(
            f"{doing}: no space left on the disk of TMPDIR or of the output; free some, or point TMPDIR to another disk"
        )
    if "OutOfMemoryError" in text:
        return RecsysError(
            f"{doing}: Spark's heap is too small; raise the container's memory limit or set spark.memory, such as 4g"
        )
    if any(words in text for words in _MISSING):
        return DataError(f"{doing}: {file} has disappeared while the job was running")
    if "PARQUET_COLUMN_DATA_TYPE_MISMATCH" in text or "SchemaColumnConvertNotSupported" in text:
        return DataError(f"{doing}: a column of {file} has another type than in the other files of the table")
    if any(words in text for words in _DAMAGED):
        return DataError(f"{doing}: {file} cannot be read to the end: it was cut off or is damaged; copy it again")
    return None


def _of_worker(text: str) -> RecsysError | None:
    """The error that recsys.spark.remote raised in a Python worker of Spark."""
    if raised := _RAISED.search(text):
        own: RecsysError = getattr(errors, raised[1])(raised[2])
        return own
    return storage.failure(text)
