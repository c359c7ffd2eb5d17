"""What users are told when Spark fails: the cause, what to do, and whether a retry can help."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from recsys.errors import ConfigError, MissingComponentError, RecsysError, RetryError
from recsys.spark import child, failures, session

HERE = "tests.spark.targets:"
JAVA = """An error occurred while calling o1729.parquet.
: org.apache.spark.SparkException: Job aborted due to stage failure: Task 1 in stage 0.0 failed 1 times
\tat org.apache.spark.scheduler.DAGScheduler.abortStage(DAGScheduler.scala:4568)

Driver stacktrace:
\tat org.apache.spark.scheduler.DAGScheduler.abortStage(DAGScheduler.scala:4568)
Caused by: java.lang.RuntimeException: Task failed while writing rows
\tat org.apache.spark.sql.execution.datasources.FileFormatWriter.executeTask(FileFormatWriter.scala:439)
\t... 23 more
Caused by: {cause}
\tat java.base/java.lang.ProcessBuilder.start(ProcessBuilder.java:1143)
\t... 28 more
"""
"""How Spark tells of a failure, shortened."""


@pytest.mark.slow
def test_a_killed_jvm_is_told_in_the_same_words_as_a_killed_child() -> None:
    said = []
    for target, arguments in (("lose_jvm", {}), ("die", {"signal": int(signal.SIGKILL)})):
        with pytest.raises(RetryError) as caught:
            child.call(HERE + target, arguments, print)
        said.append(str(caught.value))
    assert said[0].startswith("Spark's JVM was killed")
    assert said[0].partition(" was killed")[2] == said[1].partition(" was killed")[2]
    assert "out of memory" in said[0] and "raise the memory limit" in said[0] and "lower spark.memory" in said[0]


@pytest.mark.slow
@pytest.mark.parametrize("target", ["end_jvm_at_work", "lose_words"])
def test_a_jvm_that_is_ended_at_work_is_worth_a_retry(target: str) -> None:
    with pytest.raises(RetryError, match=r"Spark's JVM was ended by a signal"):
        child.call(HERE + target, {}, print)


@pytest.mark.slow
def test_what_pyspark_stumbles_over_when_its_jvm_is_ended_is_no_defect() -> None:
    with pytest.raises(RetryError, match=r"Spark's JVM was ended by a signal"):
        child.call(HERE + "stumble", {}, print)


def test_what_pyspark_stumbles_over_while_its_jvm_lives_is_one(spark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "ENDING_SECONDS", 0.1)
    monkeypatch.setattr(type(spark.sparkContext), "_jvm", None)
    with pytest.raises(AssertionError), failures.translated("features"):
        spark.sparkContext.range(3).count()


def failing(spark: Any, folder: str) -> RecsysError | RuntimeError:
    with pytest.raises((RecsysError, RuntimeError)) as caught, failures.translated("features"):
        spark.range(3).write.parquet(folder)
    return caught.value


def test_the_cause_of_a_failure_in_spark_stands_in_the_message(spark: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = str(failing(spark, f"{tmp_path}/file/out"))
    assert said == (
        "features: Spark failed: org.apache.hadoop.fs.ParentNotDirectoryException: "
        f"Parent path is not a directory: file:{tmp_path}/file"
    )


def test_a_folder_that_spark_cannot_create_has_its_reason(spark: Any) -> None:
    error = failing(spark, "/proc/nothing/out")
    assert isinstance(error, ConfigError)
    assert "folder /proc/nothing/out/" in str(error) and "cannot be created: No such file or directory" in str(error)


@pytest.mark.parametrize(
    ("cause", "kind", "words"),
    [
        ("java.io.IOException: Disk quota exceeded", RetryError, "a disk is full"),
        ("java.io.IOException: No space left on device", RetryError, "a disk is full"),
        ("java.io.FileNotFoundException: /out/part-0.parquet (Permission denied)", ConfigError, "(Permission denied)"),
        (
            'java.io.IOException: Cannot run program "chmod": error=2, No such file or directory',
            MissingComponentError,
            "the program chmod, which is not on PATH",
        ),
        ("java.lang.OutOfMemoryError: Java heap space", ConfigError, "set spark.memory"),
    ],
)
def test_known_causes(cause: str, kind: type[RecsysError], words: str) -> None:
    """Faults that need a quota, a full disk or a small heap; the tests in test_full_disk.py fill a disk."""
    found = failures.explain(JAVA.format(cause=cause), "features")
    assert type(found) is kind and words in str(found)
    assert "o1729" not in str(found) and "\n" not in str(found)


def test_a_long_message_keeps_its_end() -> None:
    said = failures.cause(JAVA.format(cause="java.io.IOException: " + "long " * 500 + "the disk is on fire"))
    assert len(said) < 620 and said.endswith("the disk is on fire") and said.startswith("java.io.IOException: long")


def test_programs_that_spark_needs_are_missed_before_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    bash, chmod = session.obstacles(str(tmp_path))
    assert "install bash" in bash and "install chmod" in chmod


@pytest.fixture
def api_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of an API server that answers everything with one status."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"kind": "Status", "status": "Failure", "message": "no", "code": %d}' % request.param
            self.send_response(request.param)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize(("api_server", "kind"), [(503, RetryError), (403, MissingComponentError)], indirect=["api_server"])
def test_an_api_server_that_is_busy_is_worth_a_retry_and_one_that_refuses_is_not(
    api_server: str, kind: type[RecsysError]
) -> None:
    with pytest.raises(RecsysError, match=r"did not start on k8s://.*KubernetesClientException") as caught:
        child.call(HERE + "start_on", {"master": f"k8s://{api_server}"}, print)
    assert type(caught.value) is kind


def test_an_api_server_out_of_reach_is_worth_a_retry() -> None:
    text = JAVA.format(cause="java.net.ConnectException: Connection refused")
    assert type(failures.not_started(text, "k8s://https://10.0.0.1", False)) is RetryError
    assert type(failures.not_started(text, "local[2]", True)) is MissingComponentError
