"""Training batches: histories packed into rows of a fixed length, without padding.

A history of n events gives n positions: the start of the history predicts the first event, the first event the second, and so
on. The positions of all users, reshuffled every epoch, form one long stream, which is cut into rows of `row_length`. Every
position of a batch is valid, and every shape is static.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from recsys.contract import histories
from recsys.contract.histories import Histories
from recsys.model.encoding import Arrays, Encoder, days, positions
from recsys.training.cluster import Member

FILES_PER_CHUNK = 4
"""Files of histories, about a million events each, whose users are shuffled together in memory."""

STEPS = 64
CHUNK_BYTES = 32 << 20
"""So many batches are handed to TensorFlow at once at most, and about so many bytes of them."""

INTEGERS = ("item", "gap", "day", "position", "user", "target")
FLOATS = ("rating", "weight")
POSITIONS = (*INTEGERS, *FLOATS)
"""The arrays of a batch with a value for each position, int32 and float32."""


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
    """Batches of one epoch: the files in a new order, their users shuffled in chunks of `FILES_PER_CHUNK`.

    Args:
        features: folder of the features.
        encoder: turns histories into inputs.
        part: reduces a block of histories to the events to learn from, such as those of the training part.
        rows, row_length: shape of a batch.
        seed, epoch: determine the order.
        cold_starts: see config.Training.

    Yields:
        The network's inputs, but `user` (row of `encoder.users`) for the features of the users, and `target` int32, all [rows,
        row_length]; `weight` float32 is 1, and 0 only in the padding of the last batch.
    """
    size, left = rows * row_length, None
    files = histories.files(features)
    order = np.random.default_rng([seed, epoch, 0, 2]).permutation(len(files))  # negatives draw from [seed, epoch, step, 1]
    for chunk, first in enumerate(range(0, len(files), FILES_PER_CHUNK)):
        random = np.random.default_rng([seed, epoch, chunk])
        users = histories.read_files([files[number] for number in order[first : first + FILES_PER_CHUNK]])
        learned = _with_cold_starts(part(users), cold_starts, random)
        stream = _examples(learned.rows(random.permutation(np.flatnonzero(learned.lengths))), encoder)
        if left is not None:
            stream = {name: np.concatenate([left[name], value]) for name, value in stream.items()}
        whole = len(stream["item"]) // size * size
        for start in range(0, whole, size):
            yield {name: value[start : start + size].reshape(rows, row_length) for name, value in stream.items()}
        left = {name: value[whole:] for name, value in stream.items()}
    if left is not None and len(left["item"]):
        padding = size - len(left["item"])
        yield {name: np.pad(value, (0, padding)).reshape(rows, row_length) for name, value in left.items()}


def _with_cold_starts(block: Histories, share: float, random: np.random.Generator) -> Histories:
    """The block, plus histories of a single event each: a random sample of `share` of its events."""
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


def _examples(block: Histories, encoder: Encoder) -> Arrays:
    """All positions of the block with a target; the last position of each history, after its last event, has none."""
    arrays = positions(block, encoder)
    ends = np.cumsum(block.lengths + 1) - 1
    kept = np.ones(len(arrays["item"]), bool)
    kept[ends] = False
    flat = {name: value[kept] for name, value in arrays.items()}
    return {**flat, "target": block.items.astype(np.int32), "weight": np.ones(len(block.items), np.float32)}


def item_counts(features: str, n_items: int, part: Callable[[Histories], Histories]) -> np.ndarray:
    """Events of each item in a part of the histories, int64 [items + 1]; 0 for padding. `part` as in training_batches."""
    counts = np.zeros(n_items + 1, np.int64)
    for path in histories.files(features):
        counts += np.bincount(part(histories.read_files([path])).items, minlength=n_items + 1)
    return counts


def day_counts(features: str, part: Callable[[Histories], Histories]) -> np.ndarray:
    """Events of each day since 1970 in a part of the histories, int64 [days]. `part` as in training_batches."""
    counts = np.zeros(1, np.int64)
    for path in histories.files(features):
        found = np.bincount(days(part(histories.read_files([path])).timestamps), minlength=len(counts))
        found[: len(counts)] += counts
        counts = found
    return counts


def part_of(batch: Arrays, member: Member) -> Arrays:
    """One worker's rows of a batch, and the `total` weight of the whole batch, by which the worker divides its loss.

    Args:
        batch: from training_batches or negatives.with_negatives; arrays that are not [rows, …] are not cut.
        member: which worker.
    """
    if member.count == 1:
        return batch
    rows = member.rows(len(batch["weight"]))
    return {**batch, **{name: batch[name][rows] for name in POSITIONS}, "total": np.array(batch["weight"].sum(), np.float32)}


def chunks(batches: Iterator[Arrays], steps: int) -> Iterator[Arrays]:
    """Several batches at once: arrays [steps, …], the last filled up with zeros, and `steps` int32 [], how many there are."""
    while some := list(itertools.islice(batches, steps)):
        chunk = {name: np.zeros((steps, *value.shape), value.dtype) for name, value in some[0].items()}
        for number, batch in enumerate(some):
            for name, value in batch.items():
                chunk[name][number] = value
        yield {**chunk, "steps": np.array(len(some), np.int32)}


def dataset(batches: Callable[[], Iterator[Arrays]], rows: int, row_length: int, more: dict[str, Any] | None = None) -> Any:
    """The batches in `chunks` as a tf.data.Dataset with static shapes, prefetched.

    `more` describes arrays in addition to those of training_batches: see negatives.signature.
    """
    import tensorflow as tf

    signature = {
        **{name: tf.TensorSpec((rows, row_length), tf.int32) for name in INTEGERS},
        **{name: tf.TensorSpec((rows, row_length), tf.float32) for name in FLOATS},
        **(more or {}),
    }
    steps = int(np.clip(CHUNK_BYTES // (4 * len(POSITIONS) * rows * row_length), 1, STEPS))
    stacked = {name: tf.TensorSpec((steps, *spec.shape), spec.dtype) for name, spec in signature.items()}
    stacked["steps"] = tf.TensorSpec((), tf.int32)
    return tf.data.Dataset.from_generator(lambda: chunks(batches(), steps), output_signature=stacked).prefetch(2)
