"""What keeps Spark from starting is found first, with a remedy."""

from __future__ import annotations

import os
import pwd
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from recsys.config import Config, Spark
from recsys.errors import MissingComponentError
from recsys.run import doctor
from recsys.spark import child, java, session

NOBODY = 4_242_424


def test_this_machine_is_fit_for_spark(tmp_path: Path) -> None:
    assert session.obstacles(str(tmp_path)) == []


def test_a_scratch_folder_that_nothing_can_be_run_from_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag=os.ST_NOSUID | os.ST_NOEXEC))
    (said,) = session.obstacles(str(tmp_path))
    assert said.startswith(f"{tmp_path} is mounted noexec") and "--tmpfs /tmp:exec" in said and "TMPDIR" in said


def test_a_user_without_a_name_is_told_before_spark_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        pwd.getpwuid(NOBODY)
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with (
        pytest.raises(MissingComponentError, match=rf"user {NOBODY} has no name .*/etc/passwd"),
        session.spark_session(Config(), "test"),
    ):
        pass
    spark = doctor._spark(Config())
    assert not spark["ok"] and str(NOBODY) in spark["problem"]


@pytest.mark.slow
@pytest.mark.parametrize("sql", [True, False])
def test_spark_starts_again_if_its_jvm_is_ended_before_it_is_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sql: bool
) -> None:
    home = java.home_for_spark(java.find(), str(tmp_path))
    program, first = tmp_path / "jdk" / "bin" / "java", tmp_path / "started"
    program.parent.mkdir(parents=True)
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *SparkSubmit*pyspark-shell*) [ -e {first} ] || {{ touch {first}; kill -TERM $$; }} ;; esac\n'
        f'exec {home}/bin/java "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(program.parent.parent))
    assert child.call("tests.spark.targets:count", {"sql": sql}, print).result == 3
    assert first.exists()


@pytest.mark.slow
def test_spark_starts_again_if_its_jvm_is_ended_when_half_of_it_is_up() -> None:
    child.call("tests.spark.targets:lose_jvm_between_context_and_session", {}, print)


@pytest.mark.slow
@pytest.mark.parametrize(("length", "sockets"), [(60, True), (61, False), (70, False)])
def test_workers_talk_over_unix_sockets_if_spark_takes_the_path_and_over_tcp_if_not(length: int, sockets: bool) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        folder = os.path.join(short, "x" * (length - len(short) - 1))
        os.mkdir(folder)
        found = child.call("tests.spark.targets:talk", {"folder": folder}, print).result
        assert found == {"counted": 3, "sockets": sockets}
        assert os.listdir(folder) == []


def test_on_a_cluster_workers_talk_over_tcp(tmp_path: Path) -> None:
    found = session.options(Config(spark=Spark(master="spark://host:7077")), str(tmp_path))
    assert "spark.python.unix.domain.socket.enabled" not in found


@pytest.mark.parametrize(
    ("master", "conf", "size", "partitions"),
    [
        ("local[2]", {}, 1 << 20, "2"),
        ("local[2]", {}, 10 << 30, "320"),
        ("k8s://https://host", {"spark.executor.instances": "3", "spark.executor.cores": "4"}, 1 << 20, "12"),
        ("k8s://https://host", {"spark.executor.instances": "3"}, 10 << 30, "320"),
        ("spark://host:7077", {}, 1 << 20, "1"),
        ("k8s://https://host", {"spark.sql.shuffle.partitions": "7"}, 10 << 30, "7"),
    ],
)
def test_there_are_as_many_shuffle_partitions_as_the_data_need_on_a_cluster_too(
    tmp_path: Path, master: str, conf: dict[str, str], size: int, partitions: str
) -> None:
    config = Config(spark=Spark(master=master, conf=conf))
    assert session.options(config, str(tmp_path), size)["spark.sql.shuffle.partitions"] == partitions
