"""Temporary files and folders that their process has locked, so that the next one can remove what a dead one has left.

A process id would not tell: in containers they repeat. Where a volume has no locks, nothing is removed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from typing import BinaryIO, Final

from recsys.storage.paths import is_local, resolve

_FILE: Final = re.compile(r"\..+\.recsys-[0-9a-f]{16}\.tmp")
_FOLDER: Final = "recsys-"
_OWNER: Final = ".recsys-owner"
"""The file that the process of a scratch folder has locked. A folder without it is not ours."""
_WORK: Final = "work"
"""The folder beside it that the process works in."""


def create_temporary(folder: str, name: str) -> BinaryIO:
    """Creates a hidden temporary file beside the file that it is going to be; its `name` is its path."""
    while True:
        file = open(os.path.join(folder, f".{name}.recsys-{secrets.token_hex(8)}.tmp"), "xb")  # noqa: SIM115
        if _own(file):
            return file
        file.close()


@contextlib.contextmanager
def scratch(purpose: str, place: str | None = None) -> Iterator[str]:
    """A folder that is gone after the block or, if this process is killed, after the next `sweep_temporary` of that place.

    Args:
        purpose: part of its name.
        place: in which folder; TMPDIR if None.
    """
    while True:
        folder = tempfile.mkdtemp(prefix=f"{_FOLDER}{purpose}-", dir=place)
        with _owned(folder) as owner:
            if not _own(owner):
                continue
            work = os.path.join(folder, _WORK)
            os.mkdir(work)
            try:
                yield work
            finally:
                _remove(folder)
            return


def _owned(folder: str) -> BinaryIO:
    """Creates the owner's file of a new folder, which is not left behind without one: no sweep would remove it."""
    try:
        return open(os.path.join(folder, _OWNER), "xb")
    except OSError:
        os.rmdir(folder)
        raise


def sweep(uri: str, recursive: bool = True) -> None:
    """Removes the temporary files that dead processes of this user have left in a folder on a disk."""
    if not is_local(uri):
        return  # an object store shows nothing of a write that was not finished
    for parent, folders, names in os.walk(resolve(uri)[1]):
        for path in (os.path.join(parent, name) for name in names if _FILE.fullmatch(name)):
            with _abandoned(path) as ours:
                if ours:
                    with contextlib.suppress(FileNotFoundError):  # another start was faster
                        os.unlink(path)
        if not recursive:
            folders.clear()


def sweep_temporary(place: str | None = None) -> None:
    """Removes the scratch folders and files that dead processes of this user have left in a folder; in TMPDIR if None."""
    root = place or tempfile.gettempdir()
    sweep(root, recursive=False)
    for folder in (entry.path for entry in os.scandir(root) if entry.name.startswith(_FOLDER)):
        if os.path.islink(folder):
            continue
        with _abandoned(os.path.join(folder, _OWNER)) as ours:
            if ours:
                _remove(folder)


def _own(file: BinaryIO) -> bool:
    """Locks a new file; False if a sweep found it in between, before it was locked."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN)  # where there are no locks, there is no sweep
    return os.path.exists(file.name)


@contextlib.contextmanager
def _abandoned(path: str) -> Iterator[bool]:
    """Whether the file is of this user and its process is gone; during the block it is locked."""
    with contextlib.ExitStack() as stack:
        try:
            file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            stack.callback(os.close, file)
            found = os.fstat(file)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()


def _remove(folder: str) -> None:
    """Deletes a scratch folder, its owner's file last: what cannot be deleted now, the next sweep finds again."""
    shutil.rmtree(os.path.join(folder, _WORK), ignore_errors=True)
    with contextlib.suppress(OSError):
        if os.listdir(folder) == [_OWNER]:
            os.unlink(os.path.join(folder, _OWNER))
            os.rmdir(folder)
