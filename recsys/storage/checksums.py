"""Checksums of files: of what is being written, without reading it again, and of what is stored."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from typing import Any

from recsys.storage.reading import open_input

_BLOCK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Checksum:
    """What identifies the content of a file.

    Attributes:
        bytes: its size.
        sha256: SHA-256 of its bytes as stored (not decompressed), in hexadecimal.
    """

    bytes: int
    sha256: str


class Summed(io.RawIOBase):
    """Writes to another binary stream, and knows the checksum of all that was written. Closing it leaves that one open."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._bytes, self._digest = stream, 0, hashlib.sha256()

    def writable(self) -> bool:
        """True: it can only be written to."""
        return True

    def write(self, data: Any) -> int:
        """Writes all of `data`."""
        size = memoryview(data).nbytes
        self._stream.write(data)
        self._digest.update(data)
        self._bytes += size
        return size

    def checksum(self) -> Checksum:
        """The checksum of what has been written so far."""
        return Checksum(self._bytes, self._digest.hexdigest())


def checksum(uri: str) -> Checksum:
    """The checksum of a stored file, which is read once in bounded memory.

    Raises:
        OSError: the file cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    with open_input(uri) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return Checksum(size, digest.hexdigest())
