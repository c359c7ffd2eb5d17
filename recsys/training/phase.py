"""What a phase of training works with: the network, its batches, what a position is taught."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from recsys.config import Config
from recsys.contract import histories
from recsys.contract.features_info import Encoding, FeaturesInfo
from recsys.contract.histories import Histories
from recsys.methods.cnn import read_item_bags
from recsys.model import encoding
from recsys.model.encoding import Arrays, Encoder
from recsys.model.network import CausalCNN, resolve
from recsys.progress import Log
from recsys.training import negatives, packing, soft_targets
from recsys.training.checkpoint import Checkpoints
from recsys.training.hardware import Hardware
from recsys.training.identity import made_with
from recsys.training.plan import Plan, cold_start_share, horizon, transition_smoothing
from recsys.training.soft_targets import SoftTargets, Successors
from recsys.training.warm_start import WarmStart
from recsys.training.workers import ALONE, Workers

Part = Callable[[Histories], Histories]


@dataclasses.dataclass(frozen=True)
class Setting:
    """What all phases of training use.

    Attributes:
        config: the configuration.
        features: folder of the finished features.
        info: features.json.
        hardware: see hardware.choose.
        workers: the processes that train together; all see the same features and model folder.
        warm: the earlier network that training goes on from; None: a new one is trained.
    """

    config: Config
    features: str
    info: FeaturesInfo
    hardware: Hardware
    workers: Workers = ALONE
    warm: WarmStart | None = None

    @property
    def cold_starts(self) -> float:
        """See plan.cold_start_share."""
        return cold_start_share(self.config.training, self.info.train_events, self.info.split.method)

    def checkpoints(self, folder: str, log: Log) -> Checkpoints:
        """The checkpoints in a model folder."""
        base = None if self.warm is None else self.warm.base.features
        return Checkpoints(folder, made_with(self.config, self.features, base), log)

    def whole(self, length: Callable[[Histories], np.ndarray]) -> Part:
        """The first `length` events of each user who is learned from."""

        def known(block: Histories) -> Histories:
            block = histories.learnable(block, self.info.min_user_events)
            return block.head(length(block))

        return known

    def part(self, length: Callable[[Histories], np.ndarray]) -> Part:
        """What an epoch goes through of these: all of it, but for a warm start."""
        whole, warm = self.whole(length), self.warm
        return whole if warm is None else lambda block: warm.chosen(whole(block))


def build(setting: Setting, fitted: Encoding, encoder: Encoder, use_dates: bool | None = None) -> CausalCNN:
    """A new network with the item features of one encoding, sized by the data, or for a warm start as the earlier one is.

    Both encodings, of what is measured and of what is published, give networks of the same sizes, so that the steps that are
    compiled for one of them can train the other (see learner.Learner).

    Args:
        setting: features and configuration.
        fitted: the encoding.
        encoder: of that encoding.
        use_dates: whether it is given dates, if the network whose weights it will get decides that.
    """
    config, info, items, users = setting.config.model, setting.info, read_item_bags(setting.features, fitted), encoder.users
    both = (info.evaluated, info.published)
    item_codes, slots = map(max, *(encoding.sizes(one.item_features) for one in both))
    item_slots = max(slots, items.codes.shape[1])
    sizes = {
        "items": info.items,
        "item_codes": item_codes,
        "item_slots": item_slots,
        "item_numbers": items.numbers.shape[1],
        "user_codes": max(encoding.sizes(one.user_features)[0] for one in both),
        "user_slots": users.codes.shape[1],
        "user_numbers": users.numbers.shape[1],
    }
    if setting.warm is not None:
        config = setting.warm.as_it_was(config)
    if use_dates is not None:
        config = dataclasses.replace(config, use_dates=use_dates)
    spec = resolve(config, info.train_events, sizes, setting.config.seed, info.sparse, info.split.ends_apart)
    codes = np.pad(items.codes, [(0, 0), (0, item_slots - items.codes.shape[1])])
    model = CausalCNN(spec, codes, items.numbers, dtype=setting.hardware.precision)
    model.build()
    return model


def epoch_data(
    setting: Setting, encoder: Encoder, shape: tuple[int, int], part: Part, seed: int, plan: Plan, counts: np.ndarray
) -> Callable[[int, int], Any]:
    """The batches of an epoch in chunks, from a step on, over one part of the histories, with negatives if the plan has any.

    Args:
        setting: features and workers.
        encoder: turns histories into the network's inputs.
        shape: rows and length of a batch.
        part: reduces a block of histories to what is learned from.
        seed: of the order and of the negatives.
        plan: says how many negatives to draw.
        counts: int64 [items + 1], events of each item in that part.
    """
    import tensorflow as tf

    drawn_from, count, member = negatives.proposal(counts), plan.negatives, setting.workers.member

    def batches(epoch: int, first: int) -> Iterator[Arrays]:
        whole = packing.training_batches(setting.features, encoder, part, *shape, seed, epoch, setting.cold_starts)
        for step, batch in enumerate(itertools.islice(whole, first, None), first):
            if count:
                full = negatives.with_negatives(batch, drawn_from, count, seed, epoch, step)
            else:
                full = soft_targets.with_draw(batch, seed, epoch, step)
            yield packing.part_of(full, member)

    more = negatives.signature(shape[0] * shape[1], count) if count else soft_targets.signature()
    if member.count > 1:
        more["total"] = tf.TensorSpec([], tf.float32)
    own = member.rows(shape[0])
    part_shape = (own.stop - own.start, shape[1])
    return lambda epoch, first: packing.dataset(lambda: batches(epoch, first), *part_shape, more)


def soft(
    setting: Setting, shape: tuple[int, int], known: Part, seed: int, plan: Plan, before: SoftTargets | None = None
) -> SoftTargets | None:
    """What positions learn besides their next event; None with a sampled softmax, which knows only one target.

    Args: as for `epoch_data`; `known` is what successors are counted in; see SoftTargets for `before`.
    """
    config, info = setting.config.training, setting.info
    ahead = horizon(config, info.split.method, info.train_events, info.sparse)
    smoothing = transition_smoothing(config, info.train_events, info.sparse)
    if plan.negatives or (ahead == 1 and not smoothing):
        return None
    successors = None
    if smoothing:
        events = known(histories.read_learnable(setting.features, info.min_user_events))
        successors = Successors.count(events, info.items, seed)
    return SoftTargets(ahead, smoothing, successors, shape[0], setting.workers.member.rows(shape[0]), before)
