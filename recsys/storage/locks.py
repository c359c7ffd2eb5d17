"""Who works on a folder: locks that end with the process that holds them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from recsys.errors import RetryError
from recsys.storage import object_lock
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
    """
    busy = RetryError(f"another process is working on {folder}; wait for it or {advice}")
    if not is_local(folder):
        with contextlib.nullcontext() if part else object_lock.held(join(folder, _LOCK), busy, patience):
            yield
        return
    create_folder(folder)
    name = f".lock-{part}" if part else _LOCK
    kind, end = fcntl.LOCK_SH if shared else fcntl.LOCK_EX, time.monotonic() + patience
    with open(os.path.join(resolve(folder)[1], name), "a+b") as file:  # NFS must read to share, and write to exclude
        while True:
            try:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > end:
                    raise busy from None
            time.sleep(0.05)
        yield
