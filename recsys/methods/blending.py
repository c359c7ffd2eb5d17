"""Fits the blend after the network is trained: chooses its weights on validation, counts, and saves it for all later stages."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys import storage
from recsys.contract import model_files
from recsys.contract.features_info import FeaturesInfo
from recsys.contract.histories import Histories
from recsys.measure import metrics, ranking, threads
from recsys.measure.targets import Targets, contexts, decisive_from, find_targets
from recsys.methods import compiled
from recsys.methods.blend import (
    HALF_LIVES,
    WEIGHTS_FILE,
    Counts,
    Logits,
    Tiled,
    Weights,
    biases,
    count,
    read_weights,
    save,
)
from recsys.methods.tiles import Tiles
from recsys.progress import Log

TUNING_USERS: Final = 2048
TUNING_BYTES: Final = 1 << 30
"""Maximum memory for the scores of the users it is tuned on."""
GRID: Final = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0)
"""Of the weights a and e."""
RECENT_GRID: Final = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Of the weights b and c."""
SHARE_GRID: Final = (0.0, 0.5, 1.0)
"""Of the weights p and q."""
TUNING_K: Final = 20
"""Weights are chosen by NDCG at this cut-off: twice the one that matters most, which is less noisy with few users."""
ROUNDS: Final = 2
"""Rounds of coordinate search over the weights."""


def fit(
    network: Logits | None,
    histories: Histories,
    info: FeaturesInfo,
    model: str,
    seed: int,
    log: Log,
    check: Callable[[], object],
    carried: Weights | None = None,
) -> Weights:
    """Tunes the weights and saves two blends below model/: the evaluated one and the published one.

    The weights are chosen with counts of the training part; then the evaluated blend counts all events before the test, the
    published one all events. A blend saved by an interrupted run is kept. After a warm start the weights are the earlier run's:
    one night's validation events are too few to choose better ones.

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
    weights = carried or Weights()
    if network is not None:
        counts = count(histories.head(histories.train_length), info.items, seed)
        weights = tune(network, counts, histories, info.items, seed, decisive_from(info.split))
        check()
    if info.split.holds_out:
        before_test = count(histories.head(histories.valid_length), info.items, seed)
        save(storage.join(model, model_files.EVALUATED_BLEND), before_test, weights)
    check()
    save(published, count(histories, info.items, seed), weights)
    log("  blend: " + ", ".join(f"{name} {value:g}" for name, value in dataclasses.asdict(weights).items()))
    return weights


def tune(network: Logits, counts: Counts, histories: Histories, n_items: int, seed: int, since: int | None = None) -> Weights:
    """The weights with the best NDCG on the validation events, chosen separately for users with and without events.

    Args:
        network: scores with the network alone.
        counts: of the training part.
        histories: all events; only training and validation events are read.
        n_items: size of the catalogue.
        seed: for sampling users.
        since: see targets.find_targets.
    """
    users = int(np.clip(TUNING_BYTES // (12 * (n_items + 1)), 256, TUNING_USERS))
    targets = find_targets(histories, "valid", users, seed, since)
    if not len(targets.rows):
        return Weights()
    block = network.block_users(n_items)
    tiled = Tiled(counts, network.tiles)
    scored = [(context, list(_summands(network, tiled, context))) for _, context in contexts(histories, targets, block)]
    cold = targets.context_lengths == 0
    best = Weights(transitions=0.0)
    popular = list(itertools.product(RECENT_GRID, HALF_LIVES, SHARE_GRID))
    for _ in range(ROUNDS):
        before = best
        if not cold.all():
            for name in ("transitions", "taste"):
                best = _best(
                    [dataclasses.replace(best, **{name: x}) for x in GRID], scored, counts, network.tiles, targets, ~cold
                )
            now = [dataclasses.replace(best, recent=b, half_life=h, share=p) for b, h, p in popular]
            best = _best(now, scored, counts, network.tiles, targets, ~cold)
        if cold.any():
            now = [dataclasses.replace(best, cold_recent=c, cold_half_life=k, cold_share=q) for c, k, q in popular]
            best = _best(now, scored, counts, network.tiles, targets, cold)
        if best == before:
            break
    return best


def _summands(network: Logits, tiled: Tiled, context: Histories) -> Iterator[tuple[slice, list[tuple[Any, ...]]]]:
    """The arguments of compiled.weighted that no weight changes, for each block of users and tile of items.

    Raises:
        RecsysError: a logit is NaN or +inf.
    """
    for users, some, logits in network.logits(context):
        parts = []
        for scores, counted in zip(logits, tiled.scores(some), strict=True):
            ranking.check_finite(compiled.log_sum(scores).numpy().max())
            parts.append((scores, *compiled.logs(*counted), some.lengths == 0))
        yield users, parts


def _best(
    candidates: Sequence[Weights],
    scored: Sequence[tuple[Histories, list[tuple[slice, list[tuple[Any, ...]]]]]],
    counts: Counts,
    tiles: Tiles,
    targets: Targets,
    users: NDArray[np.bool_],
) -> Weights:
    """The candidate with the best NDCG over the given users; ties go to the first."""

    def ndcg(weights: Weights) -> float:
        same = biases(counts, weights, tiles)
        last = np.float32(weights.transitions), np.float32(weights.taste)
        tops = []
        for context, blocks in scored:
            summed = ((users, [(*own, *of, *last) for own, of in zip(parts, same, strict=True)]) for users, parts in blocks)
            tops.append(compiled.best(compiled.weighted, summed, tiles, context, TUNING_K, normalised=False)[0])
        top = np.concatenate(tops)
        values = metrics.per_user(top, targets.offsets, targets.items, (TUNING_K,))[f"ndcg@{TUNING_K}"]
        return float(values[users].mean())

    return candidates[int(np.argmax(list(threads.in_order(ndcg, candidates))))]
