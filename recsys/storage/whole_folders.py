"""Folders that appear whole or not at all: of files that other programs read, and of a run."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from recsys.errors import RetryError
from recsys.storage.faults import of_disk
from recsys.storage.leftovers import scratch, sweep_temporary
from recsys.storage.paths import is_local, join, resolve
from recsys.storage.whole import (
    atomic_output,
    create_folder,
    delete_file,
    encode_json,
    exists,
    file_sizes,
    sync,
    upload_folder,
    write_json,
)

_FIXED: Final = (errno.EBUSY, errno.EXDEV)
"""A mount point cannot be renamed."""


@contextlib.contextmanager
def folder_output(uri: str, last: str) -> Iterator[str]:
    """A new local folder, whose content replaces all that is in `uri` when the block ends without an error.

    On a disk it lies beside the target, and is renamed. Where that cannot be, in an object store or if the target is a mount
    point, the files are written one by one: `last` is the first to go and the last to come, so that what readers look for is
    there only if the others are.

    Args:
        uri: path or URI; what is in it is deleted.
        last: name of the file without which readers do not take the folder for one.

    Raises:
        ConfigError: this user may not write there.
        RetryError: the disk is full or fails; what is in `uri` is still there, or nothing that readers would take for it.
    """
    parent = os.path.dirname(os.path.realpath(resolve(uri)[1])) if is_local(uri) else ""
    if parent:
        create_folder(parent)
    beside = parent if os.access(parent, os.W_OK | os.X_OK) else None
    if beside is not None:
        sweep_temporary(beside)
    with scratch("folder", beside) as work:
        new = os.path.join(work, "new")
        os.mkdir(new)
        yield new
        if beside is None or not _renamed(new, os.path.realpath(resolve(uri)[1]), os.path.join(work, "old")):
            _refill(new, uri, last)


def create_folder_with(uri: str, name: str, value: Mapping[str, Any]) -> None:
    """Creates a folder and a JSON file in it, in one step: a process that is killed leaves no folder without the file.

    On a disk the folder is made in a temporary one beside it, which `sweep_temporary` removes if this process is killed. If the
    folder is there already, or nothing may be written beside it, the file is written into it.

    Args:
        uri: path or URI of the folder; its parents are created.
        name: of the file.
        value: see `whole.encode_json`.

    Raises:
        ConfigError: this user may not write there, or the path cannot be a folder.
        RetryError: the file is there already, written by another process; the disk is full or fails.
    """
    if is_local(uri) and _created(resolve(uri)[1], name, encode_json(value)):
        return
    if exists(join(uri, name)):
        raise RetryError(f"{uri} was created by another process at the same moment; start again")
    create_folder(uri)
    write_json(join(uri, name), value)


def _created(path: str, name: str, content: bytes) -> bool:
    """Creates a folder with a file in one step; False if it is there, or cannot be made in this way."""
    parent = os.path.dirname(path)
    doing = f"folder {path} cannot be created"
    try:
        os.makedirs(parent, exist_ok=True)
        if os.path.lexists(path) or not os.access(parent, os.W_OK | os.X_OK):
            return False
        sweep_temporary(parent)
        with scratch("folder", parent) as work:
            new = os.path.join(work, "new")
            os.mkdir(new)
            doing = f"{os.path.join(path, name)} cannot be written"
            with open(os.path.join(new, name), "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            sync(new)
            try:
                os.rename(new, path)
            except OSError:  # another process was faster, or this volume renames no folders
                return False
            sync(parent)
            return True
    except OSError as error:
        raise of_disk(error, doing, path) from None


def _renamed(new: str, target: str, old: str) -> bool:
    """Puts a folder in the place of another one, which is moved out of the way; False if it cannot be moved."""
    try:
        for folder, _, names in os.walk(new):
            for path in (folder, *(os.path.join(folder, name) for name in names)):
                sync(path)
        with contextlib.suppress(FileNotFoundError):
            os.rename(target, old)
        os.rename(new, target)
        sync(os.path.dirname(target))
    except OSError as error:
        if error.errno in _FIXED:
            return False
        raise of_disk(error, f"{target} cannot be written", target) from None
    return True


def _refill(new: str, uri: str, last: str) -> None:
    for name in sorted(file_sizes(uri), key=lambda name: name != last):
        delete_file(join(uri, name))
    end = os.path.join(os.path.dirname(new), "last")
    os.rename(os.path.join(new, last), end)
    create_folder(uri)
    upload_folder(Path(new), uri)
    with open(end, "rb") as file, atomic_output(join(uri, last)) as stream:
        shutil.copyfileobj(file, stream)
