"""Files and folders by path or URI, through one file-system layer (pyarrow.fs), and writes that are whole or absent."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs

from recsys import lease
from recsys.errors import ConfigError, RecsysError, RetryError
from recsys.schema import SUCCESS_FILE

_OPTIONS = re.compile(r"\?\w+=")
_STORE = re.compile(r"AWS Error|google::cloud::Status|Azure Error|DefaultAzureCredential")
_REFUSED = re.compile(
    r"ACCESS_DENIED|NO_SUCH_BUCKET|INVALID_ACCESS_KEY|INVALID_CLIENT_TOKEN|INVALID_SIGNATURE|SIGNATURE_DOES_NOT_MATCH|"
    r"MISSING_AUTHENTICATION|EXPIRED_TOKEN|UNRECOGNIZED_CLIENT|PERMISSION_DENIED|UNAUTHENTICATED|bucket does not exist|"
    r"Authorization|Authentication|ContainerNotFound"
)
_LOCK = ".lock"


def join(base: str, *parts: str) -> str:
    """`base/part/…`, for a path or a URI."""
    return "/".join([base.rstrip("/") or "/", *parts])


def resolve(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system of a path or URI (s3://, gs://, abfs://, file://) and the path on it.

    Raises:
        ConfigError: the scheme is unknown, or `check` refuses the URI.
    """
    if "://" not in uri:
        return fs.LocalFileSystem(), os.path.abspath(uri)
    check(uri)
    if uri.startswith("file://"):
        return _connect(uri)
    store, path = _divide(uri)
    system, root = _store(store)
    return system, f"{root.rstrip('/')}/{path}".rstrip("/")


def check(uri: str) -> None:
    """Refuses what does not belong into a URI, since it would be seen in run.json and in messages.

    Raises:
        ConfigError: the URI holds a password, a key or an option; the message does not repeat it.
    """
    scheme, _, rest = uri.partition("://")
    bucket = rest.partition("/")[0]
    if ":" in bucket.rpartition("@")[0] or (scheme not in ("abfs", "abfss") and re.search("[:@]", bucket)):
        raise ConfigError(f"a {scheme}:// URI holds a key or password; leave it out, see docs/operations.md, 'Object stores'")
    if rest and _OPTIONS.search(rest):
        raise ConfigError(
            f"a {scheme}:// URI holds options (?name=value), which are not read; set AWS_ENDPOINT_URL or another variable "
            "instead, see docs/operations.md, 'Object stores'"
        )


def at(uri: str, path: str) -> str:
    """The path or URI of another path, as `resolve` gives them, on the file system of `uri`."""
    if is_local(uri):
        return path
    store = _divide(uri)[0]
    return f"{store}/{path[len(_store(store)[1].rstrip('/')) + 1 :]}"


def failure(words: str) -> RecsysError | None:
    """The error for an object store's words; None where they are none of a store's.

    Missing buckets and refused credentials are of the configuration: the same again would end the same way. The rest may pass.
    """
    if not _STORE.search(words):
        return None
    told = re.sub(r"\s+", " ", words)[-600:]
    if _REFUSED.search(words):
        return ConfigError(f"the object store refused: {told}; check bucket, credentials and their rights")
    return RetryError(f"the object store failed: {told}; nothing was lost, run the same command again")


def is_local(uri: str) -> bool:
    """Whether the path lies on this machine's file system."""
    return isinstance(resolve(uri)[0], fs.LocalFileSystem)


def exists(uri: str) -> bool:
    """Whether a file or folder is there."""
    system, path = resolve(uri)
    return bool(system.get_file_info(path).type != fs.FileType.NotFound)


def list_files(uri: str, suffix: str = "") -> list[str]:
    """Files directly in a folder whose names end in `suffix`, in order of name; hidden ones (`_x`, `.x`) left out."""
    system, path = resolve(uri)
    infos = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
    names = sorted(i.base_name for i in infos if i.type == fs.FileType.File and i.base_name.endswith(suffix))
    return [join(uri, name) for name in names if not name.startswith(("_", "."))]


def list_folders(uri: str) -> list[str]:
    """Names of the folders directly in a folder, in order."""
    system, path = resolve(uri)
    infos = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return sorted(info.base_name for info in infos if info.type == fs.FileType.Directory)


def create_folder(uri: str) -> None:
    """Makes a folder with its parents; in an object store there is nothing to make.

    Raises:
        RetryError: the folder cannot be made.
    """
    system, path = resolve(uri)
    if not isinstance(system, fs.LocalFileSystem):
        return
    try:
        system.create_dir(path, recursive=True)
    except OSError as error:
        raise RetryError(f"folder {uri} cannot be made: {error}; choose another --output or free the space") from None


def delete_folder(uri: str) -> None:
    """Removes a folder and what is in it; the marker of success goes first, so that a half-removed folder never looks whole."""
    system, path = resolve(uri)
    marker = join(path, SUCCESS_FILE)
    if system.get_file_info(marker).type == fs.FileType.File:
        system.delete_file(marker)
    if system.get_file_info(path).type == fs.FileType.Directory:
        system.delete_dir(path)


def move_file(uri: str, target: str) -> None:
    """Moves a file to another place on the same storage, in place of what is there."""
    system, path = resolve(uri)
    system.move(path, resolve(target)[1])


def delete_file(uri: str) -> None:
    """Removes a file that is there."""
    system, path = resolve(uri)
    system.delete_file(path)


@contextlib.contextmanager
def atomic_output(uri: str) -> Iterator[Any]:
    """A binary stream whose content appears at `uri` whole when the block ends, or not at all.

    It is written beside its place, flushed to the disk and renamed. For an object store it is written to TMPDIR and uploaded
    in one call, which shows the object when all of it is there; closing a stream to the store would show half of it, too.
    """
    system, path = resolve(uri)
    if not isinstance(system, fs.LocalFileSystem):
        with tempfile.NamedTemporaryFile(prefix="recsys-") as scratch:
            yield scratch
            scratch.flush()
            fs.copy_files(scratch.name, path, fs.LocalFileSystem(), system)
        return
    create_folder(os.path.dirname(path))
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(os.path.dirname(path))
    except OSError as error:
        raise RetryError(f"{uri} cannot be written: {error}; nothing was lost, run the same command again") from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def write_json(uri: str, value: Mapping[str, Any]) -> None:
    """Writes JSON in one step, readable for people, keys in the order given."""
    with atomic_output(uri) as stream:
        stream.write((json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_json(uri: str) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        RetryError: the file is not there or is no JSON.
    """
    system, path = resolve(uri)
    try:
        with system.open_input_stream(path) as stream:
            value: dict[str, Any] = json.loads(stream.read())
    except (OSError, ValueError) as error:
        raise failure(str(error)) or RetryError(f"{uri} cannot be read: {error}") from None
    return value


def mark_success(folder: str) -> None:
    """Writes the marker that makes a finished folder whole; always the last write into it."""
    with atomic_output(join(folder, SUCCESS_FILE)):
        pass


def is_whole(folder: str) -> bool:
    """Whether the folder carries its marker of success."""
    return exists(join(folder, SUCCESS_FILE))


def upload_folder(local: Path, uri: str) -> None:
    """Copies a local folder to a path or URI, file by file."""
    system, path = resolve(uri)
    fs.copy_files(str(local), path, fs.LocalFileSystem(), system)


@contextlib.contextmanager
def lock(folder: str, part: str = "", shared: bool = False, patience: float = 0.0) -> Iterator[None]:
    """Holds a folder for this process: a second run on the same folder is refused. Ends with the process, even at kill -9.

    Locally it is a lock of the system. Object stores have none: see `lease`; there a folder is held as a whole by one process
    alone, which need not hold its parts.

    Args:
        folder: what is held.
        part: holds this part of it alone, such as a stage; parts are independent of each other and of the whole.
        shared: others may hold it too, as long as all of them share it.
        patience: seconds to wait for another process.

    Raises:
        RetryError: another process holds it.
    """
    busy = RetryError(f"another process is working on {folder}; wait for it or choose another --run-id")
    system, path = resolve(folder)
    if not isinstance(system, fs.LocalFileSystem):
        with contextlib.nullcontext() if part else lease.held(system, join(path, _LOCK), busy):
            yield
        return
    create_folder(folder)
    name = f".lock-{part}" if part else _LOCK
    kind, end = fcntl.LOCK_SH if shared else fcntl.LOCK_EX, time.monotonic() + patience
    with open(os.path.join(path, name), "a+b") as file:  # NFS wants to read what is shared, and to write the rest
        while True:
            try:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > end:
                    raise busy from None
            time.sleep(0.05)
        yield


def _divide(uri: str) -> tuple[str, str]:
    """`s3://bucket` and the path in it, taken literally: names may hold `?`, `%` and spaces."""
    scheme, _, rest = uri.partition("://")
    bucket, _, path = rest.partition("/")
    return f"{scheme}://{bucket}", path


@functools.cache
def _store(uri: str) -> tuple[fs.FileSystem, str]:
    """One client for each bucket: it keeps its connections, and looks once for the region and credentials."""
    return _connect(uri)


def _connect(uri: str) -> tuple[fs.FileSystem, str]:
    try:
        found: tuple[fs.FileSystem, str] = fs.FileSystem.from_uri(uri)
    except (pa.ArrowException, OSError) as error:
        known = "use a path, s3://, gs:// or abfs://"
        raise failure(str(error)) or ConfigError(f"storage {uri} cannot be used: {error}; {known}") from None
    return found


def _sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
