"""What is killed: every combination of stage, signal and target equally often, in random order."""

from __future__ import annotations

import dataclasses
import itertools
import random
import signal
from typing import Final

STAGES: Final = ("features", "train", "evaluate", "recommend", "report", "publish")
START: Final = "start"
"""Before the first stage: while Python imports, the configuration is read and the run's folder is made."""
SIGNALS: Final = (signal.SIGTERM, signal.SIGKILL)
PROCESS, GROUP, CHILD, JVM = "process", "group", "Spark child", "JVM"
Combination = tuple[str, signal.Signals, str]
COMBINATIONS: Final[list[Combination]] = [
    *itertools.product((START, *STAGES), SIGNALS, (PROCESS, GROUP)),
    *itertools.product(("features",), SIGNALS, (CHILD, JVM)),
]
WITH_ALS: Final[list[Combination]] = [*itertools.product(("evaluate",), SIGNALS, (CHILD, JVM))]
"""Where the evaluation fits ALS, on Spark."""
MOST_KILLS: Final = 8


@dataclasses.dataclass(frozen=True)
class Kill:
    """A kill to make.

    Attributes:
        stage: in which stage, or START.
        signal: SIGTERM or SIGKILL.
        target: PROCESS, its GROUP, the Spark CHILD or the JVM.
        moment: when, from 0 (the stage begins, or the target appears) to 1 (as much later as the undisturbed stage took).
    """

    stage: str
    signal: signal.Signals
    target: str
    moment: float


@dataclasses.dataclass(frozen=True)
class Job:
    """A job to run, and the kills in it, in the order of the stages.

    Attributes:
        number: from 1.
        kills: at most MOST_KILLS.
        by_stage: one command per stage instead of `recsys run`.
        over: starts in an output in which a run is published already, which must stay until it is replaced.
        als: the evaluation fits ALS too.
    """

    number: int
    kills: tuple[Kill, ...]
    by_stage: bool
    over: bool
    als: bool


class Deck:
    """Combinations in random order, shuffled anew when all are drawn."""

    def __init__(self, generator: random.Random) -> None:
        self._generator = generator
        self._left: dict[bool, list[Combination]] = {False: [], True: []}

    def job(self, number: int, most: int) -> Job:
        """The next job, with at most `most` kills.

        Every second one goes stage by stage, half of both kinds are over a published run, and every third from the fourth on
        fits ALS; half of the kills of those are in the evaluation.
        """
        als = number >= 4 and number % 3 == 1
        count = min(self._generator.randint(3, MOST_KILLS), most)
        kills = [self._draw(als and place % 2 == 0) for place in range(count)]
        kills.sort(key=lambda kill: ((START, *STAGES).index(kill.stage), kill.moment))
        return Job(number, tuple(kills), by_stage=number % 2 == 0, over=number % 4 in (1, 2), als=als)

    def put_back(self, kill: Kill) -> None:
        """Keeps a combination for later whose kill came too late."""
        combination = (kill.stage, kill.signal, kill.target)
        self._left[combination in WITH_ALS].insert(0, combination)

    def _draw(self, als: bool) -> Kill:
        left = self._left[als]
        if not left:
            left += WITH_ALS if als else COMBINATIONS
            self._generator.shuffle(left)
        return Kill(*left.pop(), moment=self._generator.random())
