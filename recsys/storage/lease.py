"""Mutual exclusion in an object store, by one object that its holder keeps renewing.

Stores have no locks, and Arrow's file systems no conditional writes. What is left is Fischer's algorithm (Lamport 1987, A fast
mutual exclusion algorithm): who finds no object writes its name, waits longer than a write may take, and holds the lease if the
name is still its own. A process that is killed leaves its object, which nobody renews: who has watched it for long enough
without a change takes it for free. No clocks are compared.

The limit: a process that stands still between looking and writing for longer than SETTLE_SECONDS, or for longer than
DEAD_SECONDS while it holds the lease, can overlap with another. The latter notices when it goes on, and ends by SIGTERM.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Final

from pyarrow import fs

from recsys.errors import RecsysError

SETTLE_SECONDS: Final = 2.0
"""Between writing one's name and reading it again; must be longer than a write takes."""
RENEW_SECONDS: Final = 5.0
DEAD_SECONDS: Final = 30.0
"""An object that has not changed for so long while it was watched has no holder any more."""


@contextlib.contextmanager
def held(system: fs.FileSystem, path: str, busy: RecsysError) -> Iterator[None]:
    """Holds the object `path` for this process while the block runs, and removes it then.

    Raises:
        RecsysError: `busy`, where another process holds it.
    """
    name = f"{socket.gethostname()} {os.getpid()} {secrets.token_hex(8)}"
    _wait_until_free(system, path, busy)
    _write(system, path, name, 0)
    time.sleep(SETTLE_SECONDS)
    if not _is_of(_read(system, path), name):
        raise busy
    ended = threading.Event()
    renewing = threading.Thread(target=_renew, args=(system, path, name, ended), daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join()
        with contextlib.suppress(OSError):
            if _is_of(_read(system, path), name):
                system.delete_file(path)


def _wait_until_free(system: fs.FileSystem, path: str, busy: RecsysError) -> None:
    """Returns when there is no object, or none that is renewed."""
    first = _read(system, path)
    since = time.monotonic()
    while first is not None and time.monotonic() - since < DEAD_SECONDS:
        time.sleep(1.0)
        now = _read(system, path)
        if now is None:
            return
        if now != first:
            raise busy


def _renew(system: fs.FileSystem, path: str, name: str, ended: threading.Event) -> None:
    """Changes the object now and then; a failure to do so may pass."""
    count = 0
    while not ended.wait(RENEW_SECONDS):
        count += 1
        with contextlib.suppress(OSError):
            if not _is_of(_read(system, path), name):
                os.kill(os.getpid(), signal.SIGTERM)
                return
            _write(system, path, name, count)


def _write(system: fs.FileSystem, path: str, name: str, count: int) -> None:
    with system.open_output_stream(path) as stream:
        stream.write(f"{name} {count}\n".encode())


def _read(system: fs.FileSystem, path: str) -> bytes | None:
    try:
        with system.open_input_stream(path) as stream:
            content: bytes = stream.read()
    except FileNotFoundError:
        return None
    return content


def _is_of(content: bytes | None, name: str) -> bool:
    return content is not None and content.startswith(name.encode())
