"""`recsys run --dry-run`: it tells what the run would do, refuses what the run would refuse, and touches nothing."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path

import pytest

from recsys.text_table import columns_of
from tests.command import (
    BUILT_IN,
    Command,
    assert_refused,
    invoke,
    manifest,
    recsys,
    run_folder,
    succeed,
    unpublish,
    write_toml,
)
from tests.sources import formats


def tree(home: Path) -> dict[str, tuple[int, int]]:
    """Everything in a folder, with what a change would change."""
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in home.rglob("*")}


def squeezed(text: str) -> str:
    """Without spaces: a long path is wrapped."""
    return "".join(text.split())


@pytest.fixture(autouse=True)
def imported() -> None:
    """Importing Keras for the first time writes its settings into the home, which the command has done in a child process."""
    importlib.import_module("recsys.model")


def planned(home: Path, *words: object, run: Command = invoke) -> str:
    """What is told, in one line; nothing has changed."""
    before = tree(home)
    said = succeed("run", "--dry-run", "--quiet", *words, home=home, run=run).stdout
    assert tree(home) == before
    assert "\x1b" not in said and all(columns_of(line) <= 110 for line in said.splitlines())
    return " ".join(said.split())


@pytest.fixture
def copied(built_in: Path, tmp_path: Path) -> Path:
    """Home with a private copy of the built-in run, as if it had been made there."""
    shutil.copytree(built_in / "out", tmp_path / "out")
    facts = manifest(tmp_path / "out")
    facts["config"]["output"] = str(tmp_path / "out")
    (run_folder(tmp_path / "out") / "run.json").write_text(json.dumps(facts))
    return tmp_path


def test_a_new_run_on_the_built_in_data(tmp_path: Path) -> None:
    said = planned(tmp_path, "--output", "out", "--k", 7, run=recsys)
    assert "1,000 users, 500 items and about 40,000 events are generated" in said
    assert "features: to do" in said and "publish: to do" in said and "device cpu: " in said
    assert "blend, beside cnn, popularity, recent-popularity, " in said and "lists of 7 items" in said
    assert "features/, model/, evaluation/, recommendations/, report/, run.json, lineage.json" in said
    assert "takes not known" in said
    assert not (tmp_path / "out").exists()


def test_the_previous_run_says_how_long_it_may_take(copied: Path) -> None:
    run = run_folder(copied / "out").name
    words = (*BUILT_IN, "--output", copied / "out")
    said = planned(copied, *words)
    stages = manifest(copied / "out")["stages"].values()
    assert f"run {run} took {sum(facts['seconds'] for facts in stages):,.0f} seconds (features" in said
    assert "with the same settings" in said and f"now run {run}, if the run passes the gate" in said
    assert "with other settings: model.width" in planned(copied, *words, "--set", "model.width=8")
    assert "takes not known" in planned(copied, *words, "--set", "source.synthetic.users=61")


@pytest.mark.parametrize("missing", [("publish",), ("report",), ("report", "publish")])
def test_a_refused_or_older_run_says_how_long_it_may_take_too(copied: Path, missing: tuple[str, ...]) -> None:
    facts = manifest(copied / "out")
    for stage in missing:
        del facts["stages"][stage]
    (run_folder(copied / "out") / "run.json").write_text(json.dumps({**facts, "status": "refused"}))
    said = planned(copied, *BUILT_IN, "--output", copied / "out", "--set", "model.width=8")
    total = sum(one["seconds"] for one in facts["stages"].values())
    assert (
        f"run {facts['run_id']} took {total:,.0f} seconds (features" in said and f"{missing[0]} " not in said.split("took")[1]
    )
    del facts["stages"]["train"]
    (run_folder(copied / "out") / "run.json").write_text(json.dumps(facts))
    assert "takes not known" in planned(copied, *BUILT_IN, "--output", copied / "out", "--set", "model.width=8")


def test_what_is_left_of_an_unfinished_run(copied: Path) -> None:
    unpublish(copied / "out")
    (run_folder(copied / "out") / "recommendations" / "_SUCCESS").unlink()
    said = planned(copied, *BUILT_IN, "--output", copied / "out")
    assert f"goes on with {run_folder(copied / 'out').name}" in said
    assert "train: done already" in said and "recommend: was begun, begins anew" in said and "device" not in said
    assert "a new one, named by its time" in planned(copied, *BUILT_IN, "--output", copied / "out", "--seed", 5)


def test_the_network_that_a_run_would_go_on_from(copied: Path) -> None:
    words = (*BUILT_IN, "--output", copied / "out", "--warm-start")
    assert f"network that of run {run_folder(copied / 'out').name} goes on" in planned(copied, *words, "latest")
    other = planned(copied, *words, "latest", "--set", "model.width=8")
    assert "network a new one: the settings of [model] are others" in other
    assert_refused(invoke("run", "--dry-run", *words, "nosuch", home=copied), 2, "there is no run nosuch")


def test_movielens_is_neither_downloaded_nor_unpacked(tmp_path: Path) -> None:
    said = planned(tmp_path, "--dataset", "ml-1m", "--set", "source.mirror=http://me:secret@127.0.0.1:9")
    assert "ml-1m.zip (5,917,549 bytes) is downloaded into" in said and "secret" not in said
    packed = formats.zipped(formats.write_1m(tmp_path / "published"), tmp_path / "ml-1m.zip")
    said = planned(tmp_path, "--dataset", "ml-1m", "--dataset-path", packed)
    assert "is unpacked into" in said and "interactions: " in said and "users: " in said
    said = planned(tmp_path, "--dataset", "ml-1m", "--dataset-path", tmp_path / "published")
    assert "unpacked" not in said and squeezed(f"bytes, {tmp_path / 'published'}") in squeezed(said)


def test_own_files_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("user,item,stars,time\na,b,3,100\n")
    write_toml(tmp_path, "events.csv")
    said = squeezed(planned(tmp_path, "--config", "shop.toml"))
    assert squeezed(f"interactions: 31 bytes, {tmp_path / 'events.csv'}") in said


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--set", "training.epohcs=3"), 2, "did you mean 'epochs'"),
        (("--set", "publish.must_beat=als", "--set", "evaluation.baselines=ease"), 2, "publish.must_beat names als"),
        (("--set", "source.synthetic.mean_events=400"), 2, "nobody watches an item twice"),
        (("--run-id", "a/b"), 2, "expected at most 128 letters"),
        (("--output", "file/below"), 2, "cannot be created: Not a directory"),
        (("--config", "shop.toml"), 65, "stars"),
        (("--dataset", "ml-1m", "--dataset-path", "file"), 65, "not a complete zip"),
        (("--dataset", "ml-2m"), 2, "unknown"),
    ],
)
def test_what_the_run_would_refuse_is_refused(tmp_path: Path, words: tuple[str, ...], code: int, said: str) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "events.csv").write_text("user,item,time\na,b,100\n")
    write_toml(tmp_path, "events.csv")
    for dry in (("--dry-run",), ()):
        assert_refused(invoke("run", *dry, *words, home=tmp_path), code, said)
        assert not dry or not (tmp_path / "out").exists()
