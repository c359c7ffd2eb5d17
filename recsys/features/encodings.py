"""Writes users/ and items/ as each network sees them: encoded from the training part, and again from all events."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys import storage
from recsys.config import Config, Feature
from recsys.contract.features_info import EncodedFeature, Encoding
from recsys.contract.schema import (
    FIRST_SEEN,
    ITEM_ID,
    ITEM_INDEX,
    ITEMS_DIR,
    PUBLISHED_DIR,
    TITLE,
    TRAIN_COUNT,
    USER_ID,
    USER_INDEX,
    USERS_DIR,
)
from recsys.features import chunks, codes, parquet
from recsys.features.chunks import Packed
from recsys.features.codes import MEAN_RATING, POPULARITY, Moments, Number, Vocabulary
from recsys.features.entities import TRAINING, WHOLE, Fitting, Role
from recsys.features.raw import raw_name
from recsys.features.tables import Catalogue

if TYPE_CHECKING:
    from pyspark import Broadcast

SHRINKAGE: Final = 10.0
"""mean_rating is (sum of the item's ratings + 10 times the mean of all) / (number of its ratings + 10)."""

Written = tuple[str, tuple[EncodedFeature, ...]]
"""A folder below features/, and the features in it."""


def write(
    users: Catalogue, items: Catalogue, has_ratings: bool, held_out: bool, config: Config, features: str
) -> tuple[Encoding, Encoding]:
    """Writes users/ and items/, and published/ where that differs.

    Args:
        users: all users.
        items: all items.
        has_ratings: whether the source has ratings.
        held_out: whether the training part is less than all events.
        config: features.max_vocabulary is read.
        features: path or URI of the features folder.

    Returns:
        The encodings of the evaluated and of the published network; one and the same where nothing is held out.
    """
    parts = (TRAINING, WHOLE) if held_out else (TRAINING,)
    ratings = [_rating_moments(items, part) for part in parts]
    built_in = [_built_in(items, part, mean if has_ratings else None) for part, (mean, _) in zip(parts, ratings, strict=True)]
    most = config.features.max_vocabulary
    users_written = _write(users, parts, [{} for _ in parts], most, features, USERS_DIR, [USER_INDEX, USER_ID])
    columns = [ITEM_INDEX, ITEM_ID, TITLE, TRAIN_COUNT, FIRST_SEEN]
    items_written = _write(items, parts, built_in, most, features, ITEMS_DIR, columns)
    encodings = [
        Encoding(users_dir, items_dir, user_features, item_features, mean, deviation)
        for (users_dir, user_features), (items_dir, item_features), (mean, deviation) in zip(
            users_written, items_written, ratings, strict=True
        )
    ]
    return encodings[0], encodings[-1]


def _built_in(items: Catalogue, part: Fitting, mean: float | None) -> dict[str, np.ndarray]:
    """The numeric features that every item has, in order of the index; `mean` is that of all ratings, None without any."""
    count = items.numbers(part.count).astype(np.float64)
    found = {POPULARITY: np.log1p(count)}
    if mean is not None:
        found[MEAN_RATING] = (items.numbers(part.ratings) + SHRINKAGE * mean) / (count + SHRINKAGE)
    return found


def _write(
    catalogue: Catalogue,
    parts: Sequence[Fitting],
    built_in: Sequence[Mapping[str, np.ndarray]],
    most: int,
    features: str,
    folder: str,
    columns: list[str],
) -> list[Written]:
    """Encodes and writes a catalogue once for each part: first with the given columns, then with the index alone."""
    vocabularies = codes.fit_vocabularies(catalogue.counts, catalogue.features, most)
    outputs = []
    for place, (part, own) in enumerate(zip(parts, built_in, strict=True)):
        if place and not (catalogue.features or own):
            break  # there is nothing to encode
        moments = dict(catalogue.moments[place])
        moments |= {name: Moments.of(values[catalogue.numbers(part.rows)]) for name, values in own.items()}
        numbers = {name: Number.fitted(name, found) for name, found in moments.items()}
        path = storage.join(PUBLISHED_DIR, folder) if place else folder
        only = [catalogue.role.index] if place else columns
        scaled = {name: numbers[name].scaled(values) for name, values in own.items()}
        outputs.append(_Output(path, only, vocabularies[place], numbers, scaled))
    longest = _write_files(catalogue, outputs, features)
    written = [(output.folder, output.described(catalogue.features, longest)) for output in outputs]
    return [*written, *[written[0]] * (len(parts) - len(written))]


@dataclasses.dataclass(frozen=True)
class _Output:
    """One encoding of a catalogue.

    Attributes:
        folder: below features/.
        columns: what is written of each row before its features.
        vocabulary: of the coded features.
        numbers: the numeric features.
        built_in: encoded values of those that are not declared, in order of the index.
    """

    folder: str
    columns: list[str]
    vocabulary: Vocabulary
    numbers: Mapping[str, Number]
    built_in: Mapping[str, np.ndarray]

    def encoded(self, rows: pa.RecordBatch, index: np.ndarray, features: Mapping[str, Feature]) -> pa.RecordBatch:
        """The rows as they are written."""
        found = {name: rows[name] for name in self.columns}
        for name, feature in features.items():
            raw = rows[raw_name(name)]
            if name in self.numbers:
                found[name] = pa.array(self.numbers[name].scaled(raw.to_numpy(zero_copy_only=False)))
            else:
                found[name] = codes.encode(raw, feature, self.vocabulary[name])
        found |= {name: pa.array(values[index - 1]) for name, values in self.built_in.items()}
        return pa.RecordBatch.from_pydict(found)

    def described(self, features: Mapping[str, Feature], longest: Mapping[str, int]) -> tuple[EncodedFeature, ...]:
        """The features for features.json."""
        found = []
        for name in (*features, *self.built_in):
            if name in self.numbers:
                number = self.numbers[name]
                found.append(EncodedFeature(name, "numeric", 1, mean=number.mean, std=number.deviation))
            else:
                values = self.vocabulary[name]
                length = longest.get(storage.join(self.folder, name), 1)
                found.append(EncodedFeature(name, features[name].kind, len(values) + 1, length, values))
        return tuple(found)


def _write_files(catalogue: Catalogue, outputs: Sequence[_Output], features: str) -> dict[str, int]:
    """Writes all files; returns the most values of a row of each list column, by folder and name."""
    files = parquet.files_for(catalogue.rows)
    context = catalogue.parts.context
    encode = partial(
        _encoded,
        ids=context.broadcast(catalogue.ids),
        outputs=context.broadcast(list(outputs)),
        role=catalogue.role,
        features=catalogue.features,
        rows_per_file=parquet.rows_per_file(catalogue.rows, files),
        files=files,
    )
    work = partial(
        _write_part,
        folders=[storage.join(features, output.folder) for output in outputs],
        index=catalogue.role.index,
        files=files,
    )
    written = catalogue.entities.flatMap(encode).partitionBy(files * len(outputs), int).mapPartitions(work).collect()
    longest: dict[str, int] = {}
    for place, name, length in written:
        key = storage.join(outputs[place].folder, name)
        longest[key] = max(longest.get(key, 0), length)
    return longest


def _encoded(
    rows: pa.RecordBatch,
    ids: Broadcast[pa.Array],
    outputs: Broadcast[list[_Output]],
    role: Role,
    features: Mapping[str, Feature],
    rows_per_file: int,
    files: int,
) -> Iterator[tuple[int, Packed]]:
    """The rows as each output writes them, by number of the file, counted through all outputs."""
    index = pc.index_in(rows[role.key], value_set=ids.value).to_numpy() + np.int32(1)
    rows = rows.append_column(role.index, pa.array(index))
    for place, output in enumerate(outputs.value):
        encoded = output.encoded(rows, index, features)
        for number, value in chunks.pack_by((index - 1) // rows_per_file, encoded):
            yield place * files + number, value


def _write_part(
    placed: Iterator[tuple[int, Packed]], folders: Sequence[str], index: str, files: int
) -> Iterator[tuple[int, str, int]]:
    """Writes the files of this partition; gives for each list column number of the folder, name and most values of a row."""
    for number, rows in chunks.grouped(placed).items():
        place, file = divmod(number, files)
        table = parquet.write_sorted(rows, [index], folders[place], file)
        for field in table.schema:
            if pa.types.is_list(field.type):
                yield place, field.name, pc.max(pc.list_value_length(table[field.name])).as_py() or 0


def _rating_moments(items: Catalogue, part: Fitting) -> tuple[float, float]:
    """Mean and population standard deviation of the ratings of a part."""
    count, ratings, squares = (float(items.numbers(name).sum()) for name in (part.count, part.ratings, part.squares))
    mean = ratings / count
    variance = max(squares / count - mean * mean, 0.0)
    return codes.settle(mean), codes.settle(math.sqrt(variance))
