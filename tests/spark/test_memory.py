"""The memory limit of the container, and the heap size that follows from it."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from recsys.errors import ConfigError
from recsys.setting_types import parse_size
from recsys.spark import memory

GIB = 1 << 30


def put(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_version_2_takes_the_lowest_limit_on_the_way_up(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "0::/a/b\n")
    put(tmp_path, "sys/fs/cgroup/a/b/memory.max", "max\n")
    put(tmp_path, "sys/fs/cgroup/a/memory.max", str(GIB // 2))
    put(tmp_path, "sys/fs/cgroup/memory.max", str(GIB))
    assert memory.limit(str(tmp_path)) == GIB // 2


def test_version_1_in_a_container_that_sees_only_its_own_mount(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "4:memory:/docker/0123\n0::/\n")
    put(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", str(GIB // 4))
    assert memory.limit(str(tmp_path)) == GIB // 4


def test_no_limit_is_the_machines_memory(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "4:memory:/\n")
    put(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712")
    assert memory.limit(str(tmp_path)) == psutil.virtual_memory().total
    assert memory.limit("/nothing") == psutil.virtual_memory().total


def test_heap_is_a_share_within_bounds() -> None:
    assert memory.heap(None, 10 * GIB) == 4 * GIB
    assert memory.heap(None, 100 * GIB) == 8 * GIB
    assert memory.heap(None, 2 * GIB) == GIB
    assert memory.heap(None, GIB) == GIB * 3 // 4
    assert memory.heap("3g", 3 * GIB) == 3 * GIB


def test_more_than_the_machine_has_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'spark\.memory' must be at most 1024m, .*not '3g'"):
        memory.heap("3g", GIB)


@pytest.mark.parametrize(("text", "size"), [("2g", 2 * GIB), ("512M", GIB // 2), ("1 GiB", GIB), ("1024", 1024)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["much", "0", "-1g", "1.5g", ""])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"spark\.memory"):
        parse_size(text)
