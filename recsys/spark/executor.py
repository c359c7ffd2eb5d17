"""Starts a Spark executor on Kubernetes from the recsys image, in place of the entrypoint.sh of Spark's own images.

Spark passes everything in environment variables, under the names that entrypoint.sh uses.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping

from recsys.errors import ConfigError
from recsys.spark import java

MAIN = "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend"
ARGUMENTS = {
    "--driver-url": "SPARK_DRIVER_URL",
    "--executor-id": "SPARK_EXECUTOR_ID",
    "--cores": "SPARK_EXECUTOR_CORES",
    "--app-id": "SPARK_APPLICATION_ID",
    "--hostname": "SPARK_EXECUTOR_POD_IP",
    "--resourceProfileId": "SPARK_RESOURCE_PROFILE_ID",
    "--podName": "SPARK_EXECUTOR_POD_NAME",
}


def command(environment: Mapping[str, str], home: str, jars: str) -> list[str]:
    """The Java command line of an executor.

    Args:
        environment: as set by Spark's driver for the Pod.
        home: Java's home folder.
        jars: the folder with Spark's libraries.

    Raises:
        ConfigError: a variable is missing.
    """
    missing = [name for name in (*ARGUMENTS.values(), "SPARK_EXECUTOR_MEMORY") if name not in environment]
    if missing:
        raise ConfigError(f"{', '.join(missing)}: not set; only Spark's driver starts this, in the Pods that it creates")
    numbered = sorted((int(found[1]), value) for name, value in environment.items() if (found := _OPTION.fullmatch(name)))
    memory = environment["SPARK_EXECUTOR_MEMORY"]
    classes = os.pathsep.join(filter(None, (environment.get("SPARK_CLASSPATH"), os.path.join(jars, "*"))))
    options = [*(value for _, value in numbered), f"-Xms{memory}", f"-Xmx{memory}", "-cp", classes]
    arguments = [word for option, name in ARGUMENTS.items() for word in (option, environment[name])]
    return [os.path.join(home, "bin", "java"), *options, MAIN, *arguments]


def main() -> None:
    """Replaces this process by the executor."""
    import pyspark

    home = java.home_for_spark(java.find(), tempfile.mkdtemp(prefix="recsys-executor-"))
    spark = os.path.dirname(pyspark.__file__)
    words = command(os.environ, home, os.path.join(spark, "jars"))
    os.execve(words[0], words, {**os.environ, "JAVA_HOME": home, "SPARK_HOME": spark})


_OPTION = re.compile(r"SPARK_JAVA_OPT_(\d+)")

if __name__ == "__main__":
    main()
