"""Who works on a folder: locks that end with the process that holds them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from typing import BinaryIO

from recsys.errors import ConfigError, RecsysError, RetryError
from recsys.storage import object_lock
from recsys.storage.faults import of_disk
from recsys.storage.paths import is_local, join, resolve
from recsys.storage.whole import create_folder

_LOCK = ".lock"


@contextlib.contextmanager
def lock(
    folder: str, part: str = "", shared: bool = False, patience: float = 0.0, advice: str = "choose another --run-id"
) -> Iterator[None]:
    """Holds a folder for this process, so that a second process is refused. Ends with the process, even after kill -9.

    On a disk it is a lock of the operating system (flock). In an object store it is a lease, see `object_lock`; there, one
    process holds the whole folder exclusively, `shared` or not, and needs no lock on its parts.

    Args:
        folder: what is locked.
        part: locks only this part of it, such as a stage; parts are independent of each other and of the whole.
        shared: other processes may hold it too, as long as all of them share it.
        patience: seconds to wait for another process.
        advice: what to do instead of waiting, for the message.

    Raises:
        RetryError: another process holds it.
        ConfigError: the volume has no locks, or this user may not write the lock's file.
    """
    busy = RetryError(f"another process is working on {folder}; wait for it or {advice}")
    if not is_local(folder):
        with contextlib.nullcontext() if part else object_lock.held(join(folder, _LOCK), busy, patience):
            yield
        return
    create_folder(folder)
    path = os.path.join(resolve(folder)[1], f".lock-{part}" if part else _LOCK)
    kind, end = fcntl.LOCK_SH if shared else fcntl.LOCK_EX, time.monotonic() + patience
    with _open(path) as file:
        while not _taken(file, kind, folder):
            if time.monotonic() > end:
                raise busy
            time.sleep(0.05)
        yield


def _open(path: str) -> BinaryIO:
    """Opens the lock's file; NFS must read to share, and write to exclude.

    Raises:
        RecsysError: see faults.of_disk.
    """
    try:
        return open(path, "a+b")
    except OSError as error:
        raise of_disk(error, f"the lock {path} cannot be opened", path) from None


def _taken(file: BinaryIO, kind: int, folder: str) -> bool:
    """Takes the lock unless another process holds it.

    Raises:
        ConfigError: there are no locks here; a retry would not change that.
    """
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN):
            return False
        raise _no_locks(folder, error) from None
    return True


def _no_locks(folder: str, error: OSError) -> RecsysError:
    if error.errno in (errno.EACCES, errno.EPERM):
        return ConfigError(f"user {os.geteuid()} may not lock {folder}: {error.strerror}; give that user the rights to it")
    return ConfigError(
        f"the volume of {folder} has no locks (flock: {error.strerror}), without which two runs could overwrite each other; "
        "mount it with locks (NFS: a running lock service, not nolock), or choose another --output: a disk or an object store"
    )
