"""features.json: sizes, split and encoded features, as the features stage found them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final, Literal

from recsys import storage
from recsys.contract import schema


@dataclasses.dataclass(frozen=True)
class EncodedFeature:
    """One feature of users or items as it lies in its column.

    Attributes:
        name: of the column.
        kind: categorical (int32 codes), multi or text (lists of codes) or numeric (float32, standardised).
        size: number of codes, 0 for "unknown" included; 1 for numeric.
        max_values: greatest number of codes in one row.
        values: what the codes 1, 2, … stand for; None for numeric.
        mean, std: of the numbers before standardisation; None for the other kinds.
    """

    name: str
    kind: Literal["categorical", "multi", "numeric", "text"]
    size: int
    max_values: int = 1
    values: tuple[str, ...] | None = None
    mean: float | None = None
    std: float | None = None


@dataclasses.dataclass(frozen=True)
class Encoding:
    """How users, items and ratings are encoded, fitted on one part of the events.

    Attributes:
        users_dir, items_dir: folders below features/ with the index and the encoded features, one row for each user or item
            in order of index.
        user_features, item_features: the encoded features, in the order of their columns.
        rating_mean, rating_std: of the ratings in that part; 1 and 0 if the source has none.
    """

    users_dir: str
    items_dir: str
    user_features: tuple[EncodedFeature, ...]
    item_features: tuple[EncodedFeature, ...]
    rating_mean: float
    rating_std: float


@dataclasses.dataclass(frozen=True)
class SplitInfo:
    """The split as it was applied.

    Attributes:
        method: see config.Split.
        test_fraction, valid_fraction: see config.Split.
        valid_from, test_from: where validation and test begin with global-time, seconds; None with other methods.
        since: the last moment that the network of an earlier run had learned, seconds: validation and test were taken from
            later events. None if the split is of all events.
    """

    method: Literal["leave-one-out", "per-user-ratio", "global-time", "none"]
    test_fraction: float | None = None
    valid_fraction: float | None = None
    valid_from: int | None = None
    test_from: int | None = None
    since: int | None = None

    @property
    def holds_out(self) -> bool:
        """Whether some events are kept from training."""
        return self.method != "none"

    @property
    def ends_apart(self) -> bool:
        """Whether each history is held out where it ends, perhaps years from the next, instead of all at one moment."""
        return self.holds_out and self.valid_from is None


SPARSE_EVENTS: Final = 200_000
SPARSE_SHARE: Final = 0.03
"""Of all pairs. MovieLens 100K has 5 % of them, MovieLens latest-small and the shop of docs/results.md about 1 %."""


@dataclasses.dataclass(frozen=True)
class FeaturesInfo:
    """The content of features.json.

    Attributes:
        users, items: rows of users/ and items/; indices run from 1 to these.
        events: events in histories/.
        train_events, valid_events, test_events: events of each part, of the users who are learned from; those of the others
            are in `events` alone.
        train_users, train_items: users and items with a training event.
        skipped_users: users with fewer than `min_user_events` events; nothing is learned from them, and they are not evaluated.
        min_user_events: see config.Features.
        max_history: number of events of the user with the most.
        user_id_type, item_id_type: Arrow names of the ids' types.
        has_ratings: whether the source has ratings; without, each is 1.
        latest_timestamp, latest_train_timestamp: of the last event and of the last training event, seconds.
        split: as applied.
        evaluated: fitted on the training part, for the network that is measured.
        published: fitted on all events of the users who are learned from, for the network that recommends. A value has the
            code that it has in `evaluated`; further values follow. The same as `evaluated` if no event is held out.
        rejected: rows set aside, by table and reason.
        options: settings that shaped the features.
        warnings: what the user should know about these features, in sentences.
    """

    users: int
    items: int
    events: int
    train_events: int
    valid_events: int
    test_events: int
    train_users: int
    train_items: int
    skipped_users: int
    min_user_events: int
    max_history: int
    user_id_type: str
    item_id_type: str
    has_ratings: bool
    latest_timestamp: int
    latest_train_timestamp: int | None
    split: SplitInfo
    evaluated: Encoding
    published: Encoding
    rejected: Mapping[str, Mapping[str, int]]
    options: Mapping[str, Any]
    warnings: tuple[str, ...] = ()

    @property
    def sparse(self) -> bool:
        """Whether the training part is small and has few of all pairs of a user and an item, as a shop's does."""
        return bool(self.train_events < min(SPARSE_EVENTS, SPARSE_SHARE * self.train_users * self.train_items))


def read_info(features: str) -> FeaturesInfo:
    """Reads features.json of the features folder.

    Raises:
        DamagedError: the file is missing, or not what was written.
    """
    return storage.read_record(storage.join(features, schema.FEATURES_FILE), _info)


def write_info(features: str, info: FeaturesInfo) -> None:
    """Writes features.json into the features folder."""
    storage.write_json(storage.join(features, schema.FEATURES_FILE), dataclasses.asdict(info))


def _info(found: dict[str, Any]) -> FeaturesInfo:
    encodings = {name: _encoding(found[name]) for name in ("evaluated", "published")}
    warnings = tuple(found.get("warnings", ()))
    return FeaturesInfo(**{**found, **encodings, "split": SplitInfo(**found["split"]), "warnings": warnings})


def _encoding(found: dict[str, Any]) -> Encoding:
    return Encoding(**{**found, **{name: _features(found[name]) for name in ("user_features", "item_features")}})


def _features(found: list[dict[str, Any]]) -> tuple[EncodedFeature, ...]:
    return tuple(EncodedFeature(**{**one, "values": None if one["values"] is None else tuple(one["values"])}) for one in found)
