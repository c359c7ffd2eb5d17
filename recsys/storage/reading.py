"""Opening files to read them, on a disk or in an object store that refuses some requests."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from recsys.storage import objects
from recsys.storage.paths import is_local, resolve

WHOLE_BYTES: Final = 1 << 20
"""Objects up to this size are read at once."""


def open_input(uri: str) -> Any:
    """A file as it is stored, a pyarrow.NativeFile that can be read at any place.

    Small objects are read by obstore, which asks again where a store refuses: Arrow's client for S3 fails at once if the words
    of a refusal are longer than the range that it has asked for.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ConfigError, RetryError: see objects.read.
    """
    system, path = resolve(uri)
    if is_local(uri):
        return system.open_input_file(path)
    size = system.get_file_info(path).size
    if size is None or size > WHOLE_BYTES:
        return system.open_input_file(path)
    found = objects.read(uri)
    if found is None:
        raise FileNotFoundError(f"{uri} does not exist")
    return pa.BufferReader(found[0])
