"""The memory limit of the container, the size of Spark's heap, and how Python's processes keep theirs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import psutil

from recsys.errors import ConfigError
from recsys.setting_types import parse_size

GIB: Final = 1 << 30
HEAP_SHARE: Final = 0.4
MOST_OF_LIMIT: Final = 0.75
KEEPING: Final = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 33)}
"""For the environment of a process that works on arrays: glibc keeps what one gives back for the next one."""


def limit(root: str = "/") -> int:
    """Bytes that this process may use: the lowest limit of its control groups (v2 or v1), at most the machine's memory.

    Args:
        root: the folder with proc/ and sys/; another one in tests.
    """
    found = [int(psutil.virtual_memory().total)]
    for line in _read(os.path.join(root, "proc/self/cgroup")).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            for mount in ("sys/fs/cgroup", "sys/fs/cgroup/unified"):
                found += _limits(os.path.join(root, mount), path, "memory.max")
        elif "memory" in controllers.split(","):
            found += _limits(os.path.join(root, "sys/fs/cgroup/memory"), path, "memory.limit_in_bytes")
    return min(found)


def heap(memory: str | None, limit_bytes: int) -> int:
    """Bytes of the driver's heap.

    The configured size if there is one; otherwise 40 % of the limit, at least 1 GiB and at most 8 GiB, but never more than
    three quarters of the limit.

    Args:
        memory: config.spark.memory, such as 2g or 900m.
        limit_bytes: see `limit`.

    Raises:
        ConfigError: `memory` is more than the limit.
    """
    if memory is not None:
        size = parse_size(memory)
        if size > limit_bytes:
            raise ConfigError(
                f"'spark.memory' must be at most {limit_bytes >> 20}m, the memory of this machine or container, not {memory!r}"
            )
        return size
    wanted = min(max(int(limit_bytes * HEAP_SHARE), GIB), 8 * GIB)
    return min(wanted, int(limit_bytes * MOST_OF_LIMIT))


def _limits(mount: str, path: str, name: str) -> list[int]:
    """Limits of a control group and its ancestors. A container may see the host's path; then only the mount point exists."""
    folders = [part for part in path.split("/") if part not in ("", "..")]
    values = [_read(os.path.join(mount, *folders[:depth], name)).strip() for depth in range(len(folders), -1, -1)]
    return [int(value) for value in values if value.isdigit()]


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
