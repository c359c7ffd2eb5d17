"""What was not measured, or is damaged, is not published; and a published run never changes, whatever is asked of it."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recsys import storage
from recsys.contract import schema
from recsys.errors import ConfigError, RecsysError, RefusedError, RetryError
from recsys.run.publish import roll_back
from recsys.run.runs import Run
from tests.command import invoke
from tests.run.test_publish import finished, latest, publish
from tests.store import Store

UNMEASURED = ("--set", "publish.allow_unmeasured=true")


def change(run: Run, edit: Callable[[dict[str, Any]], object], *path: str) -> None:
    """Edits a JSON file of the run; NaN is written as Python's json writes it."""
    file = Path(run.path(*(path or (schema.RUN_FILE,))))
    value = json.loads(file.read_text())
    edit(value)
    file.write_text(json.dumps(value))


def score(run: Run, value: float, method: str = "blend") -> None:
    def edit(metrics: dict[str, Any]) -> None:
        metrics["methods"][method]["metrics"]["ndcg@10"] = value

    change(run, edit, schema.EVALUATION_DIR, schema.METRICS_FILE)


def never(run: Run) -> None:
    change(run, lambda manifest: manifest["stages"].pop("evaluate"))
    deleted(run)


def deleted(run: Run) -> None:
    storage.delete_folder(run.path(schema.EVALUATION_DIR))


def failed(run: Run) -> None:
    storage.delete_file(run.path(schema.EVALUATION_DIR, storage.SUCCESS_FILE))


def nothing_left(run: Run) -> None:
    def edit(metrics: dict[str, Any]) -> None:
        metrics.clear()
        note = "nothing was measured: the split 'global-time' left no test events"
        metrics.update({"protocol": {"split": "global-time"}, "note": note})

    change(run, edit, schema.EVALUATION_DIR, schema.METRICS_FILE)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (never, "it was not evaluated; to do so: recsys evaluate --output out --run-id b"),
        (deleted, "is not complete any more; to repeat it: recsys evaluate"),
        (failed, "is not complete any more; to repeat it: recsys evaluate"),
        (nothing_left, "left no test events; start a run with another split"),
    ],
)
def test_what_was_not_measured_is_published_only_when_that_is_asked_for(
    tmp_path: Path, damage: Callable[[Run], None], words: str
) -> None:
    finished(tmp_path / "out", "a")
    assert invoke("publish", "--output", "out", home=tmp_path).returncode == 0
    assert latest(tmp_path / "out")["measured"] is True
    run = finished(tmp_path / "out", "b")
    damage(run)
    done = invoke("publish", "--output", "out", "--run-id", "b", "--set", "publish.min_ndcg=0.9", home=tmp_path)
    assert done.returncode == 78
    assert words in done.stderr and "--set publish.allow_unmeasured=true" in done.stderr
    assert (latest(tmp_path / "out")["run_id"], run.manifest()["status"]) == ("a", "refused")
    assert invoke("publish", "--output", "out", "--run-id", "b", *UNMEASURED, home=tmp_path).returncode == 0
    found = latest(tmp_path / "out")
    assert (found["run_id"], found["measured"], found["ndcg@10"]) == ("b", False, None)
    assert run.config().publish.allow_unmeasured, "run.json says what was asked"


def test_leave_to_publish_the_unmeasured_does_not_excuse_what_was_measured(tmp_path: Path) -> None:
    finished(tmp_path / "out", "a", score=0.1)
    done = invoke("publish", "--output", "out", *UNMEASURED, home=tmp_path)
    assert done.returncode == 78 and "popularity reaches 0.2000" in done.stderr


def test_a_method_to_beat_that_was_not_evaluated_is_named(tmp_path: Path) -> None:
    run = finished(tmp_path / "out", "a")
    change(run, lambda metrics: metrics["methods"].pop("popularity"), schema.EVALUATION_DIR, schema.METRICS_FILE)
    done = invoke("publish", "--output", "out", home=tmp_path)
    assert done.returncode == 78
    assert "popularity was not evaluated" in done.stderr and "--set evaluation.baselines=popularity" in done.stderr
    assert invoke("publish", "--output", "out", "--set", "publish.must_beat=", home=tmp_path).returncode == 0


def test_a_gate_that_no_run_could_pass_is_refused_before_anything_starts(tmp_path: Path) -> None:
    done = invoke("run", "--set", "evaluation.baselines=ease", "--output", "out", home=tmp_path)
    assert done.returncode == 2 and "publish.must_beat names popularity" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("method", "words"), [("blend", "ndcg@10 is nan"), ("popularity", "popularity reaches nan")])
def test_a_metric_that_is_no_number_is_refused(tmp_path: Path, method: str, words: str) -> None:
    run = finished(tmp_path / "out", "a")
    score(run, float("nan"), method)
    done = invoke("publish", "--output", "out", *UNMEASURED, home=tmp_path)
    assert done.returncode == 78 and words in done.stderr
    assert run.manifest()["status"] == "refused"
    assert not (tmp_path / "out" / "latest.json").exists()


def complete(run: Run) -> Run:
    """As if the earlier stages had run as well."""
    for stage, folder in (("features", schema.FEATURES_DIR), ("train", schema.MODEL_DIR)):
        storage.create_folder(run.path(folder))
        storage.mark_success(run.path(folder))
        run.record_stage(stage, {})
    return run


def content(output: Path) -> dict[str, bytes]:
    """Every file but locks."""
    return {str(path): path.read_bytes() for path in output.rglob("*") if path.is_file() and ".lock" not in path.name}


@pytest.mark.parametrize("stage", ["train", "evaluate", "recommend"])
def test_no_stage_of_a_run_that_is_or_was_published_is_redone(tmp_path: Path, stage: str) -> None:
    for run_id in "ab":
        complete(finished(tmp_path / "out", run_id))
        assert invoke("publish", "--output", "out", "--run-id", run_id, home=tmp_path).returncode == 0
    before = content(tmp_path / "out")
    for run_id in "ab":
        done = invoke(stage, "--redo", "--output", "out", "--run-id", run_id, home=tmp_path)
        assert done.returncode == 2
        assert f"run {run_id} is published or has been, and must not change" in done.stderr
        assert "start a new run instead: recsys run --output out" in done.stderr
    assert content(tmp_path / "out") == before
    assert roll_back(str(tmp_path / "out"), None)["run_id"] == "a"


def test_an_evaluation_that_a_published_run_has_lost_is_not_made_anew(tmp_path: Path) -> None:
    run = complete(finished(tmp_path / "out", "a"))
    publish(run.config().publish, run)
    deleted(run)
    done = invoke("evaluate", "--output", "out", home=tmp_path)
    assert done.returncode == 2 and "must not change: 'evaluate' would write it anew" in done.stderr


@pytest.mark.parametrize("why", ["gate", "nan"])
def test_a_published_run_that_is_refused_now_stays_published(tmp_path: Path, why: str) -> None:
    run = finished(tmp_path / "out", "a")
    assert invoke("publish", "--output", "out", home=tmp_path).returncode == 0
    if why == "nan":
        score(run, float("nan"))
    before = content(tmp_path / "out")
    done = invoke("publish", "--redo", "--set", "publish.min_ndcg=1", "--output", "out", home=tmp_path)
    assert done.returncode == 78
    assert content(tmp_path / "out") == before
    assert run.manifest()["status"] == "published"
    assert "already done" in invoke("publish", "--output", "out", home=tmp_path).stderr


def flip(content: bytes) -> bytes:
    """The same size and the same footer, but one byte of the data is another."""
    return content[:40] + bytes([content[40] ^ 1]) + content[41:]


def part(run: Run) -> Path:
    return Path(run.path(schema.RECOMMENDATIONS_DIR, "part-00000.parquet"))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped bit": (lambda part: part.write_bytes(flip(part.read_bytes())), "part-00000.parquet is damaged"),
    "cut off": (lambda part: part.write_bytes(part.read_bytes()[:-9]), "part-00000.parquet is damaged"),
    "gone": (lambda part: part.unlink(), "part-00000.parquet is missing"),
    "one more": (
        lambda part: part.with_name("part-00001.parquet").write_bytes(part.read_bytes()),
        "part-00001.parquet is not a file that this run has written",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_recommendations_are_neither_published_nor_returned_to(tmp_path: Path, name: str) -> None:
    damage, words = DAMAGE[name]
    for run_id in "ab":
        run = finished(tmp_path / "out", run_id)
        publish(run.config().publish, run)
    damage(part(Run(str(tmp_path / "out"), "a")))
    done = invoke("rollback", "--output", "out", home=tmp_path)
    assert done.returncode == 78 and words in done.stderr and "Name another one" in done.stderr
    run = finished(tmp_path / "out", "c")
    damage(part(run))
    done = invoke("publish", "--output", "out", "--run-id", "c", home=tmp_path)
    assert done.returncode == 78
    assert words in done.stderr and "recsys recommend --redo --output out --run-id c" in done.stderr
    assert latest(tmp_path / "out")["run_id"] == "b"


@pytest.mark.parametrize(("code", "kind"), [(errno.EACCES, ConfigError), (errno.ESTALE, RetryError)])
def test_recommendations_that_cannot_be_read_are_retried_only_if_that_may_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[RecsysError]
) -> None:
    run = finished(tmp_path / "out", "a")

    def fail(uri: str) -> None:
        raise OSError(code, os.strerror(code), uri)

    monkeypatch.setattr(storage, "checksum", fail)
    with pytest.raises(kind, match=rf"part-00000\.parquet cannot be read or written: {os.strerror(code)}"):
        publish(run.config().publish, run)


def test_damaged_recommendations_in_a_store_are_refused(store: Store) -> None:
    output = f"{store.bucket}/flipped"
    for run_id in "ab":
        run = finished(output, run_id)
        publish(run.config().publish, run)
    place = "flipped/runs/a/recommendations/part-00000.parquet"
    store.put(place, flip(store.get(place)))
    with pytest.raises(RefusedError, match=r"s3://.*/part-00000\.parquet is damaged"):
        roll_back(output, None)
    assert latest(output)["run_id"] == "b"


@pytest.mark.parametrize(
    ("ours", "high", "code"), [(0.4, -0.01, 78), (0.4, 0.01, 0), (0.46, -0.01, 0)], ids=["worse", "perhaps", "a little worse"]
)
def test_a_refresh_is_compared_with_the_run_before_on_the_same_events(
    tmp_path: Path, ours: float, high: float, code: int
) -> None:
    """Whatever that run had reached on the events of its own night."""
    finished(tmp_path / "out", "a", score=0.9)
    assert invoke("publish", "--output", "out", home=tmp_path).returncode == 0
    run = finished(tmp_path / "out", "b", score=ours)

    def beside(metrics: dict[str, Any]) -> None:
        metrics["methods"]["published"] = {"metrics": {"ndcg@10": 0.5}}
        interval = {"difference": ours - 0.5, "low": -0.2, "high": high, "significant": high < 0}
        metrics["comparison"]["minus"] = {"published": {"ndcg@10": interval}}
        metrics["protocol"]["since"] = 5

    change(run, beside, schema.EVALUATION_DIR, schema.METRICS_FILE)
    change(run, lambda manifest: manifest.update(warm_start={"run_id": "a"}))
    done = invoke("publish", "--output", "out", "--run-id", "b", home=tmp_path)
    assert done.returncode == code, done.stderr
    assert (latest(tmp_path / "out")["run_id"] == "b") == (code == 0)
    assert code == 0 or "the published run 0.5000 on the same events" in done.stderr


def test_nights_that_were_measured_on_other_events_are_not_compared(tmp_path: Path) -> None:
    """A full training after nights of their newest events, and such a night beside a run that it does not go on from."""

    def newest(metrics: dict[str, Any]) -> None:
        metrics["protocol"]["since"] = 5

    for name, score_, old in (("a", 0.9, newest), ("b", 0.5, None), ("c", 0.3, newest), ("d", 0.25, None)):
        run = finished(tmp_path / "out", name, score=score_)
        if old is not None:
            change(run, old, schema.EVALUATION_DIR, schema.METRICS_FILE)
        assert invoke("publish", "--output", "out", "--run-id", name, home=tmp_path).returncode == 0
        assert latest(tmp_path / "out")["split"] == ("global-time of the newest events" if old else "global-time")
