"""Spark on Kubernetes: what the driver asks the API server for, and what its executors run."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from recsys.config import Config, Spark
from recsys.errors import ConfigError
from recsys.spark import executor, java, session

GIVEN = {
    "SPARK_DRIVER_URL": "spark://CoarseGrainedScheduler@127.0.0.1:1",
    "SPARK_EXECUTOR_ID": "7",
    "SPARK_EXECUTOR_CORES": "1",
    "SPARK_EXECUTOR_MEMORY": "256m",
    "SPARK_APPLICATION_ID": "spark-1",
    "SPARK_EXECUTOR_POD_IP": "127.0.0.1",
    "SPARK_EXECUTOR_POD_NAME": "pod-7",
    "SPARK_RESOURCE_PROFILE_ID": "0",
}
"""As set by Spark's BasicExecutorFeatureStep."""


def test_the_options_come_in_their_order() -> None:
    environment = {**GIVEN, "SPARK_JAVA_OPT_10": "-Dlast=1", "SPARK_JAVA_OPT_2": "-Dsecond=a b", "SPARK_CLASSPATH": "more.jar"}
    words = executor.command(environment, "/java", "/jars")
    assert words[:7] == ["/java/bin/java", "-Dsecond=a b", "-Dlast=1", "-Xms256m", "-Xmx256m", "-cp", "more.jar:/jars/*"]
    assert words[7] == executor.MAIN
    assert dict(zip(words[8::2], words[9::2], strict=True)) == {
        "--driver-url": GIVEN["SPARK_DRIVER_URL"],
        "--executor-id": "7",
        "--cores": "1",
        "--app-id": "spark-1",
        "--hostname": "127.0.0.1",
        "--resourceProfileId": "0",
        "--podName": "pod-7",
    }


def test_what_spark_has_not_set_is_named() -> None:
    with pytest.raises(ConfigError, match="SPARK_DRIVER_URL, SPARK_EXECUTOR_MEMORY: not set"):
        executor.command(
            {k: v for k, v in GIVEN.items() if k not in ("SPARK_DRIVER_URL", "SPARK_EXECUTOR_MEMORY")}, "/java", "/j"
        )


def test_sparks_own_executor_starts_and_looks_for_its_driver(tmp_path: Path) -> None:
    """Against a port where nothing listens: further it cannot get without a cluster."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    home = java.home_for_spark(java.find(), str(tmp_path))
    options = ["-XX:+IgnoreUnrecognizedVMOptions", "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED"]
    done = subprocess.run(
        [sys.executable, "-m", "recsys.spark.executor", "executor"],
        env={
            **GIVEN,
            "SPARK_DRIVER_URL": f"spark://CoarseGrainedScheduler@127.0.0.1:{port}",
            **{f"SPARK_JAVA_OPT_{number}": option for number, option in enumerate(options)},
            "JAVA_HOME": home,
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "TMPDIR": str(tmp_path),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode != 0
    assert f"Failed to connect to /127.0.0.1:{port}" in done.stderr + done.stdout


def test_spark_on_kubernetes_needs_rights_to_pods_alone(tmp_path: Path) -> None:
    found = session.options(Config(spark=Spark(master="k8s://https://kubernetes.default.svc")), str(tmp_path))
    assert found["spark.kubernetes.executor.disableConfigMap"] == "true"
    assert found["spark.kubernetes.driver.pod.name"] == socket.gethostname()
    assert "spark.driver.host" not in found and "spark.driver.bindAddress" not in found
    assert not any("kubernetes" in name for name in session.options(Config(), str(tmp_path)))
