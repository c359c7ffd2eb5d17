"""Whether recommendations are, to the byte, what was written."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from recsys import storage
from recsys.errors import RetryError


def faults(folder: str, written: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with recommendations; empty if nothing is. Reads every file once.

    Args:
        folder: the recommendations.
        written: `file`, `bytes` and `sha256` of each file, as recorded when it was written.

    Raises:
        ConfigError: this user may not read a file.
        RetryError: a file cannot be read for now.
    """
    if not storage.is_whole(folder):
        return [f"{folder} is incomplete"]
    if not written:
        return [f"run.json has no checksums of {folder}"]
    there = {posixpath.basename(uri): uri for uri in storage.list_files(folder, ".parquet")}
    known = {entry["file"]: entry for entry in written}
    found = [f"{storage.join(folder, name)} is missing" for name in known if name not in there]
    found += [f"{uri} is not a file that this run has written" for name, uri in there.items() if name not in known]
    for name in sorted(known.keys() & there.keys()):
        try:
            stored = storage.checksum(there[name])
        except OSError as error:
            raise storage.known(error) or RetryError(f"{there[name]} cannot be read: {error}") from None
        if (stored.bytes, stored.sha256) != (known[name]["bytes"], known[name]["sha256"]):
            found.append(
                f"{there[name]} is damaged: it has {stored.bytes} bytes with SHA-256 {stored.sha256[:12]}…, "
                f"{known[name]['bytes']} bytes with {known[name]['sha256'][:12]}… were written"
            )
    return found if len(found) <= 3 else [*found[:3], f"and {len(found) - 3} more files"]
