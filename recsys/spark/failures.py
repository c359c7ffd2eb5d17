"""Spark's exceptions in the user's words: which file cannot be read, and what to do."""

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
"""One of recsys' own errors in a worker's traceback."""
_MISSING: Final = ("FileNotFoundException", "PATH_NOT_FOUND", "FILE_NOT_EXIST", "does not exist")


@contextlib.contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turns what Spark and its gateway raise into one of recsys' errors.

    Args:
        doing: what was being done, for the message.

    Raises:
        DataError: an input file is damaged, cut off or gone.
        RetryError: a disk is full or a store does not answer.
        RecsysError: the heap is too small.
    """
    try:
        yield
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("pyspark", "py4j") and not isinstance(error, ConnectionError):
            raise
        text = str(error)  # now: without its JVM the error cannot say any more what it is
        raise _of_worker(text) or explain(text, doing) or RuntimeError(f"{doing}: {type(error).__name__}: {text}") from None


def explain(text: str, doing: str) -> RecsysError | None:
    """The error for Spark's words; None where they tell of no known trouble."""
    match = _FILE.search(text)
    file = re.sub(r"^file:/+", "/", unquote(match.group())) if match else "an input file"
    if "No space left on device" in text:
        return RetryError(f"{doing}: no space left on the disk of TMPDIR or of the output; free some, or set TMPDIR to another")
    if "OutOfMemoryError" in text:
        return RecsysError(
            f"{doing}: Spark's heap is too small; give the container more memory or set spark.memory, such as 4g"
        )
    if any(words in text for words in _MISSING):
        return DataError(f"{doing}: {file} was there a moment ago and cannot be found any more")
    if "PARQUET_COLUMN_DATA_TYPE_MISMATCH" in text or "SchemaColumnConvertNotSupported" in text:
        return DataError(f"{doing}: {file} has another type in a column than the other files of its table")
    if any(words in text for words in _DAMAGED):
        return DataError(f"{doing}: {file} cannot be read to its end: it was cut off or is damaged; copy it again")
    return None


def _of_worker(text: str) -> RecsysError | None:
    """The error that recsys.spark.remote raised in one of Spark's Python workers."""
    if raised := _RAISED.search(text):
        own: RecsysError = getattr(errors, raised[1])(raised[2])
        return own
    return storage.failure(text)
