"""What processes that were killed have left is removed by the next start; what belongs to the living or to others stays."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys import storage
from recsys.config import Config
from recsys.run import runs
from recsys.spark import child
from recsys.storage import leftovers
from tests.command import environment, invoke

HOLDER = """
import sys, time
from recsys import storage
with storage.scratch("work") as folder, storage.atomic_output(sys.argv[1]) as file:
    open(f"{folder}/shuffle", "wb").write(b"x")
    file.write(b"half")
    file.flush()
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """TMPDIR of this process and its children."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def start(target: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that writes `target` and works in a scratch folder, until it is killed."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, target], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    return holder, Path(holder.stdout.readline().strip())  # a folder in the one that TMPDIR shows


def kill(holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.communicate()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_next_start_removes_what_the_dead_left_and_nothing_else(temporary: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    theirs = [output / ".a.npz.12.tmp", output / ".tmp", temporary / "recsys-of-a-user" / "notes", temporary / "tmp1234"]
    for path in theirs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    dead, dead_scratch = start(output / "model" / "a.npz")
    living, living_scratch = start(output / "model" / "a.npz")
    kill(dead)
    assert (dead_scratch / "shuffle").exists() and len(names(output / "model")) == 2
    storage.sweep_temporary()
    storage.sweep(str(output))
    assert names(temporary) == sorted(["recsys-of-a-user", "tmp1234", living_scratch.parent.name])
    assert (living_scratch / "shuffle").exists() and len(names(output / "model")) == 1
    assert all(path.read_text() == "mine" for path in theirs)
    kill(living)
    storage.sweep_temporary()
    storage.sweep(str(output))
    assert not living_scratch.exists() and not names(output / "model")


def test_of_two_starts_at_once_one_removes_it_and_the_other_goes_on(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, _ = start(tmp_path / "a.npz")
    kill(dead)
    abandoned = leftovers._abandoned

    @contextlib.contextmanager
    def overtaken(path: str) -> Iterator[bool]:
        with abandoned(path) as ours:
            Path(path).unlink()
            yield ours

    monkeypatch.setattr(leftovers, "_abandoned", overtaken)
    storage.sweep(str(tmp_path), recursive=False)
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_scratch_folder_holds_only_what_was_put_there(temporary: Path) -> None:
    with storage.scratch("work") as folder:
        assert not names(Path(folder)), "some are copied as a whole"
    assert not names(temporary)


def test_a_command_begins_with_that(temporary: Path, tmp_path: Path) -> None:
    run = runs.create(Config(output=str(tmp_path / "out")), "r")
    dead, scratch = start(Path(run.path("model", "checkpoint")))
    kill(dead)
    assert names(Path(run.path("model")))
    done = invoke("train", "--output", "out", home=tmp_path)
    assert done.returncode == 2 and "needs 'features' first" in done.stderr
    assert not names(Path(run.path("model"))) and not scratch.parent.exists()


def test_another_users_leftovers_stay(temporary: Path, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give files to another user")
    dead, scratch = start(tmp_path / "a.npz")
    kill(dead)
    (left,) = tmp_path.glob(".a.npz.*")
    for path in (scratch.parent, *scratch.parent.iterdir(), left):
        os.chown(path, 10001, 10001)
    storage.sweep_temporary()
    storage.sweep(str(tmp_path))
    assert left.exists() and (scratch / "shuffle").exists()


def test_a_link_is_not_followed(temporary: Path, tmp_path: Path) -> None:
    dead, scratch = start(tmp_path / "a.npz")
    kill(dead)
    elsewhere = tmp_path / "elsewhere"
    scratch.parent.rename(elsewhere)
    (temporary / "recsys-link").symlink_to(elsewhere)
    storage.sweep_temporary()
    assert (elsewhere / "work" / "shuffle").exists() and names(temporary) == ["recsys-link"]


def test_where_there_are_no_locks_writing_works_and_nothing_is_removed(temporary: Path, tmp_path: Path) -> None:
    dead, scratch = start(tmp_path / "a.npz")
    kill(dead)
    words = (
        "import errno, sys; from tests.refused_calls import refuse_flock; from recsys import storage\n"
        "refuse_flock(errno.ENOLCK)\n"
        "with storage.scratch('work'): storage.write_json(sys.argv[1] + '/b.json', {'a': 1})\n"
        "storage.sweep_temporary(); storage.sweep(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", words, str(tmp_path)], env=environment(tmp_path), timeout=60, check=True)
    assert storage.read_json(str(tmp_path / "b.json")) == {"a": 1}
    assert scratch.exists() and len(list(tmp_path.glob(".a.npz.*"))) == 1


def test_sigterm_leaves_nothing_of_a_child_process(temporary: Path) -> None:
    """Not even until the next start: the child is killed, and its parent removes what it worked in."""
    words = (
        "from recsys.run.ending import Stop; from recsys.spark import child\n"
        "Stop().install(); child.call('tests.spark.targets:scratch', {}, lambda line: print(line, flush=True))"
    )
    parent = subprocess.Popen([sys.executable, "-c", words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert parent.stdout is not None
    inside = Path(parent.stdout.readline().strip())
    assert inside.exists() and temporary in inside.parents
    parent.send_signal(signal.SIGTERM)
    parent.communicate(timeout=60)
    assert not names(temporary)


def test_a_child_process_that_ends_leaves_nothing_either(temporary: Path) -> None:
    child.call("tests.spark.targets:echo", {}, lambda line: None)
    assert not names(temporary)
