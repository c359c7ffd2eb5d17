"""From features/ to the network: histories packed into rows of a fixed length, without padding, by record batches.

A history of n events gives n positions: the start of the history predicts the first event, the first event the second, and so
on. The positions of all users, in an order drawn anew each epoch, form one long stream, which is cut into rows of
`row_length`. Every position in a batch is a valid one, and every shape is static.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from recsys.contract import histories
from recsys.contract.histories import Histories, ranges
from recsys.model.encoding import Bags, Encoder, gap_codes
from recsys.training.cluster import Member

CHUNK_USERS = 65_536
"""Users permuted together in memory; a larger data set is shuffled within chunks of this size."""

Arrays = dict[str, np.ndarray]
POSITIONS = ("item", "rating", "gap", "position", "user_codes", "user_numbers", "target", "weight")
"""The arrays of a batch that hold something for each position."""


def inputs(block: Histories, encoder: Encoder) -> Arrays:
    """The network's inputs at every position, one position more than events for each user.

    Returns:
        Flat arrays of sum(lengths + 1) positions, histories one after another: item, rating, gap, position, user (the row of
        `encoder.users`). Position p of a history holds its event p - 1; position 0 holds none.
    """
    none = np.zeros(len(block), np.int64)
    position = ranges(none, block.lengths + 1)
    event = np.repeat(block.offsets[:-1], block.lengths + 1) + position - 1
    started = position > 0
    ratings = (block.ratings - encoder.rating_mean) / encoder.rating_std
    gaps = gap_codes(block.timestamps, ranges(none, block.lengths))

    def at(values: np.ndarray) -> np.ndarray:
        taken = np.zeros(len(position), values.dtype)
        taken[started] = values[event[started]]
        return taken

    return {
        "item": at(block.items).astype(np.int32),
        "rating": at(ratings).astype(np.float32),
        "gap": at(gaps),
        "position": position.astype(np.int32),
        "user": np.repeat(block.user_index, block.lengths + 1),
    }


def training_batches(
    features: str,
    encoder: Encoder,
    part: Callable[[Histories], Histories],
    rows: int,
    row_length: int,
    seed: int,
    epoch: int,
    cold_starts: float = 0.0,
) -> Iterator[Arrays]:
    """Batches of one epoch.

    Args:
        features: folder of the features.
        encoder: turns histories into inputs.
        part: the events to learn from, out of a block of histories, such as those of the training part.
        rows, row_length: shape of a batch.
        seed, epoch: fix the order.
        cold_starts: see config.Training.

    Yields:
        The network's inputs and `target` int32, all [rows, row_length, …]; `weight` float32 is 1, and 0 only in the padding of
        the last batch.
    """
    size, left = rows * row_length, None
    for chunk, users in enumerate(histories.stream(features, CHUNK_USERS)):
        random = np.random.default_rng([seed, epoch, chunk])
        learned = part(users)
        learned = _with_cold_starts(learned, cold_starts, random)
        stream = _examples(learned.rows(random.permutation(np.flatnonzero(learned.lengths))), encoder)
        if left is not None:
            stream = {name: np.concatenate([left[name], value]) for name, value in stream.items()}
        whole = len(stream["item"]) // size * size
        for start in range(0, whole, size):
            yield _shaped({name: value[start : start + size] for name, value in stream.items()}, encoder, rows, row_length)
        left = {name: value[whole:] for name, value in stream.items()}
    if left is not None and len(left["item"]):
        padding = size - len(left["item"])
        yield _shaped({name: np.pad(value, (0, padding)) for name, value in left.items()}, encoder, rows, row_length)


def _with_cold_starts(block: Histories, share: float, random: np.random.Generator) -> Histories:
    """The block, and histories of a single event, as many as `share` of its events, drawn at random."""
    if not share or not len(block.items):
        return block
    events = np.sort(random.choice(len(block.items), round(share * len(block.items)), replace=False))
    drawn = block.rows(np.searchsorted(block.offsets, events, side="right") - 1)
    single = dataclasses.replace(
        drawn,
        offsets=np.arange(len(events) + 1),
        items=block.items[events],
        ratings=block.ratings[events],
        timestamps=block.timestamps[events],
    )
    return histories.concatenate([block, single])


def _with_users(arrays: Arrays, encoder: Encoder) -> Arrays:
    """Replaces `user` by the users' features at every position."""
    user = arrays["user"]
    rest = {name: value for name, value in arrays.items() if name != "user"}
    return {**rest, "user_codes": encoder.users.codes[user], "user_numbers": encoder.users.numbers[user]}


def _examples(block: Histories, encoder: Encoder) -> Arrays:
    """All positions of the block that have a target: the last position of each history, after its last event, has none."""
    arrays = inputs(block, encoder)
    ends = np.cumsum(block.lengths + 1) - 1
    kept = np.ones(len(arrays["item"]), bool)
    kept[ends] = False
    flat = {name: value[kept] for name, value in arrays.items()}
    return {**flat, "target": block.items.astype(np.int32), "weight": np.ones(len(block.items), np.float32)}


def _shaped(flat: Arrays, encoder: Encoder, rows: int, row_length: int) -> Arrays:
    arrays = _with_users(flat, encoder)
    return {name: np.ascontiguousarray(value.reshape(rows, row_length, *value.shape[1:])) for name, value in arrays.items()}


def part_of(batch: Arrays, member: Member) -> Arrays:
    """One worker's rows of a batch, with the `total` weight of the whole batch, by which the worker's loss is divided.

    Args:
        batch: from training_batches or negatives.with_negatives; what is not [rows, …] stays whole.
        member: which of the workers.
    """
    if member.count == 1:
        return batch
    rows = member.rows(len(batch["weight"]))
    return {**batch, **{name: batch[name][rows] for name in POSITIONS}, "total": np.array(batch["weight"].sum(), np.float32)}


def dataset(
    batches: Callable[[], Iterator[Arrays]], rows: int, row_length: int, users: Bags, more: dict[str, Any] | None = None
) -> Any:
    """The batches as a tf.data.Dataset with static shapes, prepared ahead of the step that needs them.

    `more` describes arrays beside those of training_batches: see negatives.signature.
    """
    import tensorflow as tf

    shape = (rows, row_length)
    signature = {
        **{name: tf.TensorSpec(shape, tf.int32) for name in ("item", "gap", "position", "target")},
        **{name: tf.TensorSpec(shape, tf.float32) for name in ("rating", "weight")},
        "user_codes": tf.TensorSpec((*shape, users.codes.shape[1]), tf.int32),
        "user_numbers": tf.TensorSpec((*shape, users.numbers.shape[1]), tf.float32),
        **(more or {}),
    }
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(4)


def scoring_rows(block: Histories, encoder: Encoder, length: int) -> Arrays:
    """The last `length` positions of each history, right-aligned, for scoring what comes next.

    Returns:
        The network's inputs [users, length, …]; positions before a history's start have item 0 and position 0.
    """
    arrays = inputs(block, encoder)
    lengths = np.minimum(block.lengths + 1, length)
    ends = np.cumsum(block.lengths + 1)
    source = ranges(ends - lengths, lengths)
    row, place = np.repeat(np.arange(len(block)), lengths), ranges(length - lengths, lengths)
    padded = {"user": np.repeat(block.user_index[:, None], length, axis=1)}
    for name in ("item", "rating", "gap", "position"):
        padded[name] = np.zeros((len(block), length), arrays[name].dtype)
        padded[name][row, place] = arrays[name][source]
    return _with_users(padded, encoder)
