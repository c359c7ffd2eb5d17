"""How far Spark has come, by the tasks of the stages at work."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pyspark import SparkContext

Tell = Callable[[str, float], None]
"""Takes what is at hand and the share of it that is done, 0 to 1; Progress.update and Parent.update are such."""
SECONDS: Final = 0.5
"""Between two questions to Spark."""


@contextlib.contextmanager
def counted(context: SparkContext, tell: Tell) -> Iterator[None]:
    """Tells how many tasks are done while the block runs; each stage of Spark begins anew."""
    ended = threading.Event()

    def watch() -> None:
        tracker = context.statusTracker()
        while not ended.wait(SECONDS):
            found = [info for stage in tracker.getActiveStageIds() if (info := tracker.getStageInfo(stage)) is not None]
            done, tasks = sum(info.numCompletedTasks for info in found), sum(info.numTasks for info in found)
            if tasks:
                tell(f"Spark: {done} of {tasks} tasks", done / tasks)

    def quietly() -> None:
        with contextlib.suppress(Exception):  # of a JVM that is gone, which whoever works with it tells
            watch()

    thread = threading.Thread(target=quietly, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(2 * SECONDS)
