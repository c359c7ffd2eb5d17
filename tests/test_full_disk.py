"""A disk without space or inodes, and folders where this user may not write."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
from pathlib import Path

import pytest

from recsys.config import Config
from recsys.run import runs
from tests.command import SPARK, SYNTHETIC, assert_refused, command, environment, recsys


def as_everybody() -> None:
    """Drops CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, so that permissions apply to root too."""
    for capability in (1, 2):
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)


def on_small_disk(inodes: int, *words: object, home: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in a mount namespace in which the folder `disk` is a tmpfs with so many inodes."""
    (home / "disk").mkdir()
    mount = f'mount -t tmpfs -o size=100m,nr_inodes={inodes} tmpfs disk && exec "$@"'
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh", *command(*words)],
        env=environment(home, **changes),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def can_mount(tmp_path: Path) -> None:
    try:
        subprocess.run(
            ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)],
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs to mount a tmpfs: user namespaces are not allowed here")


def test_full_disk(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    done = recsys("run", home=tmp_path, preexec_fn=limit)
    words = ("run.json cannot be written", "File too large", "run the same command again")
    assert_refused(done, 75, *words, output=tmp_path / "out")


@pytest.mark.usefixtures("can_mount")
def test_an_output_without_inodes_is_worth_a_retry(tmp_path: Path) -> None:
    done = on_small_disk(5, "features", "--output", "disk/out", home=tmp_path)
    assert_refused(done, 75, "disk/out/runs/", "No space left on device", "inodes are used up", "df -i")


@pytest.mark.slow
@pytest.mark.usefixtures("can_mount")
def test_a_temporary_folder_without_inodes_is_worth_a_retry(tmp_path: Path) -> None:
    done = on_small_disk(16, "features", *SYNTHETIC, *SPARK, home=tmp_path, TMPDIR=str(tmp_path / "disk"))
    assert_refused(done, 75, "inodes", "run the same command again")


def test_folder_without_write_permission(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o555)
    done = recsys("run", "--output", tmp_path / "out", home=tmp_path, preexec_fn=as_everybody)
    words = (str(tmp_path / "out"), "Permission denied", f"runs as user {os.geteuid()}", "chown", "fsGroup", "--output")
    assert_refused(done, 2, *words, output=tmp_path / "out")


@pytest.mark.parametrize("name", [".lock", "run.json"])
def test_file_without_permission(tmp_path: Path, name: str) -> None:
    """As if another user had made the run."""
    run = runs.create(Config(output=str(tmp_path / "out")), "r")
    (Path(run.folder) / name).touch()
    (Path(run.folder) / name).chmod(0o000)
    done = recsys("train", "--output", tmp_path / "out", home=tmp_path, preexec_fn=as_everybody)
    assert_refused(done, 2, f"runs/r/{name}", "Permission denied", f"runs as user {os.geteuid()}", "chown")
