"""recsys: its own training, with default settings, on the features of a run; time and NDCG@10 are what it tells after an epoch.

With `--items-alone` the network sees only which items there were, like its peers: no ratings, times and features.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
import time

from benchmarks.quality.published import ITEMS_ALONE
from benchmarks.speed.training_peer import GOAL, tell
from recsys.config import Config, Model, Training
from recsys.contract.features_info import read_info
from recsys.errors import RetryError
from recsys.progress import Progress
from recsys.training.hardware import choose
from recsys.training.phase import Setting
from recsys.training.train import train

EPOCH = re.compile(r"fit epoch (\d+)/.* ndcg@10 (\S+) .* (\S+) s  \S+ positions/s")


class Watched(Progress):
    """Prints a line for each epoch, and says when the training is over.

    Args:
        an_epoch: targets of an epoch.
        limit: seconds of training.
    """

    def __init__(self, an_epoch: int, limit: float) -> None:
        super().__init__()
        self._an_epoch, self._limit, self._started = an_epoch, limit, time.monotonic()
        self._seconds, self._validating, self._score = 0.0, 0.0, 0.0

    def __call__(self, text: str) -> None:
        """Reads what the training tells."""
        super().__call__(text)
        if told := EPOCH.search(text):
            epoch, self._score = int(told[1]), float(told[2])
            self._seconds += float(told[3])
            whole = time.monotonic() - self._started
            self._validating = whole - self._seconds
            tell(epoch, self._an_epoch, epoch * self._an_epoch, self._seconds, whole, self._score)

    def over(self) -> bool:
        """Asked after each call of many steps."""
        return self._score >= GOAL or time.monotonic() - self._started - self._validating >= self._limit


def main(features: str, limit: str, folder: str, *options: str) -> None:
    """Trains on a folder of features, up to `limit` seconds; `folder` is for the network."""
    shutil.rmtree(folder, ignore_errors=True)
    model = Model(**dict.fromkeys(ITEMS_ALONE, False)) if "--items-alone" in options else Model()
    config, info = Config(model=model, training=Training(refit_epochs=0, xla="on")), read_info(features)
    setting = Setting(config, features, info, choose(config.training))
    watched = Watched(info.train_events, float(limit))
    with contextlib.suppress(RetryError):  # that is how it stops when it is asked to
        train(setting, folder, watched, watched.over)


if __name__ == "__main__":
    main(*sys.argv[1:])
