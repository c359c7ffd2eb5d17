"""The memory limit of the container, and the size of Spark's heap."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import psutil

from recsys.errors import ConfigError

GIB: Final = 1 << 30
HEAP_SHARE: Final = 0.4
MOST_OF_LIMIT: Final = 0.75


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
        ConfigError: `memory` is not a size.
    """
    if memory is not None:
        return parse_size(memory)
    wanted = min(max(int(limit_bytes * HEAP_SHARE), GIB), 8 * GIB)
    return min(wanted, int(limit_bytes * MOST_OF_LIMIT))


def parse_size(text: str) -> int:
    """Bytes of 2g, 900m, 65536k or a plain number of bytes.

    Raises:
        ConfigError: the text is not a size.
    """
    match = re.fullmatch(r"(\d+)\s*([kmgt]?)i?b?", text.strip().lower())
    if not match or int(match.group(1)) == 0:
        raise ConfigError(f"'spark.memory' must be a size such as 2g or 900m, not {text!r}")
    return int(match.group(1)) << {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}[match.group(2)]


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
