"""A lock in an object store: one object that its holder keeps renewing by conditional writes.

The object is created on condition that there is none, so of several processes one succeeds. Its holder rewrites it every few
seconds on condition that it is still the version written last, and so learns at its next renewal that it was overtaken. A
process that was killed stops renewing: whoever has watched the object for DEAD_SECONDS without a change replaces it, on
condition that it is still the version watched, so of several watchers one succeeds. No clocks are compared, and nobody waits
for a free lock.

The limits: a holder that was stopped for longer than DEAD_SECONDS (SIGSTOP, a frozen machine, a network partition) overlaps
with its successor until its next renewal, which ends it. A holder that is stopped for as long between the last two requests of
its release deletes its successor's lock; the successor ends at its next renewal. latest.json and run.json are safe in both
cases: they are written conditionally, too.
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

from recsys.errors import ConfigError, RecsysError, RetryError, TerminatedError
from recsys.storage import objects
from recsys.storage.objects import ChangedError, Version
from recsys.storage.paths import AGAIN

RENEW_SECONDS: Final = 5.0
DEAD_SECONDS: Final = 30.0
"""The holder of an object that has not changed for so long while it was watched is taken for dead."""
POLL_SECONDS: Final = 1.0


class _Holder:
    """The lock object while this process holds it."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._name = f"{socket.gethostname()} {os.getpid()} {secrets.token_hex(8)}"
        self._count = 0
        self._version: Version | None = None
        self.lost = False

    def write(self, expected: Version | None) -> None:
        """Writes the object with content never written before, so that its ETag changes.

        Raises:
            ChangedError: it is not in the expected version.
        """
        self._count += 1
        self._version = objects.write(self.uri, f"{self._name} {self._count}\n".encode(), expected)

    def renew(self) -> None:
        """Rewrites the object.

        Raises:
            ChangedError: another process has replaced it; also noted in `lost`.
        """
        try:
            self.write(self._version)
        except ChangedError:
            found = objects.read(self.uri)
            if found is None or not found[0].startswith(self._name.encode()):
                self.lost = True
                raise
            self._version = found[1]  # an earlier write of ours that seemed to fail

    def prove(self) -> None:
        """Checks that the store keeps its promise: some that call themselves S3-compatible ignore conditions.

        Raises:
            ConfigError: it overwrote what it was told not to overwrite.
        """
        first = self._version
        self.renew()
        for stale in (None, first):
            with contextlib.suppress(ChangedError):
                objects.write(self.uri, b"written although its condition failed\n", stale)
                objects.delete(self.uri)
                raise ConfigError(
                    f"the object store of {self.uri} ignores conditional writes (If-None-Match, If-Match), without which two "
                    "runs could overwrite each other; use a store that supports them"
                )

    def release(self) -> None:
        """Deletes the object if it is still ours: the renewal proves that, and keeps others from taking over meanwhile."""
        with contextlib.suppress(ChangedError, RecsysError):
            self.renew()
            objects.delete(self.uri)


@contextlib.contextmanager
def held(uri: str, busy: RecsysError, patience: float = 0.0) -> Iterator[None]:
    """Holds the object `uri` for this process while the block runs, then deletes it.

    A holder that was overtaken gets SIGTERM, which ends the block at its next safe point.

    Args:
        patience: seconds to wait for a holder that is alive.

    Raises:
        RecsysError: `busy`, if another process holds it.
        RetryError: another process took over while the block ran.
        ConfigError: the store does not support conditional writes.
    """
    holder = _Holder(uri)
    _acquire(holder, busy, patience)
    ended = threading.Event()
    renewing = threading.Thread(target=_keep, args=(holder, ended), daemon=True)
    overtaken = RetryError(
        f"another process took over {uri}, since this one did not renew it for {DEAD_SECONDS:g} seconds; {AGAIN}"
    )
    try:
        holder.prove()
        renewing.start()
        yield
    except (TerminatedError, ChangedError):
        if not holder.lost:
            raise
        raise overtaken from None
    finally:
        ended.set()
        if renewing.ident is not None:
            renewing.join()
        if not holder.lost:
            holder.release()
    if holder.lost:
        raise overtaken


def _acquire(holder: _Holder, busy: RecsysError, patience: float) -> None:
    """Creates the object, or replaces one that nobody renews."""
    end = time.monotonic() + patience
    watched, since = None, 0.0
    with contextlib.suppress(ChangedError):
        holder.write(None)
        return
    while True:
        found = objects.read(holder.uri)
        now = time.monotonic()
        version = None if found is None else found[1]
        if watched is not None and version not in (None, watched) and now >= end:
            raise busy
        if version is not None and version != watched:
            watched, since = version, now
        if version is None or now - since >= DEAD_SECONDS:
            with contextlib.suppress(ChangedError):
                holder.write(version)
                return
            if now >= end:
                raise busy  # another process was faster
        time.sleep(POLL_SECONDS)


def _keep(holder: _Holder, ended: threading.Event) -> None:
    """Renews the object now and then; a store that fails may recover."""
    while not ended.wait(RENEW_SECONDS):
        try:
            holder.renew()
        except ChangedError:
            os.kill(os.getpid(), signal.SIGTERM)
            return
        except RecsysError:
            continue
