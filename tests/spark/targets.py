"""Functions that the tests call in a child process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from recsys.errors import DataError, RecsysError
from recsys.spark.child import Parent


def echo(arguments: dict[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
    progress("first line")
    print("noise on standard output")
    sys.stderr.write("noise on standard error\n")
    progress("größer")
    return {"got": arguments, "pid": os.getpid()}


def update(arguments: dict[str, Any], parent: Parent) -> None:
    """Tells shares from two threads, between lines."""
    threads = [threading.Thread(target=lambda: [parent.update("a" * 5_000, n / 100) for n in range(100)]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        parent("b" * 5_000)
    for thread in threads:
        thread.join()


def ask(arguments: dict[str, Any], parent: Parent) -> list[str]:
    return [parent.ask(question) for question in arguments["questions"]]


def allocate(arguments: dict[str, Any], progress: Callable[[str], None]) -> int:
    block = bytearray(os.urandom(1)) * arguments["bytes"]
    time.sleep(0.7)
    return len(block)


def fail_data(arguments: dict[str, Any], progress: Callable[[str], None]) -> None:
    raise DataError("events.csv: no such column")


def fail_plain(arguments: dict[str, Any], progress: Callable[[str], None]) -> None:
    raise RecsysError("something odd")


def fail_defect(arguments: dict[str, Any], progress: Callable[[str], None]) -> None:
    raise ValueError("seven is not eight\nand more")


def die(arguments: dict[str, Any], progress: Callable[[str], None]) -> None:
    os.kill(os.getpid(), arguments["signal"])


def lose_jvm(arguments: dict[str, Any], progress: Callable[[str], None]) -> None:
    """Kills the JVM of a session, as the system does when memory runs out, and goes on using the session."""
    from pyspark import SparkContext

    from recsys.config import Config, Spark
    from recsys.spark.failures import translated
    from recsys.spark.session import spark_session

    with spark_session(Config(spark=Spark(master="local[1]", memory="512m")), "tests", 0) as session, translated("features"):
        session.range(3).count()
        os.kill(SparkContext._gateway.proc.pid, signal.SIGKILL)
        session.range(3).count()


def lose_jvm_between_context_and_session(arguments: dict[str, Any], progress: Callable[[str], None]) -> None:
    """Kills the JVM as soon as it has a context of Spark, and works with the one that is started in its place."""
    from pyspark import SparkContext

    from recsys.config import Config, Spark
    from recsys.spark.session import spark_session

    start = SparkContext._do_init

    def kill(*given: Any, **named: Any) -> None:
        start(*given, **named)
        SparkContext._do_init = start
        process = SparkContext._gateway.proc
        process.kill()
        process.wait()

    SparkContext._do_init = kill
    with spark_session(Config(spark=Spark(master="local[1]", memory="512m")), "tests", 0) as session:
        assert session.sparkContext.parallelize([1, 2]).sum() == 3
    assert SparkContext._do_init is start


def stumble(arguments: dict[str, Any], progress: Callable[[str], None]) -> None:
    """Ends the JVM of a session, whereupon pyspark stumbles over what it expects of it."""
    from pyspark import SparkContext

    from recsys.config import Config, Spark
    from recsys.spark.failures import translated
    from recsys.spark.session import spark_session

    with spark_session(Config(spark=Spark(master="local[1]", memory="512m")), "tests", 0) as session, translated("features"):
        os.kill(SparkContext._gateway.proc.pid, signal.SIGTERM)
        SparkContext._jvm = None
        session.sparkContext.range(3).count()


def end_jvm_at_work(arguments: dict[str, Any], progress: Callable[[str], None]) -> None:
    """Sends SIGTERM to the JVM of a session while it runs a job."""
    from pyspark import SparkContext

    from recsys.config import Config, Spark
    from recsys.spark.failures import translated
    from recsys.spark.session import spark_session

    def wait(batches: Iterator[Any]) -> Iterator[Any]:
        time.sleep(60)
        yield from batches

    with spark_session(Config(spark=Spark(master="local[1]", memory="512m")), "tests", 0) as session, translated("features"):
        tracker = session.sparkContext.statusTracker()

        def end() -> None:
            while not tracker.getActiveJobsIds():
                time.sleep(0.01)
            os.kill(SparkContext._gateway.proc.pid, signal.SIGTERM)

        threading.Thread(target=end).start()
        session.range(3).mapInArrow(wait, "id long").collect()


def lose_words(arguments: dict[str, Any], progress: Callable[[str], None]) -> None:
    """Ends the JVM after it has raised an exception, and before anybody has asked it for the words."""
    from py4j.protocol import Py4JJavaError
    from pyspark import SparkContext

    from recsys.config import Config, Spark
    from recsys.spark.failures import translated
    from recsys.spark.session import spark_context

    with spark_context(Config(spark=Spark(master="local[1]", memory="512m")), "tests", 0) as context, translated("features"):
        try:
            context.range(3).map(lambda number: 1 // number).collect()
        except Py4JJavaError:
            process = SparkContext._gateway.proc
            process.terminate()
            process.wait()
            raise


def count(arguments: dict[str, Any], progress: Callable[[str], None]) -> int:
    """Starts Spark, with SQL or without, and counts to three."""
    from recsys.config import Config, Spark
    from recsys.spark.session import spark_context, spark_session

    config = Config(spark=Spark(master="local[1]", memory="512m"))
    if arguments["sql"]:
        with spark_session(config, "tests", 0) as session:
            return session.range(3).count()
    with spark_context(config, "tests", 0) as context:
        return context.range(3).count()


def talk(arguments: dict[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
    """Counts to three in a worker, with a folder in the place of TMPDIR; tells whether it was reached over a Unix socket."""
    import tempfile

    from recsys.config import Config, Spark
    from recsys.spark.session import spark_context

    tempfile.tempdir = arguments["folder"]
    with spark_context(Config(spark=Spark(master="local[1]", memory="512m")), "tests", 0) as context:
        found = context.range(3).map(lambda _: "PYTHON_WORKER_FACTORY_SOCK_DIR" in os.environ).collect()
        return {"counted": len(found), "sockets": all(found)}


def start_on(arguments: dict[str, Any], progress: Callable[[str], None]) -> None:
    """Starts Spark on a cluster."""
    from recsys.config import Config, Spark
    from recsys.spark.session import spark_session

    conf = {"spark.kubernetes.container.image": "recsys", "spark.kubernetes.namespace": "recsys"}
    with spark_session(Config(spark=Spark(master=arguments["master"], memory="512m", conf=conf)), "tests", 0):
        pass


def linger(arguments: dict[str, Any], progress: Callable[[str], None]) -> None:
    """Starts a child process, as Spark starts its JVM, and never returns."""
    child = subprocess.Popen(["sleep", "600"])
    progress(f"{os.getpid()} {child.pid}")
    child.wait()


def call_linger(pids_file: str) -> None:
    """Calls `linger` in a child process and waits for it."""
    from recsys.spark import child

    def note(line: str) -> None:
        with open(pids_file, "w", encoding="utf-8") as file:
            file.write(line + "\n")

    child.call("tests.spark.targets:linger", {}, note)


def scratch(arguments: dict[str, Any], progress: Callable[[str], None]) -> None:
    """Makes a folder in TMPDIR, as Spark does, tells its path and never returns."""
    progress(tempfile.mkdtemp())
    time.sleep(600)
