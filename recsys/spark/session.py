"""Spark for a small batch job: quiet, local by default, within the container's memory."""

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
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from recsys import storage
from recsys.config import Config
from recsys.errors import ConfigError, MissingComponentError
from recsys.redaction import MASK
from recsys.setting_types import LEAST_HEAP
from recsys.spark import failures, java, memory

if TYPE_CHECKING:
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

Running = TypeVar("Running", "SparkContext", "SparkSession")

SHUFFLE_BYTES: Final = 32 << 20
"""Input bytes of each part into which users and items are divided."""

_SOCKET_FOLDER: Final = 60
"""Longest path of a folder that Spark takes for its sockets (spark.python.unix.domain.socket.dir)."""

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
def spark_context(config: Config, app: str, input_bytes: int | None = None) -> Iterator[SparkContext]:
    """Spark without SQL, which takes a second and a half more to start. Its JVM ends with the block.

    Python's own memory stays: run this through `recsys.spark.child.call`.

    Args:
        config: `spark.master`, `spark.memory` and `spark.conf` (overrides everything set here) are read.
        app: name of the application on a cluster.
        input_bytes: size of the input, if known: for little of it fewer partitions are made.

    Raises:
        MissingComponentError: there is no Java, `obstacles` found something, or Spark does not start; the message then quotes
            Spark.
        ConfigError: see `options`.
        RetryError: the cluster cannot be reached, or the JVM was killed while it started.
    """
    from pyspark import SparkConf, SparkContext

    with _prepared(config, input_bytes, False) as found:

        def create() -> SparkContext:
            return SparkContext(conf=SparkConf().setAppName(app).setAll(list(found.items())))

        with _running(create, config.spark.master) as context:
            yield context


@contextlib.contextmanager
def spark_session(config: Config, app: str, input_bytes: int | None = None, computes: bool = False) -> Iterator[SparkSession]:
    """The same with SQL.

    Args:
        config, app, input_bytes: see `spark_context`.
        computes: whether Java itself computes for long, so that it is worth while to optimise what it runs.

    Raises: as `spark_context` does.
    """
    from pyspark.sql import SparkSession

    with _prepared(config, input_bytes, computes) as found:
        builder = SparkSession.builder.appName(app).config(map=dict(found))
        with _running(builder.getOrCreate, config.spark.master) as session:
            yield session


@contextlib.contextmanager
def _prepared(config: Config, input_bytes: int | None, computes: bool) -> Iterator[dict[str, str]]:
    """Spark's configuration, with all that it needs in the environment and in a scratch folder."""
    with storage.scratch("spark") as scratch:
        runtime = java.find()
        if found := obstacles(scratch):
            raise MissingComponentError("; ".join(found))
        home = java.home_for_spark(runtime, scratch)
        os.environ.update(_environment(config, home))
        yield options(config, scratch, input_bytes, computes)


@contextlib.contextmanager
def _running(create: Callable[[], Running], master: str) -> Iterator[Running]:
    """What `create` makes, until the end of the block."""
    found = _start(create, master)
    try:
        yield found
    finally:
        _end(found)


def obstacles(scratch: str) -> list[str]:
    """What keeps Spark from working here, apart from a missing Java, and what to do about it; Spark itself names none of it.

    Args:
        scratch: folder for shuffle files, caches and native libraries, or its parent.
    """
    found = []
    for program, user in (("bash", "Spark's launcher"), ("chmod", "Spark's file writer")):
        if shutil.which(program) is None:
            found.append(f"{user} needs {program}, which is not on PATH; install {program}")
    if os.statvfs(scratch).f_flag & os.ST_NOEXEC:
        found.append(
            f"{scratch} is mounted noexec, but Spark loads its native libraries from there; mount it with exec "
            "(docker run --tmpfs /tmp:exec), or set TMPDIR to another folder"
        )
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        found.append(
            f"user {os.geteuid()} has no name here, but Spark needs one; call docker run without --user, "
            "or with -v /etc/passwd:/etc/passwd:ro"
        )
    return found


def options(config: Config, scratch: str, input_bytes: int | None = None, computes: bool = False) -> dict[str, str]:
    """Spark's configuration for this job: defaults, overridden by `spark.conf`.

    Args:
        config: see `spark_context`.
        scratch: folder for shuffle files, caches and native libraries; under TMPDIR.
        input_bytes, computes: see `spark_context`.

    Raises:
        ConfigError: the memory limit leaves too little for Spark's heap.
    """
    log4j = Path(scratch, "log4j2.properties")
    log4j.write_text(_LOG4J, encoding="utf-8")
    local = is_local(config.spark.master)
    cores = local_cores(config.spark.master) if local else _executor_cores(config)
    limit = memory.limit()
    heap = memory.heap(config.spark.memory, limit) >> 20
    if heap << 20 < LEAST_HEAP:
        raise ConfigError(
            f"the memory limit of {limit >> 20} MiB leaves {heap} MiB for Spark's heap, which needs {LEAST_HEAP >> 20} MiB; "
            "give the container at least 2 GiB"
        )
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
                *(() if computes else ("-XX:TieredStopAtLevel=1",)),  # the optimiser takes more time than it saves
                *(f"-Djava.io.tmpdir={scratch}", f"-Dlog4j2.configurationFile={log4j.as_uri()}"),
            ]
        ),
        "spark.local.dir": scratch,
        "spark.sql.warehouse.dir": Path(scratch, "warehouse").as_uri(),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
        "spark.sql.ansi.enabled": "false",
        "spark.sql.adaptive.enabled": "true",
        "spark.python.daemon.module": "recsys.spark.daemon",
        "spark.sql.sources.useV1SourceList": "avro,csv,json,kafka,orc,parquet,text",
        "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.shuffle.partitions": max(cores, (input_bytes or 8 * SHUFFLE_BYTES) // SHUFFLE_BYTES),
    }
    if local:
        settings |= {
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.default.parallelism": cores,
            "spark.sql.files.openCostInBytes": "1048576",
        }
        settings |= {f"spark.executorEnv.{name}": value for name, value in memory.KEEPING.items()}  # of Python's workers
        if holds_sockets(folder := tempfile.gettempdir()):
            settings |= {  # over TCP, JVM and worker wait for each other's acknowledgements: 40 ms a task
                "spark.python.unix.domain.socket.enabled": "true",
                "spark.python.unix.domain.socket.dir": folder,
            }
    if config.spark.master.startswith("k8s://"):
        settings |= {
            "spark.kubernetes.driver.pod.name": socket.gethostname(),  # executors end with this Pod
            "spark.kubernetes.executor.disableConfigMap": "true",
            "spark.kubernetes.driver.service.deleteOnTermination": "false",
            "spark.kubernetes.driver.ownPersistentVolumeClaim": "false",
            "spark.kubernetes.driver.reusePersistentVolumeClaim": "false",
        }  # so that Spark needs rights to nothing but Pods
    known = {key: value for key, value in config.spark.conf.items() if MASK not in value}  # run.json has the others masked
    return {key: str(value) for key, value in settings.items()} | known


def holds_sockets(folder: str) -> bool:
    """Whether Spark's Unix sockets can be made in a folder: not if its path is too long for Spark, or on some file systems."""
    if len(os.fsencode(folder)) > _SOCKET_FOLDER:
        return False
    path = os.path.join(folder, f".{uuid.uuid4()}.sock")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.bind(path)
        except OSError:
            return False
    os.unlink(path)
    return True


def is_local(master: str) -> bool:
    """Whether Spark runs on this machine only."""
    return master == "local" or master.startswith("local[")


def local_cores(master: str) -> int:
    """Number of cores that `local`, `local[4]` or `local[*]` uses."""
    match = re.match(r"local\[(\d+)", master)
    if match:
        return int(match.group(1))
    return len(os.sched_getaffinity(0)) if master.startswith("local[") else 1


def _executor_cores(config: Config) -> int:
    """Cores of all executors together, as far as `spark.conf` says."""
    given = (config.spark.conf.get(f"spark.executor.{name}", "") for name in ("instances", "cores"))
    instances, cores = (int(number) if number.isdecimal() else 1 for number in given)
    return instances * cores


def _environment(config: Config, java_home: str) -> dict[str, str]:
    """Variables for Spark's launcher. SPARK_HOME is always pyspark's own: another installation would bring its own jars."""
    import pyspark

    found = {
        "JAVA_HOME": java_home,
        "SPARK_HOME": os.path.dirname(pyspark.__file__),
        "SPARK_LAUNCHER_OPTS": "-XX:-UsePerfData -XX:+UseSerialGC -XX:TieredStopAtLevel=1",
        "SPARK_USER": os.environ.get("SPARK_USER", "recsys"),
    }
    if is_local(config.spark.master):
        found["SPARK_LOCAL_IP"] = "127.0.0.1"
        found["PYSPARK_PYTHON"] = os.environ.get("PYSPARK_PYTHON", sys.executable)  # PATH may have another python3
    return found


def _start(create: Callable[[], Running], master: str, again: bool = True) -> Running:
    """Starts Spark; once more if its JVM is gone before it is up, since someone may have ended it."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        return create()
    except (PySparkException, Py4JError, OSError, RuntimeError) as error:
        if not failures.is_jvm_gone(error):
            raise failures.not_started(str(error), master, is_local(master)) from None
        if not again:
            killed = failures.of_killed_jvm("starting Spark")
            raise killed or failures.not_started(str(error), master, is_local(master)) from None
        _end(None)
        return _start(create, master, again=False)


def _end(running: SparkContext | SparkSession | None) -> None:
    """Stops Spark and its JVM, which would otherwise keep its heap until Python ends."""
    from pyspark import SparkContext

    gateway: Any = SparkContext._gateway
    context: Any = SparkContext._active_spark_context
    accumulators = getattr(context, "_accumulatorServer", None)
    if accumulators is not None:  # ending it takes up to a second: it is left to the end of this process
        context._accumulatorServer = None
        accumulators.handle_error = lambda *_: None  # that the JVM is gone
    if running is not None:
        with contextlib.suppress(Exception):
            running.stop()
    SparkContext._active_spark_context = None  # which a JVM that died while Spark started leaves behind
    process = getattr(gateway, "proc", None)
    if process is None:
        return
    with contextlib.suppress(Exception):
        gateway.shutdown()
    with contextlib.suppress(OSError):
        process.stdin.close()  # the JVM ends when this closes
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    SparkContext._gateway = SparkContext._jvm = None
    if isinstance(address := getattr(accumulators, "server_address", None), str):
        with contextlib.suppress(OSError):
            os.unlink(address)
