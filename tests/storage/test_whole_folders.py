"""Folders that other programs read appear whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recsys import storage
from recsys.errors import ConfigError, RetryError
from tests.command import environment
from tests.store import BUCKET, Store

LAST = "saved_model.pb"
HOLDER = """
import sys, time
from recsys import storage
with storage.folder_output(sys.argv[1], sys.argv[2]) as folder:
    open(f"{folder}/{sys.argv[2]}", "w").write("half")
    print(flush=True)
    time.sleep(600)
"""
CREATOR = """
import os, shutil, sys, time
from recsys import storage
def wait(*arguments, **options):
    print(flush=True)
    time.sleep(600)
module, name = sys.argv[2].split(".")
setattr({"os": os, "shutil": shutil}[module], name, wait)
storage.create_folder_with(sys.argv[1], "run.json", {"status": "running"})
"""


def killed(tmp_path: Path, script: str, *words: str) -> None:
    """Ends a process as soon as it has printed a line."""
    command = [sys.executable, "-c", script, *words]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(tmp_path))
    assert holder.stdout is not None and holder.stdout.readline()
    holder.kill()
    holder.communicate()


def fill(uri: str, content: str, *names: str) -> None:
    with storage.folder_output(uri, LAST) as folder:
        for name in (LAST, *names):
            Path(folder, name).parent.mkdir(exist_ok=True)
            Path(folder, name).write_text(content)


def held(place: Path) -> dict[str, str]:
    return {str(path.relative_to(place)): path.read_text() for path in sorted(place.rglob("*")) if path.is_file()}


def test_a_folder_replaces_another_or_leaves_it_as_it_is(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "blend"
    fill(str(place), "old", "variables/a", "b")
    with pytest.raises(ZeroDivisionError), storage.folder_output(str(place), LAST) as folder:
        Path(folder, LAST).write_text("half")
        raise ZeroDivisionError
    assert held(place) == {LAST: "old", "variables/a": "old", "b": "old"}
    fill(str(place), "new", "variables/a")
    assert held(place) == {LAST: "new", "variables/a": "new"}
    assert os.listdir(place.parent) == ["blend"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    place, link = tmp_path / "disk" / "blend", tmp_path / "blend"
    fill(str(place), "old")
    link.symlink_to(place)
    fill(str(link), "new")
    assert link.is_symlink() and held(place) == {LAST: "new"}


def test_what_a_killed_process_has_left_is_removed_by_the_next(tmp_path: Path) -> None:
    place = tmp_path / "out" / "blend"
    fill(str(place), "old")
    killed(tmp_path, HOLDER, str(place), LAST)
    assert held(place) == {LAST: "old"} and len(os.listdir(place.parent)) == 2
    fill(str(place), "new")
    assert held(place) == {LAST: "new"} and os.listdir(place.parent) == ["blend"]


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_process_killed_while_it_creates_a_folder_leaves_none_without_its_file(tmp_path: Path, call: str) -> None:
    place = tmp_path / "runs" / "r"
    killed(tmp_path, CREATOR, str(place), f"os.{call}")
    assert not place.exists() and len(os.listdir(place.parent)) == 1
    storage.create_folder_with(str(place), "run.json", {"status": "running"})
    assert os.listdir(place.parent) == ["r"] and os.listdir(place) == ["run.json"]
    assert place.stat().st_mode == place.parent.stat().st_mode


def test_what_it_leaves_just_after_is_swept(tmp_path: Path) -> None:
    place = tmp_path / "runs" / "r"
    killed(tmp_path, CREATOR, str(place), "shutil.rmtree")
    assert storage.read_json(str(place / "run.json")) == {"status": "running"} and len(os.listdir(place.parent)) == 2
    storage.sweep_temporary(str(place.parent))
    assert os.listdir(place.parent) == ["r"]


@pytest.mark.parametrize("at", ["disk", "store"])
def test_a_folder_that_is_there_keeps_what_is_in_it_and_gets_its_file(tmp_path: Path, store: Store, at: str) -> None:
    place = str(tmp_path / "r") if at == "disk" else f"{store.bucket}/runs/r"
    storage.write_json(storage.join(place, "other.json"), {"kept": True})
    storage.create_folder_with(place, "run.json", {"status": "running"})
    assert sorted(storage.file_sizes(place)) == ["other.json", "run.json"]
    assert storage.read_json(storage.join(place, "run.json")) == {"status": "running"}
    with pytest.raises(RetryError, match="another process"):
        storage.create_folder_with(place, "run.json", {"status": "late"})
    assert storage.read_json(storage.join(place, "run.json")) == {"status": "running"}


def test_the_slower_of_two_that_create_the_same_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, rename = tmp_path / "r", os.rename

    def overtaken(source: str, target: str) -> None:
        monkeypatch.setattr(os, "rename", rename)
        storage.create_folder_with(target, "run.json", {"by": "the other"})
        rename(source, target)

    monkeypatch.setattr(os, "rename", overtaken)
    with pytest.raises(RetryError, match="another process"):
        storage.create_folder_with(str(place), "run.json", {"by": "this one"})
    assert held(place) == {"run.json": '{\n  "by": "the other"\n}\n'} and os.listdir(tmp_path) == ["r"]


def test_an_empty_folder_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir(mode=0o750)
    storage.create_folder_with(str(tmp_path / "r"), "run.json", {})
    assert (tmp_path / "r").stat().st_mode & 0o777 == 0o750 and os.listdir(tmp_path / "r") == ["run.json"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("a file")
    with pytest.raises(ConfigError, match=str(tmp_path / "r")):
        storage.create_folder_with(str(tmp_path / "r"), "run.json", {})
    assert (tmp_path / "r").read_text() == "a file" and os.listdir(tmp_path) == ["r"]


def test_a_mount_point_is_filled_and_not_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, rename = tmp_path / "blend", os.rename
    fill(str(place), "old", "b")
    before = place.stat().st_ino

    def renamed(source: str, target: str) -> None:
        if source == str(place):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), source)
        rename(source, target)

    monkeypatch.setattr(os, "rename", renamed)
    fill(str(place), "new", "variables/a")
    assert held(place) == {LAST: "new", "variables/a": "new"} and place.stat().st_ino == before


def test_in_a_store_the_last_file_is_the_first_to_go_and_the_last_to_come(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies in between leaves nothing that readers would take for a whole folder."""
    place = f"{store.bucket}/exports/blend"
    fill(place, "old", "variables/a", "b")
    assert store.names("exports/blend") == {LAST, "variables/a", "b"}
    with monkeypatch.context() as patch:
        patch.setattr("recsys.storage.whole_folders.upload_folder", lambda *given: _die())
        with pytest.raises(ZeroDivisionError):
            fill(place, "new")
    assert LAST not in store.names("exports/blend")
    with monkeypatch.context() as patch:
        patch.setattr("recsys.storage.whole_folders.atomic_output", lambda *given: _die())
        with pytest.raises(ZeroDivisionError):
            fill(place, "new", "variables/a")
    assert store.names("exports/blend") == {"variables/a"}
    fill(place, "new", "variables/a")
    assert store.names("exports/blend") == {LAST, "variables/a"}
    assert store.get("exports/blend/variables/a") == store.get(f"exports/blend/{LAST}") == b"new"


def _die() -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("uri", "folder", "within"),
    [
        ("out/runs/r/model", "out/runs", True),
        ("out/runs", "out/runs/", True),
        ("out/runs2", "out/runs", False),
        ("out/runs/../blend", "out/runs", False),
        (f"s3://{BUCKET}/out/runs/r", f"s3://{BUCKET}/out/runs", True),
        (f"s3://{BUCKET}/out/blend", f"s3://{BUCKET}/out/runs", False),
        (f"{BUCKET}/out/runs/r", f"s3://{BUCKET}/out/runs", False),
    ],
)
def test_a_place_is_within_a_folder(store: Store, uri: str, folder: str, within: bool) -> None:
    assert storage.is_within(uri, folder) is within
