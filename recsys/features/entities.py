"""What Spark's workers do to make a catalogue: what the events say of each user or item is joined with its row in the source.

Two passes with one shuffle between them, as for the events: both sides are divided by id, and what is known of one id meets in
one partition.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.config import Feature
from recsys.contract.schema import FIRST_SEEN, ITEM_ID, ITEM_INDEX, REASON, TITLE, TRAIN_COUNT, USER_ID, USER_INDEX
from recsys.features import chunks, clean, codes, gather, raw, split, sums, values
from recsys.features.chunks import Chunk, Packed
from recsys.features.codes import LEARNED, TRAINS, Moments
from recsys.features.gather import ASIDE, SUMS, Part
from recsys.features.read import Rows
from recsys.features.sums import NEVER, Sums
from recsys.sources.pieces import ORDER


@dataclasses.dataclass(frozen=True)
class Fitting:
    """Events that an encoding is fitted on, as columns of a catalogue.

    Attributes:
        rows: boolean, whether the user or item has such an event.
        count: of items, the number of these events, int32.
        ratings, squares: of items, the sums of their ratings and of the squares, float64.
    """

    rows: str
    count: str
    ratings: str
    squares: str


TRAINING = Fitting(TRAINS, TRAIN_COUNT, "__train_ratings", "__train_squares")
"""The training part."""
WHOLE = Fitting(LEARNED, "__count", "__ratings", "__squares")
"""All events of the users who are learned from."""
LAST: Final = "__last"
SEEN: Final = "__seen"
"""Boolean column: whether there is an event of the user or item."""
ENTITIES, KEYS, VALUES, MOMENTS = "entities", "keys", "values", "moments"
"""Kinds of parts: all that is known of some users or items; what the driver has to know of them; see `codes.count_values`; the
moments of the declared numbers, on the training part and on the whole."""
_TABLE: Final = "table"
_ROWS_PER_BATCH: Final = 100_000
_ADDED: Final = tuple(name for part in (TRAINING, WHOLE) for name in (part.count, part.ratings, part.squares))
_ADDED_TYPES: Final = (pa.int64(), pa.float64(), pa.float64()) * 2


@dataclasses.dataclass(frozen=True)
class Role:
    """What is special about users or items.

    Attributes:
        name: of the source table.
        key: name of the id column.
        index: name of the index column.
        columns: what is kept of each, besides the id, on the driver too.
        order: of the index.
    """

    name: str
    key: str
    index: str
    columns: tuple[str, ...]
    order: tuple[tuple[str, str], ...]


USERS: Final = Role("users", USER_ID, USER_INDEX, (TRAINS, LEARNED), ((USER_ID, "ascending"),))
ITEMS: Final = Role(
    "items",
    ITEM_ID,
    ITEM_INDEX,
    (SEEN, TRAINS, LEARNED, FIRST_SEEN, LAST, *_ADDED),
    ((TRAIN_COUNT, "descending"), (ITEM_ID, "ascending")),
)


def said(chunk: Chunk, cut: split.Cut, partitions: int) -> Iterator[tuple[str, tuple[int, Part]]]:
    """What a chunk says of its users and of its items: the role, and a part with the number of its partition."""
    for role, batch in ((USERS, seen_users(chunk, cut)), (ITEMS, seen_items(chunk, cut))):
        for number, value in chunks.pack_by(gather.partition_of(batch[role.key], partitions), batch):
            yield role.name, (number, (SEEN, value))


def of_role(found: Iterator[tuple[str, tuple[int, Part]]], role: Role) -> Iterator[tuple[int, Part]]:
    """What is `said` of one of them."""
    return (part for name, part in found if name == role.name)


def seen_users(chunk: Chunk, cut: split.Cut) -> pa.RecordBatch:
    """user_id, TRAINS and LEARNED of each history."""
    trains = split.training(cut, chunk)[chunk.offsets[:-1]]
    learned = split.learned(cut.min_user_events, chunk.lengths)
    return pa.RecordBatch.from_arrays([chunk.users, pa.array(trains), pa.array(learned)], names=[USER_ID, TRAINS, LEARNED])


def seen_items(chunk: Chunk, cut: split.Cut) -> pa.RecordBatch:
    """What a chunk says of its items: item_id, first and last timestamp in training, and the columns of both parts."""
    size = len(chunk.item_ids)
    trains = split.training(cut, chunk)
    item, time = chunk.items[trains], chunk.timestamps[trains]
    first, last = np.full(size, NEVER), np.full(size, -1)
    np.minimum.at(first, item, time)
    np.maximum.at(last, item, time)
    unseen = last < 0
    columns = [chunk.item_ids, pa.array(first, mask=unseen), pa.array(last, mask=unseen)]
    learned = np.repeat(split.learned(cut.min_user_events, chunk.lengths), chunk.lengths)
    for inside in (trains, learned):
        item, rating = chunk.items[inside], chunk.ratings[inside].astype(np.float64)
        columns += [
            pa.array(np.bincount(item, minlength=size), pa.int64()),
            pa.array(np.bincount(item, rating, size), pa.float64()),  # bincount of nothing gives integers
            pa.array(np.bincount(item, rating * rating, size), pa.float64()),
        ]
    return pa.RecordBatch.from_arrays(columns, names=[ITEM_ID, FIRST_SEEN, LAST, *_ADDED])


def described(
    batches: Iterator[pa.RecordBatch],
    rows: Rows,
    layout: clean.Layout,
    role: Role,
    declared: Sequence[raw.Declared],
    partitions: int,
) -> Iterator[tuple[int, Part]]:
    """The rows of a source table with a usable id, with raw features, by the partition of the id; and the others, set ASIDE.

    Args:
        batches: see `pieces.read`.
        rows: the table.
        layout: of the table.
        role: users or items.
        declared: the features.
        partitions: how many there are.
    """
    column = rows.internal(getattr(rows.table, role.key))
    title = None if role == USERS or rows.table.title is None else rows.internal(rows.table.title)
    for batch in map(values.decoded, batches):
        ids, reasons = clean.entities(batch, layout, role.key, column)
        place = {name: batch[name] for name in ORDER}
        text = clean.texts(batch, np.arange(len(batch)), layout)
        columns = {role.key: ids, **{raw.raw_name(one.name): raw.raw_values(batch, one) for one in declared}}
        if role == ITEMS:
            titles = pa.nulls(len(batch), pa.string()) if title is None else raw.texts(batch[title])
            columns[TITLE] = pc.if_else(pc.greater(pc.binary_length(titles), 0), titles, pa.scalar(None, pa.string()))
        good = reasons.is_null().to_numpy(zero_copy_only=False)
        others = pa.RecordBatch.from_pydict({REASON: reasons, sums.TEXT: text, **place}).filter(pa.array(~good))
        if role == USERS:
            gone = clean.forgotten(batch, np.flatnonzero(~good), ids, others[sums.TEXT], layout)
            others = others.filter(pa.array(~gone))
            good &= ~layout.forgotten.are(ids)
        usable = pa.RecordBatch.from_pydict({**columns, sums.TEXT: text, **place}).filter(pa.array(good))
        for number, value in chunks.pack_by(gather.partition_of(usable[role.key], partitions), usable):
            yield number, (_TABLE, value)
        for number, value in chunks.pack_by(others[ORDER[-1]].to_numpy() % partitions, others):
            yield number, (ASIDE, value)


def joined(parts: Iterator[Part], role: Role, kind: pa.DataType, features: Mapping[str, Feature]) -> Iterator[Part]:
    """Second pass: all that is known of the users or items of a partition.

    Args:
        parts: of `said` and `described`.
        role: users or items.
        kind: type of the ids.
        features: of the source table.
    """
    found: dict[str, list[pa.RecordBatch]] = {SEEN: [], _TABLE: [], ASIDE: []}
    for name, value in parts:
        found[name].append(chunks.unpack(value))
    seen = _seen(found[SEEN], role, kind)
    first, repeats = _first_rows(found[_TABLE], role, kind, features)
    ids = pa.chunked_array([*seen[role.key].chunks, *first[role.key].chunks], kind).unique()
    ids = ids.take(pc.sort_indices(ids))
    columns = {role.key: ids}
    for table in (seen, first):
        places = pc.index_in(ids, value_set=table[role.key])
        columns |= {name: table[name].take(places) for name in table.column_names if name != role.key}
    entities = chunks.one_batch(pa.table({name: _filled(name, column) for name, column in columns.items()}))
    for start in range(0, len(entities), _ROWS_PER_BATCH):
        yield ENTITIES, Packed(entities.slice(start, _ROWS_PER_BATCH))
    yield KEYS, Packed(entities.select([role.key, *role.columns]))
    if codes.coded_names(features):
        yield VALUES, Packed(chunks.one_batch(codes.count_values(entities, features)))
    yield MOMENTS, json.dumps([_moments(entities.filter(entities[part.rows]), features) for part in (TRAINING, WHOLE)]).encode()
    aside = [gather.in_order([*found[ASIDE], *repeats])] if found[ASIDE] or repeats else []
    yield from gather.packed([], aside, 0)
    yield SUMS, Sums(rows=first.num_rows).to_json().encode()


def by_value(counts: Packed, partitions: int) -> Iterator[tuple[int, Packed]]:
    """What `codes.count_values` has counted, by the partition of the value."""
    batch = chunks.unpack(counts)
    yield from chunks.pack_by(gather.partition_of(batch[codes.VALUE], partitions), batch)


def frequent(counts: Iterator[Packed], features: Mapping[str, Feature]) -> Iterator[Packed]:
    """The sums of all counts of a partition's values, without values that are too rare for any vocabulary."""
    batches = list(map(chunks.unpack, counts))
    if batches:
        yield Packed(chunks.one_batch(codes.summed(pa.Table.from_batches(batches), features)))


def _seen(batches: Sequence[pa.RecordBatch], role: Role, kind: pa.DataType) -> pa.Table:
    """What the events say of each user or item of a partition."""
    if role == USERS:
        flags = {USER_ID: kind, TRAINS: pa.bool_(), LEARNED: pa.bool_()}
        table = pa.Table.from_batches(batches, pa.schema(flags))
    else:
        numbers = {name: pa.int64() for name in (FIRST_SEEN, LAST)} | dict(zip(_ADDED, _ADDED_TYPES, strict=True))
        added = pa.Table.from_batches(batches, pa.schema({ITEM_ID: kind, **numbers}))
        added = added.sort_by([(name, "ascending") for name in _ADDED])  # the sums must not depend on the order of the parts
        how = {FIRST_SEEN: "min", LAST: "max", **dict.fromkeys(_ADDED, "sum")}
        summed = added.group_by(ITEM_ID, use_threads=False).aggregate(list(how.items()))
        table = summed.rename_columns({f"{name}_{function}": name for name, function in how.items()})
        for part in (TRAINING, WHOLE):
            place = table.column_names.index(part.count)
            table = table.set_column(place, part.count, table[part.count].cast(pa.int32()))
            table = table.append_column(part.rows, pc.greater(table[part.count], 0))
    return table.append_column(SEEN, pa.array(np.ones(table.num_rows, bool)))


def _first_rows(
    batches: Sequence[pa.RecordBatch], role: Role, kind: pa.DataType, features: Mapping[str, Feature]
) -> tuple[pa.Table, list[pa.RecordBatch]]:
    """The first row of each id in source order, without its text and place; and the others, set aside with theirs."""
    kinds = {raw.raw_name(name): raw.type_of(feature) for name, feature in features.items()}
    schema = {role.key: kind, **kinds, **({TITLE: pa.string()} if role == ITEMS else {})}
    if not batches:
        return pa.table({name: pa.array([], found) for name, found in schema.items()}), []
    table = pa.Table.from_batches(batches).combine_chunks()
    table = table.take(pa.array(np.argsort(gather.place(table), kind="stable")))
    again = table[role.key].combine_chunks().dictionary_encode().indices.to_pandas().duplicated().to_numpy()
    first, repeats = table.filter(pa.array(~again)).select(list(schema)), chunks.one_batch(table.filter(pa.array(again)))
    if not len(repeats):
        return first, []
    reasons = pa.array([clean.DUPLICATE] * len(repeats))
    return first, [pa.RecordBatch.from_pydict({REASON: reasons, **{name: repeats[name] for name in (sums.TEXT, *ORDER)}})]


def _filled(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column with what is true of users and items without events."""
    if name in (SEEN, TRAINS, LEARNED):
        return column.fill_null(False)
    return column.fill_null(0) if name in _ADDED else column


def _moments(entities: pa.RecordBatch, features: Mapping[str, Feature]) -> dict[str, tuple[int, float, float]]:
    numbers = {name: entities[raw.raw_name(name)].to_numpy(zero_copy_only=False) for name in codes.numeric_names(features)}
    return {name: dataclasses.astuple(Moments.of(found)) for name, found in numbers.items()}
