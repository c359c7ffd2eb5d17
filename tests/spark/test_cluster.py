"""Features on a standalone Spark cluster: a master and two workers, each a JVM, as in production except for the network."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pyspark
import pytest

from recsys import config
from recsys.contract.features_info import read_info
from recsys.spark import child, java
from tests.building import Built, load, request
from tests.features.test_pipeline import content, make_data, tables

JARS = os.path.join(os.path.dirname(pyspark.__file__), "jars", "*")
DEPLOY = "org.apache.spark.deploy."
QUIET = {
    "spark.executor.memory": "512m",
    "spark.executor.extraJavaOptions": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",  # short-lived, on few cores
    "spark.sql.shuffle.partitions": "2",
    "spark.cores.max": "2",
}
START_SECONDS = 180.0


def wait_for(log: IO[bytes], pattern: str, count: int = 1) -> str:
    """Reads the log of a process until `count` matches are found; returns the group of the last."""
    end = time.monotonic() + START_SECONDS
    while len(found := re.findall(pattern, Path(log.name).read_text(errors="replace"))) < count:
        assert time.monotonic() < end, Path(log.name).read_text(errors="replace")
        time.sleep(0.1)
    return str(found[-1])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Master URL of a cluster with two workers of one core each, and the master's log."""
    home = tmp_path_factory.mktemp("cluster")
    runtime = java.home_for_spark(java.find(), str(home))
    changes = {"JAVA_HOME": runtime, "SPARK_HOME": os.path.dirname(os.path.dirname(JARS)), "SPARK_SCALA_VERSION": "2.13"}
    with contextlib.ExitStack() as stack:

        def start(name: str, main: str, *words: str) -> IO[bytes]:
            log = stack.enter_context(open(home / f"{name}.log", "wb"))
            spark = [os.path.join(runtime, "bin", "java"), "-cp", JARS, "-Xmx256m", "-XX:+UseSerialGC", DEPLOY + main, *words]
            started = subprocess.Popen(spark, env={**os.environ, **changes}, cwd=home, stdout=log, stderr=log)
            stack.callback(started.wait)
            stack.callback(started.kill)
            return log

        master = start("master", "master.Master", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0")
        url = wait_for(master, r"Starting Spark master at (spark://127\.0\.0\.1:\d+)")
        for name in ("one", "two"):
            place = ("--host", "127.0.0.1", "--webui-port", "0", "--work-dir", str(home / name))
            start(name, "worker.Worker", *place, "--cores", "1", "--memory", "512m", url)
        wait_for(master, r"Registering worker ([^ ]+) with 1 cores", 2)
        yield url, Path(master.name)


@pytest.mark.slow
def test_two_workers_write_the_same_as_one_machine(
    cluster: tuple[str, Path],
    build: Callable[..., Built],
    csv: Callable[..., config.Table],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, log = cluster
    given = tables(csv, make_data(7))
    alone = build(given)
    monkeypatch.setenv("SPARK_LOCAL_HOSTNAME", "127.0.0.1")  # the name by which executors reach the driver
    options = config.Config(spark=config.Spark(master=url, conf=QUIET, memory="1g"))
    folder = str(tmp_path / "together")
    said: list[str] = []
    result = child.call("recsys.features.pipeline:run", request(options, given, folder), said.append).result
    assert json.loads((Path(folder) / "features.json").read_text()) == result
    together = load(folder, read_info(folder), said)
    assert len(re.findall(r"Launching executor app-\d+-0000/\d+ on worker", log.read_text())) == 2
    assert content(together) == content(alone)
    assert together.reasons() == alone.reasons()
    assert together.users.schema.equals(alone.users.schema) and together.items.schema.equals(alone.items.schema)
