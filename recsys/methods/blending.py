"""Fits the blend after the network is trained: chooses its weights on validation, counts, and saves it for all later stages."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final

import numpy as np

from recsys import storage
from recsys.contract import model_files
from recsys.contract.features_info import FeaturesInfo
from recsys.contract.histories import Histories
from recsys.measure.targets import decisive_from, find_targets
from recsys.methods import likelihood
from recsys.methods.blend import Counts, Logits, count, save
from recsys.methods.weights import WEIGHTS_FILE, WITHOUT_COUNTS, Chosen, Weights, read_weights
from recsys.progress import Log

TUNING_USERS: Final = 8192
TUNING_BYTES: Final = 1 << 30
"""Memory aimed at for the scores of the users it is tuned on; there are at least 256."""


def fit(
    network: Logits | None,
    histories: Histories,
    info: FeaturesInfo,
    model: str,
    seed: int,
    log: Log,
    check: Callable[[], object],
    carried: Chosen | None = None,
) -> Chosen:
    """Tunes the weights and saves two blends below model/: the evaluated one and the published one.

    The weights are chosen with counts of the training part; then the evaluated blend counts all events before the test, the
    published one all events. If the split holds out everything after one moment, all users are measured at that moment,
    otherwise each where their own events end, by what was popular then. A blend saved by an interrupted run is kept.
    After a warm start the weights are the earlier run's: one night's validation events are too few to choose better ones.

    Args:
        network: the validated one, trained on the training part; None if the split holds nothing out, or weights are carried.
        histories: of all users who are learned from.
        info: features.json.
        model: the model folder.
        seed: for sampling users.
        log: takes progress lines.
        check: called before anything is saved; raises if the results are not to be trusted, since the process is ending.
        carried: weights of an earlier run, to be used as they are.
    """
    published = storage.join(model, model_files.PUBLISHED_BLEND)
    if storage.exists(storage.join(published, WEIGHTS_FILE)):  # written last
        return read_weights(published)
    chosen, over_time = carried or Chosen(Weights(), WITHOUT_COUNTS), info.split.ends_apart
    if network is not None:
        counts = count(histories.head(histories.train_length), info.items, seed, over_time)
        chosen = tune(network, counts, histories, info.items, seed, decisive_from(info.split))
        check()
    if info.split.holds_out:
        before_test = count(histories.head(histories.valid_length), info.items, seed, over_time)
        save(storage.join(model, model_files.EVALUATED_BLEND), before_test, chosen)
    check()
    save(published, count(histories, info.items, seed), chosen)
    for name, weights in chosen._asdict().items():
        log(f"  {name}: " + ", ".join(f"{field} {value:g}" for field, value in dataclasses.asdict(weights).items() if value))
    return chosen


def tune(network: Logits, counts: Counts, histories: Histories, n_items: int, seed: int, since: int | None = None) -> Chosen:
    """The weights with which the validation events are most likely, see likelihood.most_likely.

    Args:
        network: scores with the network alone.
        counts: of the training part.
        histories: all events; only training and validation events are read.
        n_items: size of the catalogue.
        seed: for sampling users.
        since: see targets.find_targets.

    Raises:
        RecsysError: a logit is NaN or +inf.
    """
    users = int(np.clip(TUNING_BYTES // (12 * (n_items + 1)), 256, TUNING_USERS))
    targets = find_targets(histories, "valid", users, seed, since)
    return likelihood.most_likely(likelihood.Validation(network, counts, histories, targets))
