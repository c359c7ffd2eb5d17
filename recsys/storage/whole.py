"""Files and folders by path or URI, and writes that appear whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

from pyarrow import fs

from recsys.storage.faults import of_disk, undamaged
from recsys.storage.leftovers import create_temporary
from recsys.storage.paths import join, resolve
from recsys.storage.reading import open_input

T = TypeVar("T")
SUCCESS_FILE: Final = "_SUCCESS"
"""The marker of a finished folder, always the last file written into it."""


def exists(uri: str) -> bool:
    """Whether a file or folder exists."""
    system, path = resolve(uri)
    return bool(system.get_file_info(path).type != fs.FileType.NotFound)


def is_file(uri: str) -> bool:
    """Whether there is a file, not a folder."""
    system, path = resolve(uri)
    return bool(system.get_file_info(path).type == fs.FileType.File)


def list_files(uri: str, suffix: str = "") -> list[str]:
    """Files directly in a folder whose names end in `suffix`, sorted by name, without hidden ones (`_x`, `.x`)."""
    system, path = resolve(uri)
    infos = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
    names = sorted(i.base_name for i in infos if i.type == fs.FileType.File and i.base_name.endswith(suffix))
    return [join(uri, name) for name in names if not name.startswith(("_", "."))]


def file_sizes(uri: str) -> dict[str, int]:
    """Sizes in bytes of all files below a folder by their paths in it, in order."""
    system, path = resolve(uri)
    infos = system.get_file_info(fs.FileSelector(path, allow_not_found=True, recursive=True))
    return {i.path[len(path) + 1 :]: i.size for i in sorted(infos, key=lambda i: i.path) if i.type == fs.FileType.File}


def list_folders(uri: str) -> list[str]:
    """Names of the folders directly in a folder, sorted."""
    system, path = resolve(uri)
    infos = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return sorted(info.base_name for info in infos if info.type == fs.FileType.Directory)


def create_folder(uri: str) -> None:
    """Creates a folder and its parents; an object store has no folders to create.

    Raises:
        ConfigError: the folder cannot be created: this user may not, or the path cannot be one.
        RetryError: the disk is full or fails.
    """
    system, path = resolve(uri)
    if not isinstance(system, fs.LocalFileSystem):
        return
    try:
        system.create_dir(path, recursive=True)
    except OSError as error:
        raise of_disk(error, f"folder {uri} cannot be created", path) from None


def delete_folder(uri: str) -> None:
    """Deletes a folder and its content; the success marker goes first, so that a half-deleted folder never looks whole."""
    system, path = resolve(uri)
    marker = join(path, SUCCESS_FILE)
    if system.get_file_info(marker).type == fs.FileType.File:
        system.delete_file(marker)
    if system.get_file_info(path).type == fs.FileType.Directory:
        system.delete_dir(path)


def move_file(uri: str, target: str) -> None:
    """Moves a file within the same storage, replacing what is at the target."""
    system, path = resolve(uri)
    system.move(path, resolve(target)[1])


def delete_file(uri: str) -> None:
    """Deletes an existing file."""
    system, path = resolve(uri)
    system.delete_file(path)


@contextlib.contextmanager
def atomic_output(uri: str) -> Iterator[Any]:
    """A binary stream whose content appears at `uri` whole when the block ends, or not at all.

    On a disk the content goes to a temporary file beside the target, is flushed to the disk and renamed. For an object store it
    goes to TMPDIR and is uploaded in one call: the object becomes visible once it is complete. (Arrow's own stream would make a
    partial object visible when it is closed after an error.)

    Raises:
        ConfigError: this user may not write there.
        RetryError: the disk is full or fails.
    """
    system, path = resolve(uri)
    if not isinstance(system, fs.LocalFileSystem):
        with _temporary(tempfile.gettempdir(), "upload") as file:
            yield file
            file.flush()
            fs.copy_files(file.name, path, fs.LocalFileSystem(), system)
        return
    create_folder(os.path.dirname(path))
    try:
        with _temporary(*os.path.split(path)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
        sync(os.path.dirname(path))
    except OSError as error:
        raise of_disk(error, f"{uri} cannot be written", path) from None


@contextlib.contextmanager
def _temporary(folder: str, name: str) -> Iterator[BinaryIO]:
    """A temporary file that is gone after the block, unless it was renamed."""
    with create_temporary(folder, name) as file:
        try:
            yield file
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file.name)


def encode_json(value: Mapping[str, Any]) -> bytes:
    """JSON for people to read, keys in the order given.

    Raises:
        ValueError: a number is infinite or NaN.
    """
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def decode_json(content: bytes) -> dict[str, Any]:
    """The inverse of `encode_json`.

    Raises:
        ValueError: it is no JSON object.
    """
    value = json.loads(content)
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {type(value).__name__}")
    return value


def write_json(uri: str, value: Mapping[str, Any]) -> None:
    """Writes JSON in one step, see `encode_json`."""
    content = encode_json(value)
    with atomic_output(uri) as stream:
        stream.write(content)


def read_json(uri: str) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        DamagedError: the file does not exist, or is no JSON object.
        ConfigError: this user may not read it.
        RetryError: the storage fails.
    """
    with undamaged(uri), open_input(uri) as stream:
        return decode_json(stream.read())


def read_record(uri: str, build: Callable[[dict[str, Any]], T]) -> T:
    """What `build` makes of a JSON object; if it lacks a key or a value is of another type, the file is damaged.

    Raises:
        DamagedError, ConfigError, RetryError: see read_json.
    """
    value = read_json(uri)
    with undamaged(uri):
        return build(value)


def mark_success(folder: str) -> None:
    """Writes the marker of a finished folder; always the last write into it."""
    with atomic_output(join(folder, SUCCESS_FILE)):
        pass


def is_whole(folder: str) -> bool:
    """Whether the folder has its success marker."""
    return exists(join(folder, SUCCESS_FILE))


def upload_folder(local: Path, uri: str) -> None:
    """Copies a local folder to a path or URI, file by file."""
    system, path = resolve(uri)
    fs.copy_files(str(local), path, fs.LocalFileSystem(), system)


def sync(path: str) -> None:
    """Flushes a local file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
