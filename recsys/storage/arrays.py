"""Named NumPy arrays as one file, as np.savez writes them: without pickle, whole or absent, one array in memory at a time."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from recsys.storage.faults import undamaged
from recsys.storage.reading import open_input
from recsys.storage.whole import atomic_output


def write_arrays(uri: str, arrays: Iterable[tuple[str, Any]]) -> None:
    """Writes the arrays, of any type but object, in the order in which they come."""
    with atomic_output(uri) as stream, zipfile.ZipFile(stream, "w") as archive:
        for name, array in arrays:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)


@contextlib.contextmanager
def open_arrays(uri: str) -> Iterator[Any]:
    """The arrays of a file by name; each is read when it is asked for. `files` lists the names.

    Raises:
        DamagedError: in the block, too: the file is missing, is not what was written, or lacks an array.
    """
    with undamaged(uri), open_input(uri) as file, np.load(file, allow_pickle=False) as arrays:
        yield arrays
