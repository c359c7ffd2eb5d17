"""A container with too little memory: a control group with a limit, in which the system kills what is largest."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.command import SYNTHETIC, assert_refused, command, environment

GROUPS = Path("/sys/fs/cgroup")
Limited = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Limited]:
    """`limited(bytes, words…)` runs a command in a control group with that much memory."""
    old = (GROUPS / "memory").is_dir()
    group = GROUPS / ("memory" if old else "") / f"recsys-tests-{os.getpid()}"
    try:
        group.mkdir()
        assert (group / ("memory.limit_in_bytes" if old else "memory.max")).exists()
    except (OSError, AssertionError):
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip("needs to make a control group: only root can, and not everywhere")

    def run(limit: int, *words: object) -> subprocess.CompletedProcess[str]:
        (group / ("memory.limit_in_bytes" if old else "memory.max")).write_text(str(limit))
        return subprocess.run(
            ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *command(*words)],
            env=environment(tmp_path),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    yield run
    group.rmdir()


def test_a_container_that_is_too_small_for_spark_is_refused_before_it_starts(limited: Limited, tmp_path: Path) -> None:
    done = limited(600 << 20, "features", *SYNTHETIC)
    assert_refused(done, 2, "the memory limit of 600 MiB", "give the container at least 2 GiB", output=tmp_path / "out")


@pytest.mark.slow
def test_a_jvm_that_the_system_kills_for_lack_of_memory_is_worth_a_retry(limited: Limited, tmp_path: Path) -> None:
    done = limited(540 << 20, "features", *SYNTHETIC, "--set", "spark.memory=512m")
    assert_refused(done, 75, "was killed, most likely out of memory", "raise the memory limit", output=tmp_path / "out")
