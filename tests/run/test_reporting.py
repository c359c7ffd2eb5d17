"""The report as a stage: what it may change, what it must not hold up, and how it is made anew."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recsys import storage
from recsys.run import runs
from recsys.run.runs import Run
from tests.command import BUILT_IN, invoke, manifest, recommendations, recsys, run_folder, succeed, unpublish
from tests.report.made import make


@pytest.fixture
def copied(built_in: Path, tmp_path: Path) -> Path:
    """Home with a private copy of the built-in run."""
    shutil.copytree(built_in / "out", tmp_path / "out")
    return tmp_path


def before_the_report(home: Path) -> Path:
    """The run as it is when all but the report and publishing is done."""
    output = home / "out"
    unpublish(output)
    facts = manifest(output)
    del facts["stages"]["report"]
    facts["config"]["output"] = str(output)
    (run_folder(output) / "run.json").write_text(json.dumps(facts))
    shutil.rmtree(run_folder(output) / "report")
    return output


def failing(error: BaseException) -> Callable[..., Any]:
    def write(*_: Any) -> Any:
        raise error

    return write


def test_it_lies_in_the_run_and_is_recorded(built_in: Path) -> None:
    folder = run_folder(built_in / "out") / "report"
    assert sorted(path.name for path in folder.iterdir()) == ["MODEL_CARD.md", "_SUCCESS", "report.html"]
    facts = manifest(built_in / "out")["stages"]
    assert list(facts) == ["features", "train", "evaluate", "recommend", "report", "publish"]
    assert facts["report"]["bytes"] == (folder / "report.html").stat().st_size


def test_a_published_run_gets_a_new_report_and_nothing_else_changes(built_in: Path, copied: Path) -> None:
    output = copied / "out"
    page = run_folder(output) / "report" / "report.html"
    page.write_text("old")
    assert "report: already done" in succeed("report", "--output", "out", home=copied, run=invoke).stderr
    succeed("report", "--redo", "--output", "out", home=copied, run=invoke)
    assert "blend is published." in page.read_text()
    before, after = manifest(built_in / "out"), manifest(output)
    for facts in (before, after):
        del facts["stages"]["report"]
    assert after == before and recommendations(output).equals(recommendations(built_in / "out"))


@pytest.mark.parametrize("error", [TypeError("no such colour"), ValueError("token=hunter2"), MemoryError()])
def test_a_defect_in_it_does_not_keep_the_lists_from_their_readers(
    copied: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    output = before_the_report(copied)
    monkeypatch.setattr("recsys.report.render.write", failing(error))
    done = succeed("run", *BUILT_IN, "--output", output, home=copied, run=invoke)
    assert f"warning: no report was made: {type(error).__name__}" in done.stderr
    assert "recsys report --output" in done.stderr
    facts = manifest(output)
    assert facts["status"] == "published"
    assert facts["stages"]["report"]["warning"].startswith(f"no report was made: {type(error).__name__}")
    assert "hunter2" not in json.dumps(facts) and "hunter2" not in done.stderr
    assert not (run_folder(output) / "report" / "_SUCCESS").exists()
    monkeypatch.undo()
    succeed("report", "--output", output, home=copied, run=invoke)
    assert "warning" not in manifest(output)["stages"]["report"]


def test_storage_that_fails_ends_the_job_as_anywhere(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = before_the_report(copied)
    monkeypatch.setattr("recsys.report.render.write", failing(OSError(errno.ENOSPC, "No space left on device")))
    assert invoke("run", *BUILT_IN, "--output", output, home=copied).returncode == 75
    assert not (output / "latest.json").exists()
    monkeypatch.undo()
    succeed("run", *BUILT_IN, "--output", output, home=copied, run=invoke)
    assert (output / "latest.json").exists()


def test_alone_a_defect_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "out")
    monkeypatch.setattr("recsys.report.render.write", failing(TypeError("no such colour")))
    with pytest.raises(AssertionError, match="ended as a defect"):
        invoke("report", "--output", tmp_path / "out", home=tmp_path)


def test_a_metrics_file_of_an_earlier_version_is_told_of(tmp_path: Path) -> None:
    run = make(tmp_path / "out")
    path = Path(run.path("evaluation", "metrics.json"))
    metrics = json.loads(path.read_text())
    for method in metrics["methods"].values():
        del method["user_groups"]
    path.write_text(json.dumps(metrics))
    done = invoke("report", "--output", tmp_path / "out", home=tmp_path)
    assert done.returncode == 65 and "metrics.json is damaged" in done.stderr and "recsys evaluate --redo" in done.stderr


def test_a_run_that_is_not_trained_has_no_report(tmp_path: Path) -> None:
    run = Run(str(tmp_path / "out"), "r")
    made = make(tmp_path / "out")
    made.forget_stages(["train"])
    done = invoke("report", "--output", tmp_path / "out", home=tmp_path)
    assert done.returncode == 2 and "'report' needs 'train' first" in done.stderr
    assert not storage.exists(run.path("report")) and runs.exists(run)


def test_a_read_only_home_is_no_hindrance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "out")
    home = tmp_path / "home"
    home.mkdir(mode=0o500)
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    done = recsys("report", "--output", tmp_path / "out", home=home)
    assert done.returncode == 0, done.stderr
    assert "matplotlib" not in done.stderr.lower() and not list(home.iterdir())
