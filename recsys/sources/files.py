"""The files of a source table: finding and opening them, and their fingerprints."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import posixpath
import re
import zlib
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal

from pyarrow import fs

from recsys import storage
from recsys.config import Table
from recsys.errors import DataError, RecsysError, RetryError

HASHED_BYTES = 1 << 30
"""A table of at most this size is read once for its fingerprint; a larger one is identified by sizes and modification times."""
_BLOCK = 1 << 20
_GLOB = re.compile(r"[*?\[]")
_PARQUET = (".parquet", ".parq", ".pq")
_SETTLED = "run the same command again once nothing writes to the files any more, or use a copy of them"
_COMPRESSED_ERRORS = (gzip.BadGzipFile, EOFError, zlib.error)


def input_files(table: Table) -> list[str]:
    """The files of a table, sorted by name: absolute paths, or URIs if the table has one.

    `table.path` is a file, a folder (with its subfolders) or a glob, in which `*` does not cross folders. Below a folder or a
    glob, names that start with `_` or `.` are skipped.

    Raises:
        DataError: the path does not exist, the folder contains no file, or the glob matches none.
        RetryError: the storage cannot be reached.
    """
    system, path = storage.resolve(table.path)
    kind = system.get_file_info(path).type
    if kind == fs.FileType.File:
        return [storage.at(table.path, path)]
    if kind == fs.FileType.Directory:
        found = _below(system, path)
        if not found:
            raise DataError(f"folder {table.path} contains no file; expected CSV or Parquet files")
        return [storage.at(table.path, name) for name in found]
    if not _GLOB.search(path):
        raise DataError(f"{table.path} does not exist; expected a file, a folder or a glob such as events/*.csv.gz")
    parts = path.split("/")
    first = next(number for number, part in enumerate(parts) if _GLOB.search(part))
    base = "/".join(parts[:first]) or "/"
    found = [name for name in _below(system, base) if _matches(name.split("/"), parts)]
    if not found:
        raise DataError(f"no file matches {table.path}; looked below {base}")
    return [storage.at(table.path, name) for name in found]


def table_format(table: Table, files: list[str]) -> Literal["csv", "parquet"]:
    """`csv` or `parquet`: as configured or, for `auto`, by file name.

    Raises:
        DataError: `auto`, and there are files of both kinds.
    """
    if table.format != "auto":
        return table.format
    parquet = [name for name in files if name.lower().endswith(_PARQUET)]
    if parquet and len(parquet) < len(files):
        other = next(name for name in files if name not in parquet)
        raise DataError(
            f"{table.path} contains Parquet files ({parquet[0]}) and others ({other}); "
            "select one kind with a glob such as *.parquet"
        )
    return "parquet" if parquet else "csv"


@contextlib.contextmanager
def open_binary(path: str) -> Iterator[Any]:
    """The content of a file as a binary stream, decompressed if the name ends in .gz or .bz2.

    Raises:
        DataError: the file cannot be opened, or is damaged or truncated (raised while reading in the block, too).
        RetryError: the storage fails for now.
    """
    try:
        with storage.open_input(path) as raw:
            if path.endswith(".gz"):
                with gzip.GzipFile(fileobj=raw, mode="rb") as stream:
                    yield stream
            elif path.endswith(".bz2"):
                with bz2.BZ2File(raw, "rb") as stream:
                    yield stream
            else:
                yield raw
    except _COMPRESSED_ERRORS as error:
        raise DataError(f"{path} is not a complete gzip file: {error}; it was truncated or damaged, copy it again") from None
    except OSError as error:
        raise _unreadable(path, error) from None


@contextlib.contextmanager
def open_seekable(path: str) -> Iterator[Any]:
    """The content of a file as it is stored, at any place of it.

    Raises:
        DataError: the file cannot be opened or read.
        RetryError: the storage fails for now.
    """
    try:
        with storage.open_input(path) as file:
            yield file
    except OSError as error:
        raise _unreadable(path, error) from None


def decoder(table: Table) -> codecs.IncrementalDecoder:
    """A strict decoder for the table's encoding."""
    return codecs.getincrementaldecoder(table.encoding)("strict")


def undecodable(table: Table, path: str, error: UnicodeError) -> DataError:
    """The error for a file that is not in the configured encoding."""
    return DataError(
        f"{path} is not {table.encoding}: {error}; set the table's encoding to the one the file was written in, "
        "such as iso-8859-1"
    )


def fingerprints(table: Table, known: Mapping[str, Mapping[str, Any]] | None = None) -> list[dict[str, Any]]:
    """What identifies each file of a table: `path`, `bytes`, `modified` and, unless they are large or remote, `sha256`.

    A CSV file that is hashed is also decompressed and decoded as a whole, so that errors surface before Spark starts.

    Args:
        table: its files.
        known: fingerprints of earlier times, by path; a hash in them holds as long as size and time of change do.

    Raises:
        DataError: a file is truncated, damaged or in another encoding.
    """
    files = input_files(table)
    text = table_format(table, files) == "csv"
    result: list[dict[str, Any]] = [{"path": path, **_state(path)} for path in files]
    for entry in result:
        if entry["bytes"] is None:
            raise DataError(f"{entry['path']} has disappeared; {_SETTLED}")
    if sum(entry["bytes"] for entry in result) > HASHED_BYTES or not storage.is_local(table.path):
        return result
    for entry in result:
        before = (known or {}).get(entry["path"], {})
        if "sha256" in before and unchanged(before, entry):
            entry["sha256"] = before["sha256"]
            continue
        entry["sha256"] = sha256(entry["path"])
        if text:
            _decode_all(table, entry["path"])
    return result


def check_unchanged(entry: Mapping[str, Any]) -> None:
    """Checks that a file still has the size and the time of its last change that `fingerprints` found.

    Raises:
        DataError: it was changed or deleted since.
    """
    now = _state(entry["path"])
    if not unchanged(entry, now):
        raise DataError(
            f"{entry['path']} was changed while it was being read: {_words(entry)} before, {_words(now)} now; {_SETTLED}"
        )


def unchanged(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether two fingerprints of one path have the same size and time of change."""
    return all(before[name] == now[name] for name in ("bytes", "modified"))


def sha256(path: str) -> str:
    """SHA-256 of a file's bytes as stored (not decompressed), in hexadecimal.

    Raises:
        DataError: the file cannot be read.
        RetryError: the storage fails for now.
    """
    try:
        return storage.checksum(path).sha256
    except OSError as error:
        raise _unreadable(path, error) from None


def size(path: str) -> int:
    """Size of a file in bytes."""
    return int(_info(path).size)


def expanded_size(path: str) -> int:
    """About the size of a file's content in bytes: one that is compressed, as Parquet is too, counts four times."""
    return size(path) * (4 if path.endswith((".gz", ".bz2", *_PARQUET)) else 1)


def read_head(path: str, limit: int = _BLOCK) -> bytes:
    """The first `limit` bytes of a file's (decompressed) content."""
    buffer = io.BytesIO()
    with open_binary(path) as stream:
        while buffer.tell() < limit and (block := stream.read(limit - buffer.tell())):
            buffer.write(block)
    return buffer.getvalue()


def _decode_all(table: Table, path: str) -> None:
    decode = decoder(table)
    try:
        with open_binary(path) as stream:
            while block := stream.read(_BLOCK):
                decode.decode(block)
        decode.decode(b"", final=True)
    except UnicodeError as error:
        raise undecodable(table, path, error) from None


def _unreadable(path: str, error: OSError) -> RecsysError:
    """The error for a file of the user that cannot be read: worth a retry, or not."""
    known = storage.known(error)
    if isinstance(known, RetryError):
        return known
    return storage.failure(str(error)) or DataError(f"{path} cannot be read: {error}")


def _state(path: str) -> dict[str, Any]:
    """`bytes` and `modified` of a file; both None if there is no such file."""
    info = _info(path)
    return {"bytes": info.size, "modified": info.mtime.isoformat() if info.mtime is not None else None}


def _words(state: Mapping[str, Any]) -> str:
    return "no file" if state["bytes"] is None else f"{state['bytes']} bytes of {state['modified']}"


def _info(path: str) -> Any:
    system, inner = storage.resolve(path)
    return system.get_file_info(inner)


def _below(system: fs.FileSystem, folder: str) -> list[str]:
    infos = system.get_file_info(fs.FileSelector(folder, recursive=True, allow_not_found=True))
    files = [info.path for info in infos if info.type == fs.FileType.File]
    return sorted(name for name in files if not _hidden(posixpath.relpath(name, folder)))


def _hidden(name: str) -> bool:
    return any(part.startswith(("_", ".")) for part in name.split("/"))


def _matches(name: list[str], pattern: list[str]) -> bool:
    return len(name) == len(pattern) and all(fnmatchcase(a, b) or a == b for a, b in zip(name, pattern, strict=True))
