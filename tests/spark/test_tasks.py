"""How many of Spark's tasks are done is told while Spark works, and never in its way."""

from __future__ import annotations

import time
from typing import Any

import pytest

from recsys.spark.tasks import counted


def slowly(number: int) -> int:
    time.sleep(0.6)
    return number


@pytest.mark.slow
def test_the_share_grows_with_the_tasks(spark: Any) -> None:
    told: list[tuple[str, float]] = []
    with counted(spark.sparkContext, lambda text, done: told.append((text, done))):
        spark.sparkContext.parallelize(range(8), 8).map(slowly).collect()
    assert told == sorted(told)
    assert any(0 < done < 1 for _, done in told)
    assert all(text == f"Spark: {8 * done:.0f} of 8 tasks" for text, done in told)


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_spark_that_is_gone_is_told_by_whoever_works_with_it() -> None:
    class Gone:
        def statusTracker(self) -> Any:
            raise ConnectionError("the JVM is gone")

    with pytest.raises(ConnectionError, match="at work"), counted(Gone(), print):  # type: ignore[arg-type]
        raise ConnectionError("at work")
