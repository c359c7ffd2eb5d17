"""Files that prove their content: the last 32 bytes are the SHA-256 of all bytes before them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import Any, Final

from recsys.storage.checksums import Summed
from recsys.storage.paths import failure, resolve
from recsys.storage.whole import atomic_output

_DIGEST: Final = hashlib.sha256().digest_size
_BLOCK: Final = 8 << 20


class ChecksumError(Exception):
    """The file is not what was written; whoever catches this decides what it means."""


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
        ChecksumError: it is not, or cannot be read.
        RecsysError: the object store fails.
    """
    system, path = resolve(uri)
    try:
        _verify(system, path)
        with system.open_input_stream(path, buffer_size=_BLOCK) as file:
            yield file
    except OSError as error:
        raise failure(str(error)) or ChecksumError(str(error)) from None


def _verify(system: Any, path: str) -> None:
    left, found = system.get_file_info(path).size - _DIGEST, hashlib.sha256()
    if left < 0:
        raise ChecksumError(f"{left + _DIGEST} bytes")
    with system.open_input_stream(path, buffer_size=_BLOCK) as file:
        while left > 0 and (block := file.read(min(left, _BLOCK))):
            found.update(block)
            left -= len(block)
        if file.read(_DIGEST) != found.digest():
            raise ChecksumError("its checksum does not match")
