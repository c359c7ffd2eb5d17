"""Who works on a folder: locks that end with the process that holds them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from pyarrow import fs

from recsys.errors import RetryError
from recsys.storage import lease
from recsys.storage.paths import join, resolve
from recsys.storage.whole import create_folder

_LOCK = ".lock"


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
