"""Leaves out the items with few events, for features.min_item_events."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.contract.schema import ITEM_ID
from recsys.features import chunks, clean, gather
from recsys.features.chunks import BYTES, Chunk
from recsys.features.gather import ASIDE, HISTORIES, KIND

if TYPE_CHECKING:
    from pyspark import Broadcast
    from pyspark.sql import DataFrame

COUNT: Final = "n"


def left_out(parts: DataFrame, item_type: str, fewest: int, least: int, layout: clean.Layout) -> DataFrame:
    """The same partitions without the events of rare items, which are set aside.

    Args:
        parts: (KIND, BYTES) of `gather.gather`, cached.
        item_type: Spark type of the ids.
        fewest: events that an item must have.
        least: features.min_user_events.
        layout: of the source's table.
    """
    from pyspark.sql import functions as F

    histories = parts.where(F.col(KIND) == HISTORIES).select(BYTES)
    counts = (
        histories.mapInArrow(_counts, f"{ITEM_ID} {item_type}, {COUNT} bigint").groupBy(ITEM_ID).agg(F.sum(COUNT).alias(COUNT))
    )
    frequent = counts.where(F.col(COUNT) >= fewest).select(ITEM_ID).toArrow()[ITEM_ID].combine_chunks()
    shared = parts.sparkSession.sparkContext.broadcast(frequent)
    return parts.mapInArrow(partial(_without, frequent=shared, least=least, layout=layout), parts.schema)


def _counts(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for chunk in chunks.unpack_chunks(batches):
        counts = np.bincount(chunk.items, minlength=len(chunk.item_ids))
        yield pa.RecordBatch.from_arrays([chunk.item_ids, pa.array(counts, pa.int64())], names=[ITEM_ID, COUNT])


def _without(
    batches: Iterator[pa.RecordBatch], frequent: Broadcast[pa.Array], least: int, layout: clean.Layout
) -> Iterator[pa.RecordBatch]:
    aside: list[pa.RecordBatch] = []
    kept: list[Chunk] = []
    for batch in batches:
        for kind, value in zip(batch[KIND].to_pylist(), batch[BYTES], strict=True):
            if kind == ASIDE:
                aside.append(chunks.unpack(value))
            elif kind == HISTORIES:
                chunk = chunks.unpack_chunk(value)
                stays = np.asarray(pc.is_in(chunk.item_ids, value_set=frequent.value))[chunk.items]
                aside.append(_rare(chunk, ~stays, layout))
                if stays.any():
                    kept.append(chunk.kept(stays))
    yield from gather.parts(kept, aside, least)


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
