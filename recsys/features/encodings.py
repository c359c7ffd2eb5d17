"""Writes users/ and items/ as each network sees them: encoded from the training part, and again from all events."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from recsys import storage
from recsys.config import Config
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
from recsys.features import codes, parquet
from recsys.features.codes import MEAN_RATING, POPULARITY, Number, Vocabulary, raw_name
from recsys.features.tables import TRAINING, WHOLE, Catalogue, Part

if TYPE_CHECKING:
    from pyspark.sql import Column

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
    ratings = [_rating_moments(items.facts, part) for part in parts]
    built_in = [_built_in(part, mean if has_ratings else None) for part, (mean, _) in zip(parts, ratings, strict=True)]
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


def _built_in(part: Part, mean: float | None) -> dict[str, Column]:
    """The numeric features that every item has; `mean` is that of all ratings, None where the source has none."""
    from pyspark.sql import functions as F

    found = {POPULARITY: F.log1p(F.col(part.count).cast("double"))}
    if mean is not None:
        total = F.coalesce(F.col(part.ratings), F.lit(0.0)) + SHRINKAGE * mean
        found[MEAN_RATING] = total / (F.col(part.count) + SHRINKAGE)
    return found


def _write(
    catalogue: Catalogue,
    parts: Sequence[Part],
    built_in: Sequence[Mapping[str, Column]],
    most: int,
    features: str,
    folder: str,
    columns: list[str],
) -> list[Written]:
    """Encodes and writes a catalogue once for each part: first with the given columns, then with the index alone."""
    from pyspark.sql import functions as F

    declared = {name: F.col(raw_name(name)) for name, feature in catalogue.features.items() if feature.kind == "numeric"}
    wanted = [(part.rows, {**declared, **own}) for part, own in zip(parts, built_in, strict=True)]
    numbers = codes.fit_numbers(catalogue.frame, wanted)
    vocabularies = codes.fit_vocabularies(catalogue.frame, catalogue.features, most)
    written = [_write_one(catalogue, vocabularies[0], numbers[0], features, folder, columns)]
    if len(parts) > 1:
        differs = bool(catalogue.features or built_in[1])
        other, only = storage.join(PUBLISHED_DIR, folder), [catalogue.index]
        written.append(_write_one(catalogue, vocabularies[1], numbers[1], features, other, only) if differs else written[0])
    return written


def _write_one(
    catalogue: Catalogue, vocabulary: Vocabulary, numbers: Sequence[Number], features: str, folder: str, columns: list[str]
) -> Written:
    declared = catalogue.features
    built_in = [number.name for number in numbers if number.name not in declared]
    scaled = {name: column.alias(name) for name, column in codes.scaled(numbers).items()}
    wanted = [scaled.get(name, raw_name(name)) for name in (*declared, *built_in)]
    frame = catalogue.frame.select(*columns, *wanted)
    transform = partial(codes.encode, features=declared, vocabulary=vocabulary)
    longest = parquet.write(frame, storage.join(features, folder), transform)
    fitted = {
        number.name: EncodedFeature(number.name, "numeric", 1, mean=number.mean, std=number.deviation) for number in numbers
    }
    for name, values in vocabulary.items():
        fitted[name] = EncodedFeature(name, declared[name].kind, len(values) + 1, longest.get(name, 1), values)
    return folder, tuple(fitted[name] for name in (*declared, *built_in))


def _rating_moments(facts: Mapping[str, Any], part: Part) -> tuple[float, float]:
    """Mean and population standard deviation of the ratings of a part."""
    mean = facts[part.ratings] / facts[part.count]
    variance = max(facts[part.squares] / facts[part.count] - mean * mean, 0.0)
    return codes.settle(mean), codes.settle(math.sqrt(variance))
