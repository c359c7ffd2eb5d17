"""JSON files that several processes change: no change is lost, neither on a disk nor in an object store."""

from __future__ import annotations

import dataclasses
import posixpath
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from recsys.errors import DamagedError, RetryError
from recsys.storage import objects
from recsys.storage.faults import undamaged
from recsys.storage.locks import lock
from recsys.storage.paths import is_local
from recsys.storage.whole import decode_json, encode_json, exists, read_json, write_json

PATIENCE_SECONDS: Final = 60.0
"""Longer than other processes take to change a file, one after the other."""


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A JSON file as it was read.

    Attributes:
        uri: which file.
        value: its content, empty if there is none.
        version: what identifies this state in an object store; None if there is no object, and on a disk.
    """

    uri: str
    value: dict[str, Any]
    version: objects.Version | None


def read_snapshot(uri: str) -> Snapshot:
    """Reads a JSON object that may not exist yet, in order to replace it.

    Raises:
        DamagedError: the file is no JSON object.
        RetryError: the storage fails.
    """
    if is_local(uri):
        return Snapshot(uri, read_json(uri) if exists(uri) else {}, None)
    found = objects.read(uri)
    if found is None:
        return Snapshot(uri, {}, None)
    with undamaged(uri):
        return Snapshot(uri, decode_json(found[0]), found[1])


def replace_json(before: Snapshot, value: Mapping[str, Any]) -> None:
    """Replaces a file that nobody has changed since it was read.

    On a disk the caller holds a lock that all who write the file take; object stores check the version themselves.

    Raises:
        RetryError: another process has changed it (object store), or the storage fails; the file is as that process left it.
    """
    if is_local(before.uri):
        write_json(before.uri, value)
        return
    try:
        objects.write(before.uri, encode_json(value), before.version)
    except objects.ChangedError:
        raise RetryError(f"another process has just written {before.uri}; run the same command again") from None


def update_json(uri: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes an existing JSON file in one step; of several processes that do so at once, none loses a change.

    Args:
        change: changes the value in place; in an object store it is called again if another process was faster.

    Raises:
        DamagedError: the file does not exist or is no JSON object.
        RetryError: the storage fails, or others have kept changing it for a minute.
    """
    if is_local(uri):
        folder, name = posixpath.split(uri)
        with lock(folder, name, patience=PATIENCE_SECONDS):
            value = read_json(uri)
            change(value)
            write_json(uri, value)
        return
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        before = read_snapshot(uri)
        if before.version is None:
            raise DamagedError(f"{uri} is missing", uri)
        change(before.value)
        try:
            objects.write(uri, encode_json(before.value), before.version)
            return
        except objects.ChangedError:
            if time.monotonic() > end:
                raise RetryError(
                    f"{uri} cannot be written: other processes keep changing it; run the same command again"
                ) from None
        time.sleep(random.uniform(0.02, 0.3))
