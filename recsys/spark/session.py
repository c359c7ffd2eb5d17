"""One Spark session with the options that a small batch job wants: quiet, local by default, inside the container's memory."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from recsys.config import Config
from recsys.errors import MissingComponentError
from recsys.spark import java, memory

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SMALL_INPUT: Final = 64 << 20
SHUFFLE_BYTES: Final = 32 << 20
"""Input bytes for each partition of a shuffle on a local master; adaptive execution joins small ones."""

_LOG4J: Final = """\
rootLogger.level = error
rootLogger.appenderRef.stderr.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = spark %p %c{1}: %m%n%maxLen{%xEx}{4000}
"""


@contextlib.contextmanager
def spark_session(config: Config, app: str, input_bytes: int | None = None) -> Iterator[SparkSession]:
    """A Spark session whose JVM ends with the block. Python's own memory stays: run this through `features.process.call`.

    Args:
        config: `spark.master`, `spark.conf` (wins over everything set here) and `spark.memory` are read.
        app: name of the application on a cluster.
        input_bytes: size of the input where it is known: a short job is compiled less thoroughly and divided less.

    Raises:
        MissingComponentError: there is no Java, `obstacles` finds something, or Spark does not start; the message then has
            Spark's own last words.
    """
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    with tempfile.TemporaryDirectory(prefix="recsys-spark-", ignore_cleanup_errors=True) as scratch:
        runtime = java.find()
        if found := obstacles(scratch):
            raise MissingComponentError("; ".join(found))
        home = java.home_for_spark(runtime, scratch)
        os.environ.update(_environment(config, home))
        builder = SparkSession.builder.appName(app)
        for key, value in options(config, scratch, input_bytes).items():
            builder = builder.config(key, value)
        try:
            session = builder.getOrCreate()
        except (PySparkException, OSError, RuntimeError) as error:
            raise MissingComponentError(_start_failure(config, error)) from None
        except Exception as error:
            if type(error).__module__.split(".")[0] != "py4j":
                raise
            raise MissingComponentError(_start_failure(config, error)) from None
        try:
            yield session
        finally:
            _end(session)


def obstacles(scratch: str) -> list[str]:
    """What keeps Spark from working here, beside a missing Java, and what to do about each; Spark's own words name none of it.

    Args:
        scratch: folder for shuffle files, caches and native libraries, or the one it will be made in.
    """
    found = []
    if shutil.which("bash") is None:
        found.append("Spark's launcher needs bash, and there is none on PATH; install bash")
    if os.statvfs(scratch).f_flag & os.ST_NOEXEC:
        found.append(
            f"{scratch} is mounted noexec, and Spark's native libraries run from there; mount it with exec "
            "(docker run --tmpfs /tmp:exec), or set TMPDIR to another folder"
        )
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        found.append(
            f"user {os.geteuid()} has no name here, and Spark needs one; leave --user out of docker run, "
            "or add -v /etc/passwd:/etc/passwd:ro to it"
        )
    return found


def options(config: Config, scratch: str, input_bytes: int | None = None) -> dict[str, str]:
    """Spark's configuration for this job: ours, with `spark.conf` on top.

    Args:
        config: see `spark_session`.
        scratch: folder for shuffle files, caches and native libraries; under TMPDIR.
        input_bytes: see `spark_session`.
    """
    log4j = Path(scratch, "log4j2.properties")
    log4j.write_text(_LOG4J, encoding="utf-8")
    local = is_local(config.spark.master)
    cores = local_cores(config.spark.master)
    heap = memory.heap(config.spark.memory, memory.limit()) >> 20
    small = input_bytes is not None and input_bytes < SMALL_INPUT
    settings: dict[str, Any] = {
        "spark.master": config.spark.master,
        "spark.driver.memory": f"{heap}m",
        "spark.driver.extraJavaOptions": " ".join(
            [
                *(
                    "-XX:+UseSerialGC",
                    f"-Xms{min(heap, 256)}m",
                    f"-XX:NewSize={min(heap, 256) // 2}m",
                    "-XX:MaxHeapFreeRatio=50",
                ),
                *("-XX:-UsePerfData", "-XX:ReservedCodeCacheSize=128m", "-Xss2m"),
                *(("-XX:TieredStopAtLevel=1",) if small else ()),  # halves the processor time of a short job
                *(f"-Djava.io.tmpdir={scratch}", f"-Dlog4j2.configurationFile={log4j.as_uri()}"),
            ]
        ),
        "spark.local.dir": scratch,
        "spark.sql.warehouse.dir": Path(scratch, "warehouse").as_uri(),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.ansi.enabled": "false",
        "spark.sql.adaptive.enabled": "true",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.sql.sources.useV1SourceList": "avro,csv,json,kafka,orc,parquet,text",
        "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
        "spark.sql.caseSensitive": "true",
        "spark.sql.legacy.javaCharsets": "true",  # windows-1252 and others beside the few that Spark 4 lists
        "spark.sql.catalogImplementation": "in-memory",
    }
    if local:
        settings |= {
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.sql.shuffle.partitions": max(cores, (input_bytes or 8 * SHUFFLE_BYTES) // SHUFFLE_BYTES),
            "spark.default.parallelism": cores,
            "spark.sql.files.openCostInBytes": "1048576",
        }
    if config.spark.master.startswith("k8s://"):
        settings |= {
            "spark.kubernetes.driver.pod.name": socket.gethostname(),  # executors go when this Pod goes
            "spark.kubernetes.executor.disableConfigMap": "true",
            "spark.kubernetes.driver.service.deleteOnTermination": "false",
            "spark.kubernetes.driver.ownPersistentVolumeClaim": "false",
            "spark.kubernetes.driver.reusePersistentVolumeClaim": "false",
        }  # so that Spark needs rights to Pods alone
    return {key: str(value) for key, value in settings.items()} | dict(config.spark.conf)


def is_local(master: str) -> bool:
    """Whether Spark runs on this machine alone."""
    return master == "local" or master.startswith("local[")


def local_cores(master: str) -> int:
    """Cores that `local`, `local[4]` or `local[*]` uses."""
    match = re.match(r"local\[(\d+)", master)
    if match:
        return int(match.group(1))
    return len(os.sched_getaffinity(0)) if master.startswith("local[") else 1


def _environment(config: Config, java_home: str) -> dict[str, str]:
    """Variables for Spark's launcher. SPARK_HOME of another installation would bring its own jars, so pyspark's own is set."""
    import pyspark

    found = {
        "JAVA_HOME": java_home,
        "SPARK_HOME": os.path.dirname(pyspark.__file__),
        "SPARK_LAUNCHER_OPTS": "-XX:-UsePerfData -XX:+UseSerialGC -XX:TieredStopAtLevel=1",
        "SPARK_USER": os.environ.get("SPARK_USER", "recsys"),
    }
    if is_local(config.spark.master):
        found |= {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}  # PATH may have another python3
    return found


def _end(session: SparkSession) -> None:
    """Stops Spark and ends its JVM, which would otherwise keep its heap until Python ends."""
    from pyspark import SparkContext

    gateway: Any = SparkContext._gateway
    with contextlib.suppress(Exception):
        session.stop()
    process = getattr(gateway, "proc", None)
    if process is None:
        return
    with contextlib.suppress(Exception):
        gateway.shutdown()
    with contextlib.suppress(OSError):
        process.stdin.close()  # the JVM watches it
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    SparkContext._gateway = SparkContext._jvm = None


def _start_failure(config: Config, error: Exception) -> str:
    words = re.sub(r"\s+", " ", str(error)).strip()[:600]
    return f"Spark did not start on {config.spark.master}: {words}; `recsys doctor` shows what was found"
