"""Leaves out the items with few events, for features.min_item_events."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.contract.schema import ITEM_ID
from recsys.features import chunks, clean, gather, moments
from recsys.features.chunks import Chunk, Packed
from recsys.features.gather import ASIDE, HISTORIES, Part

if TYPE_CHECKING:
    from pyspark import RDD, Broadcast

COUNT: Final = "n"


def left_out(parts: RDD[Part], fewest: int, least: int, layout: clean.Layout) -> RDD[Part]:
    """The same partitions without the events of rare items, which are set aside.

    Args:
        parts: of `gather.gather`, kept.
        fewest: events that an item must have.
        least: features.min_user_events.
        layout: of the source's table.
    """
    partitions = parts.getNumPartitions()
    counts = parts.mapPartitions(partial(_counts, partitions=partitions)).partitionBy(partitions, int).values()
    found = counts.mapPartitions(partial(_frequent, fewest=fewest)).collect()
    ids = pa.Table.from_batches(list(map(chunks.unpack, found)))[ITEM_ID].combine_chunks()
    shared = parts.context.broadcast(ids)
    work = partial(_without, frequent=shared, least=least, layout=layout, spans=moments.share(partitions))
    return parts.mapPartitions(work)


def _counts(parts: Iterator[Part], partitions: int) -> Iterator[tuple[int, Packed]]:
    """Each item's number of events in each chunk, by the partition of the item."""
    for kind, value in parts:
        if kind == HISTORIES:
            chunk = chunks.unpack_chunk(value)
            counts = np.bincount(chunk.items, minlength=len(chunk.item_ids))
            batch = pa.RecordBatch.from_arrays([chunk.item_ids, pa.array(counts, pa.int64())], names=[ITEM_ID, COUNT])
            yield from chunks.pack_by(gather.partition_of(chunk.item_ids, partitions), batch)


def _frequent(counts: Iterator[Packed], fewest: int) -> Iterator[Packed]:
    """The ids of the items of a partition that are not rare."""
    batches = list(map(chunks.unpack, counts))
    if batches:
        summed = pa.Table.from_batches(batches).group_by(ITEM_ID).aggregate([(COUNT, "sum")])
        frequent = summed.filter(pc.greater_equal(summed[f"{COUNT}_sum"], fewest)).select([ITEM_ID])
        yield Packed(chunks.one_batch(frequent))


def _without(
    parts: Iterator[Part], frequent: Broadcast[pa.Array], least: int, layout: clean.Layout, spans: int = moments.COARSE
) -> Iterator[Part]:
    aside: list[pa.RecordBatch] = []
    kept: list[Chunk] = []
    for kind, value in parts:
        if kind == ASIDE:
            aside.append(chunks.unpack(value))
        elif kind == HISTORIES:
            chunk = chunks.unpack_chunk(value)
            stays = np.asarray(pc.is_in(chunk.item_ids, value_set=frequent.value))[chunk.items]
            aside.append(_rare(chunk, ~stays, layout))
            if stays.any():
                kept.append(chunk.kept(stays))
    yield from gather.packed(kept, aside, least, spans)


def _rare(chunk: Chunk, events: np.ndarray, layout: clean.Layout) -> pa.RecordBatch:
    owner = np.repeat(np.arange(len(chunk.users)), chunk.lengths)[events]
    text = gather.texts(
        chunk.users.take(pa.array(owner)),
        chunk.item_ids.take(pa.array(chunk.items[events])),
        pa.array(chunk.ratings[events]),
        pa.array(chunk.timestamps[events]),
        layout,
    )
    return gather.set_aside(clean.RARE_ITEM, chunk.files[events], text)
