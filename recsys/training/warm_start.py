"""Goes on from an earlier run's network: its weights, and the events that it has still to learn.

Learning the new events alone makes a network forget the others. So the users with new events learn their last events once more,
old ones too, and so do some of the other users, drawn at random (replay; see docs/freshness.md for what that gives).
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys import storage
from recsys.config import Config, Model
from recsys.contract import histories, matching, model_files, schema
from recsys.contract.earlier_run import EarlierRun
from recsys.contract.features_info import Encoding, FeaturesInfo, read_info
from recsys.contract.histories import Histories
from recsys.methods.cnn import load_model
from recsys.model.network import CausalCNN, whole_table
from recsys.training.carrying import carry_over

NEIGHBOURS: Final = 10
"""A new item begins as the mean of so many known ones with the most similar features."""
ROWS: Final = 128
"""New items compared with all others at once."""


@dataclasses.dataclass(frozen=True)
class WarmStart:
    """What a training does that goes on from an earlier network.

    Attributes:
        base: the earlier run.
        width, dilations, use_dates: of its network.
        replayed: bool [users + 1], users who learn again whether or not they have new events; by user_index.
        most: events of one user, the last ones, that are learned again.
    """

    base: EarlierRun
    width: int
    dilations: tuple[int, ...]
    use_dates: bool
    replayed: NDArray[np.bool_]
    most: int

    def as_it_was(self, config: Model) -> Model:
        """The configuration that gives a network like the earlier one."""
        return dataclasses.replace(config, width=self.width, dilations=self.dilations, use_dates=self.use_dates)

    def chosen(self, block: Histories) -> Histories:
        """What is learned of some histories."""
        rows = np.flatnonzero(_renewed(block, self.base.since) | self.replayed[block.user_index])
        chosen = block.rows(rows)
        return chosen.tail(np.full(len(chosen), self.most))

    def carry(self, model: CausalCNN, features: str, encoding: Encoding) -> None:
        """Gives a new network the weights of the earlier one.

        Args:
            model: a network for the present features.
            features: their folder.
            encoding: which of their encodings the network reads.
        """
        known = matching.origins(self.base.features, features, schema.ITEM_ID)
        network = load_model(storage.join(self.base.model, model_files.PUBLISHED), model.dtype_policy.name)
        carry_over(network, model, read_info(self.base.features).published, encoding, known)
        _place_new_items(model, np.flatnonzero(known == 0)[1:])


@dataclasses.dataclass(frozen=True)
class News:
    """How much is new since the earlier network was trained.

    Attributes:
        events: events later than the last one it has learned.
        share: of all events.
        new_items: share of these events whose item it does not know.
        new_users: users who had no event then.
        shift: total variation distance between the items of these events and of those before, from 0, the same, to 1.
    """

    events: int
    share: float
    new_items: float
    new_users: int
    shift: float

    @classmethod
    def of(cls, events: Histories, since: int, known: NDArray[np.bool_]) -> News:
        """Counts them.

        Args:
            events: all histories.
            since: see EarlierRun.
            known: bool [items + 1], whether the network knows the item.
        """
        new = events.timestamps > since
        later, before = (np.bincount(events.items[rows], minlength=len(known)) for rows in (new, ~new))
        old = np.bincount(np.repeat(np.arange(len(events)), events.lengths)[~new], minlength=len(events))
        apart = np.abs(later / max(1, later.sum()) - before / max(1, before.sum())).sum() / 2
        return cls(
            events=int(later.sum()),
            share=round(float(new.mean()), 4) if len(new) else 0.0,
            new_items=round(float(later[~known].sum() / max(1, later.sum())), 4),
            new_users=int(np.count_nonzero(old == 0)),
            shift=round(float(apart), 4),
        )


def warm_start(base: EarlierRun, config: Config, features: str, info: FeaturesInfo) -> tuple[WarmStart | str, News]:
    """How to go on from the earlier network, or in words why a new one must be trained; and what is new.

    TensorFlow is not used yet: workers must find each other first.

    Args:
        base: the earlier run.
        config: the sections refresh and training, and the seed, of the draw of replayed users.
        features: folder of the present features.
        info: their features.json.
    """
    events = histories.read_learnable(features, info.min_user_events)
    known = matching.origins(base.features, features, schema.ITEM_ID) > 0
    news = News.of(events, base.since, known)
    if info.split.since is None:
        return (
            f"{news.events:,} events ({news.share:.1%}) are later than run {base.run_id}: too few to measure what they teach, "
            "or more than refresh.max_new allows"
        ), news
    if changed := _changed(read_info(base.features), info):
        return f"{changed} since run {base.run_id}", news
    renewed = _renewed(events, base.since)
    most = config.training.row_length
    sizes = np.minimum(events.lengths, most)
    share = config.refresh.replay * sizes[renewed].sum() / max(1, sizes[~renewed].sum())
    drawn = np.random.default_rng([config.seed, base.since]).random(info.users + 1) < share
    made = storage.read_json(storage.join(base.model, model_files.MODEL))["network"]  # not from the network: before TensorFlow
    return WarmStart(base, made["width"], tuple(made["dilations"]), made.get("use_dates", False), drawn, most), news


def _changed(before: FeaturesInfo, now: FeaturesInfo) -> str:
    """What the network reads that was another thing in the earlier run, in words; empty if nothing."""
    for role in ("user", "item"):
        if getattr(before, f"{role}_id_type") != getattr(now, f"{role}_id_type"):
            return f"the type of the {role}s' ids has changed"
        old, new = (
            [(one.name, one.kind) for one in getattr(found, f"{role}_features")] for found in (before.published, now.evaluated)
        )
        if old != new:
            names = sorted({name for name, _ in set(old) ^ set(new)}) or [name for name, _ in new]
            return f"the features of {role}s have changed ({', '.join(names)})"
    return ""


def _renewed(block: Histories, since: int) -> NDArray[np.bool_]:
    """Which users have a later event; bool [users]."""
    later = np.concatenate(([0], np.cumsum(block.timestamps > since)))
    found: NDArray[np.bool_] = later[block.offsets[1:]] > later[block.offsets[:-1]]
    return found


def _place_new_items(model: CausalCNN, new: NDArray[np.int64]) -> None:
    """Gives items that the network does not know the mean vector and bias of their neighbours by features.

    Where items have no features, all known items are neighbours: a vector of zeros would score above most items.

    Args:
        model: has the weights of the known items.
        new: indices.
    """
    known = np.flatnonzero(model.item_known.numpy())
    if not len(new) or not len(known):
        return
    vectors, biases, features = model.item_vectors.numpy(), model.item_bias.numpy(), _feature_vectors(model)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    directions = features / np.maximum(lengths, 1e-9)
    for start in range(0, len(new), ROWS):
        some = new[start : start + ROWS]
        near = _nearest(directions[some] @ directions[known].T)
        vectors[some], biases[some] = vectors[known[near]].mean(axis=1), biases[known[near]].mean(axis=1)
    without = new[lengths[new, 0] == 0]
    vectors[without], biases[without] = vectors[known].mean(axis=0), biases[known].mean()
    model.item_vectors.assign(vectors)
    model.item_bias.assign(biases)


def _nearest(similarity: NDArray[np.float32]) -> NDArray[np.int64]:
    """The columns of the NEIGHBOURS greatest values of each row; int64 [rows, NEIGHBOURS], fewer if there are fewer columns."""
    most = min(NEIGHBOURS, similarity.shape[1])
    found: NDArray[np.int64] = np.argpartition(-similarity, most - 1, axis=1)[:, :most]
    return found


def _feature_vectors(model: CausalCNN) -> NDArray[np.float32]:
    """The part of the items' vectors that their features give, float32 [items + 1, width]."""
    known = model.item_known.numpy()
    model.item_known.assign(np.zeros_like(known))
    vectors: NDArray[np.float32] = whole_table(model).numpy()
    model.item_known.assign(known)
    return vectors


def describe(found: WarmStart | str, news: News) -> dict[str, Any]:
    """For run.json: the run that the weights come from, or why from none, and what is new."""
    warm = isinstance(found, WarmStart)
    return {
        "from": found.base.run_id if isinstance(found, WarmStart) else None,
        "why_not": None if warm else found,
        "news": dataclasses.asdict(news),
    }
