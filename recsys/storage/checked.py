"""Files that prove their content: the last 32 bytes are the SHA-256 of all bytes before them."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterator
from typing import Any, Final

from recsys.errors import DamagedError
from recsys.storage.checksums import Summed
from recsys.storage.faults import undamaged
from recsys.storage.reading import open_input
from recsys.storage.whole import atomic_output

_DIGEST: Final = hashlib.sha256().digest_size
_BLOCK: Final = 8 << 20


@contextlib.contextmanager
def checked_output(uri: str) -> Iterator[Any]:
    """A stream with `write`, as `atomic_output`; the checksum follows what the block has written."""
    with atomic_output(uri) as file:
        summed = Summed(file)
        yield summed
        file.write(bytes.fromhex(summed.checksum().sha256))


@contextlib.contextmanager
def open_checked(uri: str) -> Iterator[Any]:
    """A stream of the content, followed by the checksum; opened only after all of it was found to be as written.

    Raises:
        DamagedError: it is not; in the block, too.
        ConfigError: this user may not read it.
        RetryError: the storage fails.
    """
    with undamaged(uri), open_input(uri) as file:
        _verify(uri, file)
        file.seek(0)
        yield io.BufferedReader(file, _BLOCK)


def _verify(uri: str, file: Any) -> None:
    left, found = file.size() - _DIGEST, hashlib.sha256()
    if left < 0:
        raise DamagedError(f"{uri} is damaged: it has only {left + _DIGEST} bytes", uri)
    while left > 0 and (block := file.read(min(left, _BLOCK))):
        found.update(block)
        left -= len(block)
    if file.read(_DIGEST) != found.digest():
        raise DamagedError(f"{uri} is damaged: its checksum does not match", uri)
