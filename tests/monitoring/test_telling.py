"""What other tools are told at the end of `recsys run`: the real clients of each read it."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import inspect
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from openlineage.client import event_v2, facet_v2
from openlineage.client.serde import Serde
from prometheus_client.parser import text_string_to_metric_families

from recsys import storage
from recsys.config import Config, Monitoring
from recsys.errors import EXIT_DEFECT, EXIT_REFUSED, ConfigError, RefusedError
from recsys.progress import Progress, silent
from recsys.run import runs, stages, telling
from recsys.run.ending import Group, Stop
from recsys.run.job import execute
from recsys.run.stages import Job
from recsys.sources.download import download

PARENT = "11111111-2222-3333-4444-555555555555"
SCORES = {"ndcg@10": 0.25, "coverage": 0.5}
INPUTS = [{"table": "interactions", "path": f"s3://shop/events/{day}/part.parquet", "bytes": 10} for day in ("mon", "tue")]


def job(tmp_path: Path, run_id: str = "r", **monitoring: Any) -> Job:
    """A run whose stages have all finished but the last."""
    asked = Config(output=str(tmp_path / "out"), monitoring=Monitoring(name="shop", **monitoring))
    run = runs.create(asked, run_id)
    facts = {"seconds": 2.5, "peak_bytes": 1000}
    run.record_stage("features", {**facts, "users": 3, "items": 4, "events": 5})
    written = [{"file": "part-00000.parquet", "bytes": 77, "sha256": "0"}]
    run.record_stage("recommend", {**facts, "rows": 12, "files": 1, "written": written})
    rejected = {"interactions": {"missing_id": 6}}
    found = {"published_method": "blend", "metrics": {"blend": SCORES, "cnn": {"ndcg@10": 0.1}}}
    run.update({"inputs": INPUTS, "rejected": rejected, **found})
    evaluation = Path(run.path("evaluation"))
    evaluation.mkdir()
    (evaluation / "metrics.json").write_text("{}")
    return Job(asked, run, Progress(), Stop())


def tell(work: Job, failure: BaseException | None = None, **given: Any) -> None:
    """As the whole job does."""
    try:
        with telling.told(work, **{"environment": {}, "xcom_folder": "/nowhere", **given}):
            if failure is not None:
                raise failure
    except BaseException as error:
        assert error is failure


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Values by name and labels, those in the order of their names, but for the job's."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.labels.pop("name") == "shop"
            found[(sample.name, *sample.labels.values())] = sample.value
    return found


def test_prometheus_reads_the_figures_and_the_last_success_survives_a_failure(tmp_path: Path) -> None:
    file = tmp_path / "recsys.prom"
    tell(job(tmp_path, textfile=str(file)))
    good = samples(file.read_text())
    assert good[("recsys_last_run_exit_code",)] == 0
    assert abs(good["recsys_last_success_timestamp_seconds",] - time.time()) < 60
    assert good[("recsys_stage_duration_seconds", "features")] == 2.5
    assert good[("recsys_stage_peak_bytes", "recommend")] == 1000
    assert (good[("recsys_users",)], good[("recsys_items",)], good[("recsys_events",)]) == (3, 4, 5)
    assert good[("recsys_rejected_rows", "missing_id", "interactions")] == 6
    assert good[("recsys_score", "ndcg@10")] == 0.25
    tell(job(tmp_path, "s", textfile=str(file)), RefusedError("too bad"))
    bad = samples(file.read_text())
    assert bad[("recsys_last_run_exit_code",)] == EXIT_REFUSED
    assert bad["recsys_last_success_timestamp_seconds",] == good["recsys_last_success_timestamp_seconds",]
    assert bad["recsys_last_run_timestamp_seconds",] >= good["recsys_last_run_timestamp_seconds",]
    assert [path.name for path in tmp_path.glob("*.prom*")] == ["recsys.prom"]


def test_a_first_run_that_fails_has_a_duration_and_no_success(tmp_path: Path) -> None:
    file = tmp_path / "recsys.prom"
    tell(job(tmp_path, textfile=str(file)), ValueError("a bug"))
    found = samples(file.read_text())
    assert found[("recsys_last_run_exit_code",)] == EXIT_DEFECT and found[("recsys_run_duration_seconds",)] >= 0
    assert ("recsys_last_success_timestamp_seconds",) not in found


@pytest.fixture
def gateway() -> Iterator[tuple[str, list[Any]]]:
    """The address of a server that takes pushes, and what it was sent."""
    with serving(lambda: None) as found:
        yield found


@contextlib.contextmanager
def serving(pushed: Callable[[], None]) -> Iterator[tuple[str, list[Any]]]:
    """Such a server, which calls `pushed` before it answers."""
    sent: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            sent.append((self.path, self.headers.get("Authorization"), body))
            pushed()
            self.send_response(202)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}", sent
        server.shutdown()


def test_a_gateway_is_sent_the_figures_and_keeps_the_last_success(tmp_path: Path, gateway: tuple[str, list[Any]]) -> None:
    """POST replaces only what is named."""
    address, sent = gateway
    work = job(tmp_path, pushgateway=f"http://me:pass%20word@{address}")
    tell(work)
    tell(job(tmp_path, "s", pushgateway=f"http://{address}"), RefusedError("too bad"))
    (path, authorised, good), (_, anonymous, bad) = sent
    assert path == "/metrics/job/shop" and authorised == "Basic bWU6cGFzcyB3b3Jk" and anonymous is None
    assert ("recsys_last_success_timestamp_seconds",) in samples(good)
    assert ("recsys_last_success_timestamp_seconds",) not in samples(bad)
    assert "pass" not in Path(work.run.path("run.json")).read_text()


@pytest.mark.parametrize("failure", [None, RefusedError("too bad")])
def test_sigterm_while_tools_are_told_does_not_change_how_the_command_ends(
    tmp_path: Path, stop: Stop, failure: RefusedError | None
) -> None:
    """With 143 it would be started again, although its run is finished, and would train a new one."""

    @click.command()
    def work() -> None:
        with telling.told(asked, {}, str(tmp_path)):
            if failure is not None:
                raise failure

    with serving(lambda: os.kill(os.getpid(), signal.SIGTERM)) as (address, sent):
        asked = dataclasses.replace(job(tmp_path, pushgateway=f"http://{address}"), stop=stop)
        done = CliRunner().invoke(Group(commands={"work": work}), ["work"])
    code = EXIT_REFUSED if failure else 0
    assert (done.exit_code, len(sent)) == (code, 1), done.stderr
    assert json.loads((tmp_path / "return.json").read_text())["exit_code"] == code, "who comes after the gateway is told too"


def test_sigterm_after_the_run_was_recorded_as_finished_comes_too_late(
    tmp_path: Path, stop: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = dataclasses.replace(job(tmp_path), stop=stop)
    record = runs.Run.record_stage

    def recorded(*given: Any) -> None:
        record(*given)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(runs.Run, "record_stage", recorded)
    monkeypatch.setitem(stages.RUNNERS, "publish", lambda job: {})  # type: ignore[misc]
    (tmp_path / "out" / "runs" / "r" / "recommendations").mkdir()
    storage.mark_success(asked.run.path("recommendations"))
    execute(asked, ("publish",))
    assert "publish" in asked.run.manifest()["stages"]


def test_no_tool_is_told_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as of a mirror, which the messages of a download name."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    work, place = job(tmp_path, textfile=str(tmp_path / "recsys.prom")), (tmp_path / "mlruns").as_uri()
    with pytest.raises(ConfigError, match="hunter2") as caught:
        download("ftp://me:hunter2@mirror.example/ml-100k.zip", str(tmp_path / "ml-100k.zip"), "0" * 32, silent)
    tell(work, caught.value, environment={"MLFLOW_TRACKING_URI": place}, xcom_folder=str(tmp_path))
    client = MlflowClient(tracking_uri=place)
    (run,) = client.search_runs([client.get_experiment_by_name("shop").experiment_id])
    assert run.data.tags["recsys.reason"].startswith("ftp://***@mirror.example/ml-100k.zip cannot be downloaded")
    _, failed = json.loads(Path(work.run.path("lineage.json")).read_text())
    assert "ftp://***@mirror.example" in failed["run"]["facets"]["errorMessage"]["message"]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"return.json", "lineage.json", "recsys.prom"} <= {path.name for path in files}
    assert not [path for path in files if b"hunter2" in path.read_bytes()]


@pytest.mark.parametrize(
    ("paths", "name"),
    [
        (["/monday/a.csv", "/tuesday/a.csv"], "/"),
        (["/data/monday/a.csv", "/data/tuesday/a.csv"], "/data"),
        (["monday/a.csv", "tuesday/a.csv"], str(Path.cwd())),
    ],
)
def test_files_of_one_table_are_told_of_as_their_folder(tmp_path: Path, paths: list[str], name: str) -> None:
    work = job(tmp_path)
    work.run.update({"inputs": [{"table": "interactions", "path": path, "bytes": 10} for path in paths]})
    tell(work)
    (read,) = json.loads(Path(work.run.path("lineage.json")).read_text())[-1]["inputs"]
    assert (read["namespace"], read["name"]) == ("file", name)


def test_lineage_is_what_openlineage_expects(tmp_path: Path) -> None:
    parent = {"OPENLINEAGE_PARENT_ID": f"airflow/dag.task/{PARENT}", "OPENLINEAGE_NAMESPACE": "night"}
    work = job(tmp_path)
    tell(work, RefusedError("too bad, password=hunter2"), environment=parent)
    tell(work)
    events = json.loads(Path(work.run.path("lineage.json")).read_text())
    assert [event["eventType"] for event in events] == ["START", "FAIL", "START", "COMPLETE"]
    for event in events:
        _check(event)
    first, failed, again, complete = events
    assert first["run"]["runId"] == failed["run"]["runId"] != again["run"]["runId"] == complete["run"]["runId"]
    assert first["job"]["namespace"] == "night" and again["job"]["namespace"] == "default"
    assert first["run"]["facets"]["parent"]["run"] == {"runId": PARENT}
    assert first["run"]["facets"]["parent"]["job"] == {"namespace": "airflow", "name": "dag.task"}
    assert failed["run"]["facets"]["errorMessage"]["message"] == "too bad, password=***" and failed["outputs"] == []
    (read,) = complete["inputs"]
    assert (read["namespace"], read["name"]) == ("s3://shop", "events")
    assert read["inputFacets"]["inputStatistics"]["fileCount"] == 2
    (written,) = complete["outputs"]
    assert written["name"] == work.run.path("recommendations")
    assert written["outputFacets"]["outputStatistics"]["rowCount"] == 12


def _check(event: dict[str, Any]) -> None:
    """The classes of the official client take all of it, and each facet is the one whose schema it names."""
    run, job, inputs, outputs = (event[key] for key in ("run", "job", "inputs", "outputs"))
    asked = {
        "run": event_v2.Run(run["runId"], _facets(run["facets"])),
        "job": event_v2.Job(job["namespace"], job["name"], _facets(job["facets"])),
        "inputs": [event_v2.InputDataset(**{**one, "inputFacets": _facets(one["inputFacets"])}) for one in inputs],
        "outputs": [event_v2.OutputDataset(**{**one, "outputFacets": _facets(one["outputFacets"])}) for one in outputs],
    }
    others = {
        "eventType": event_v2.RunState[event["eventType"]],
        "eventTime": event["eventTime"],
        "producer": event["producer"],
    }
    understood = Serde.to_dict(event_v2.RunEvent(**asked, **others))
    assert understood.keys() == event.keys() and understood["schemaURL"] == event["schemaURL"]
    assert understood["run"]["runId"] == run["runId"] and len(understood["outputs"]) == len(outputs)


def _facets(given: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """As objects of the client; one that lacks a field, or has one too many, is a TypeError."""
    modules = [module for module in vars(facet_v2).values() if inspect.ismodule(module)]
    kinds = [kind for module in modules for kind in vars(module).values() if hasattr(kind, "_get_schema")]
    found = {}
    for name, facet in given.items():
        (kind,) = {kind for kind in kinds if kind._get_schema() == facet["_schemaURL"]}
        found[name] = kind(**{key: value for key, value in facet.items() if not key.startswith("_")})
    return found


def test_airflow_is_told_where_its_folder_is(tmp_path: Path) -> None:
    work = job(tmp_path)
    tell(work, xcom_folder=str(tmp_path))
    found = json.loads((tmp_path / "return.json").read_text())
    assert (found["run_id"], found["exit_code"], found["users"], found["metrics"]) == ("r", 0, 3, SCORES)
    assert found["recommendations"] == work.run.path("recommendations")


def test_mlflow_has_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    place = (tmp_path / "mlruns").as_uri()
    tell(job(tmp_path), environment={"MLFLOW_TRACKING_URI": place})
    tell(job(tmp_path, "s"), RefusedError("too bad"), environment={"MLFLOW_TRACKING_URI": place})
    client = MlflowClient(tracking_uri=place)
    experiment = client.get_experiment_by_name("shop")
    bad, good = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])
    assert (good.info.run_name, good.info.status, bad.info.status) == ("r", "FINISHED", "FAILED")
    assert good.data.metrics["ndcg_at_10"] == 0.25 and good.data.metrics["features.seconds"] == 2.5
    assert good.data.params["training.learning_rate"] == "0.002"
    assert bad.data.tags["recsys.reason"] == "too bad" and bad.data.tags["recsys.exit_code"] == str(EXIT_REFUSED)
    assert [one.path for one in client.list_artifacts(good.info.run_id)] == ["metrics.json"], "there was no report"


def test_what_cannot_be_told_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = job(tmp_path, textfile=str(tmp_path / "missing" / "recsys.prom"), pushgateway="http://127.0.0.1:1")
    Path(work.run.path("lineage.json")).write_text("damaged")
    tell(work, environment={"MLFLOW_TRACKING_URI": "gopher://nowhere"}, xcom_folder=str(tmp_path))
    said = capsys.readouterr().err
    for whom in ("the lineage", "Prometheus", "the Pushgateway", "MLflow"):
        assert f"warning: the run could not be told to {whom}: " in said, said
    assert (tmp_path / "return.json").exists()


def test_a_run_that_was_published_before_gets_no_lineage(tmp_path: Path) -> None:
    work = job(tmp_path)
    work.run.update({"status": runs.PUBLISHED})
    tell(work)
    assert not Path(work.run.path("lineage.json")).exists()
