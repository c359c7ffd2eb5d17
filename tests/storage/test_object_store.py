"""Events and output in an object store: an S3 server (moto) on this machine, from the events to latest.json."""

from __future__ import annotations

import csv
import gzip
import io
import json
import signal
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys import cli, storage
from recsys.errors import ConfigError
from tests import contract
from tests.command import ONLY_POPULARITY, SMALL, SPARK, Command, command, environment, invoke, succeed
from tests.store import BUCKET, SECRET, Store

ITEMS = [f"i{item:02d}" for item in range(40)]
SHOP = """\
[source]
dataset = "tabular"
[source.interactions]
path = "{bucket}/shop/events/*.csv*"
user_id = "user"
item_id = "item"
timestamp = "time"
[source.items]
path = "{bucket}/shop/products.parquet"
item_id = "item"
title = "name"
"""


def put_shop(store: Store) -> dict[str, set[str]]:
    """Writes events in two files and the items; returns what each user had."""
    had = defaultdict(set)
    files = {"a.csv": io.StringIO(), "b.csv.gz": io.StringIO()}
    for number, text in enumerate(files.values()):
        rows = csv.writer(text)
        rows.writerow(("user", "item", "time"))
        for user in range(number, 30, 2):
            for place in range(8 + user % 4):
                item = ITEMS[(3 * user + place * (1 + user % 3)) % len(ITEMS)]
                rows.writerow((f"u{user:02d}", item, 1_600_000_000 + 86_400 * place + user))
                had[f"u{user:02d}"].add(item)
    files["a.csv"].write("u01,i01\nu01,i01,yesterday\n")
    store.put("shop/events/a.csv", files["a.csv"].getvalue())
    store.put("shop/events/b.csv.gz", gzip.compress(files["b.csv.gz"].getvalue().encode()))
    products = io.BytesIO()
    pq.write_table(pa.table({"item": ITEMS, "name": pa.array([f"The {item}" for item in ITEMS]).dictionary_encode()}), products)
    store.put("shop/products.parquet", products.getvalue())
    return had


class Job:
    """A run that was killed in training and resumed by the same command."""

    def __init__(self, store: Store, home: Path, with_spark: Command) -> None:
        self.had = put_shop(store)
        self.home, self.output = home, f"{store.bucket}/recs"
        (home / "shop.toml").write_text(SHOP.format(bucket=store.bucket))
        asked = ("--config", "shop.toml", "--output", self.output, *SMALL, *SPARK, *ONLY_POPULARITY, "--epochs", "2")
        words = ("run", *asked)
        begun = succeed("features", *asked, home=home, run=with_spark).stderr  # where a JVM is running already
        self.killed = self._kill(words, "fit epoch 1/2")
        self.left = store.names("recs")
        self.resumed = succeed(*words, home=home).stderr
        self.said = begun + self.killed + self.resumed
        self.copy = store.download("recs", home / "copy")

    def _kill(self, words: tuple[str, ...], line: str) -> str:
        process = subprocess.Popen(
            command(*words),
            env=environment(self.home),
            cwd=self.home,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        said = ""
        assert process.stderr is not None
        for found in process.stderr:
            said += found
            if line in found:
                break
        process.kill()
        process.communicate()
        assert line in said and process.returncode == -signal.SIGKILL, said
        return said


@pytest.fixture(scope="module")
def job(store: Store, tmp_path_factory: pytest.TempPathFactory, with_spark: Command) -> Job:
    return Job(store, tmp_path_factory.mktemp("shop"), with_spark)


@pytest.mark.slow
def test_from_events_to_latest_json_in_the_store(job: Job) -> None:
    latest = contract.check_output(job.copy, job.had, job.had, ITEMS, 10)
    manifest = json.loads((job.copy / latest["run"]).read_text())
    assert manifest["rejected"] == {"interactions": {"malformed_row": 1, "bad_timestamp": 1}}
    assert [entry["path"].rsplit("/", 1)[1] for entry in manifest["inputs"]] == ["a.csv", "b.csv.gz", "products.parquet"]
    assert all(entry["bytes"] and entry["modified"] for entry in manifest["inputs"])
    rejected = pq.read_table((job.copy / latest["run"]).parent / "features" / "rejected").to_pylist()
    assert {(row["file"], row["row"]) for row in rejected} == {
        (f"s3://{BUCKET}/shop/events/a.csv", row) for row in ("u01,i01", "u01,i01,yesterday")
    }


@pytest.mark.slow
def test_a_killed_run_publishes_nothing_and_is_resumed(job: Job) -> None:
    assert "latest.json" not in job.left
    assert not any(name.endswith(("model/_SUCCESS", "model.keras")) for name in job.left)
    assert "features: already done" in job.resumed and "published:" in job.resumed
    assert len(list((job.copy / "runs").iterdir())) == 1
    assert not list(job.copy.rglob(".lock"))


@pytest.mark.slow
def test_no_secret_is_written_or_said(job: Job) -> None:
    assert SECRET not in job.said
    for path in job.copy.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path


@pytest.mark.slow
def test_a_store_that_refuses_every_tenth_request_is_asked_again(store: Store, tmp_path: Path, with_spark: Command) -> None:
    had, output = put_shop(store), f"{store.bucket}/overloaded"
    (tmp_path / "shop.toml").write_text(SHOP.format(bucket=store.bucket))
    asked = ("--config", "shop.toml", "--output", output, *SMALL, *SPARK, *ONLY_POPULARITY, "--epochs", "2")
    with store.refusing(every=10) as refused:
        succeed("features", *asked, home=tmp_path, run=with_spark)
        succeed("run", *asked, home=tmp_path)
    assert len(refused) > 20 and {"GET", "PUT", "HEAD"} <= {one.split()[0] for one in refused}
    contract.check_output(store.download("overloaded", tmp_path / "copy"), had, had, ITEMS, 10)


@pytest.mark.slow
def test_other_commands_read_the_output_there(job: Job) -> None:
    shown = succeed("show", "--output", job.output, "--user", "u03", home=job.home, run=invoke).stdout
    assert "The i" in shown and shown.count("(i") == 10 + 10
    assert "publish: already done" in succeed("publish", "--output", job.output, home=job.home, run=invoke).stderr
    assert invoke("rollback", "--output", job.output, home=job.home).returncode == 2


def ends(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[Any, str]:
    """Exit code and last words of a command."""
    with pytest.raises(SystemExit) as ended:
        cli.main([*words])
    return ended.value.code, capsys.readouterr().err


def test_a_bucket_that_is_not_there_is_a_matter_of_configuration(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = ends(capsys, "features", "--output", "s3://no-such-bucket/out")
    assert code == 2 and "NO_SUCH_BUCKET" in said and "no-such-bucket" in said and "check bucket, credentials" in said


def test_refused_credentials_are_a_matter_of_configuration(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with store.asking_for_rights():
        code, said = ends(capsys, "features", "--output", f"{store.bucket}/out")
    assert code == 2 and "refused" in said and SECRET not in said


@pytest.mark.slow
def test_a_store_out_of_reach_may_come_back(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    code, said = ends(capsys, "features", "--output", "s3://out-of-reach/out")
    assert code == 75 and "NETWORK_CONNECTION" in said


@pytest.mark.parametrize(
    "uri", [f"s3://key:{SECRET}@bucket/out", f"s3://key:/{SECRET}@bucket/out", f"s3://bucket/out?secret_key={SECRET}"]
)
def test_a_secret_in_a_uri_is_refused_and_not_repeated(uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shop.toml").write_text(SHOP.format(bucket=uri))
    for words in (("--output", uri), ("--config", str(tmp_path / "shop.toml"), "--output", str(tmp_path / "out"))):
        code, said = ends(capsys, "features", *words)
        assert code == 2 and "docs/object-stores.md" in said and SECRET not in said
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError):
        storage.resolve(uri)
