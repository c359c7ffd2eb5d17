"""Configuration: every setting with its default and its meaning, as frozen dataclasses. recsys.settings fills them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

Baseline = Literal["popularity", "recent-popularity", "item-knn", "ease", "als", "transitions"]
"""The traditional methods, by name."""


Kind = Literal["categorical", "multi", "numeric", "text"]
"""What a feature is."""


@dataclasses.dataclass(frozen=True)
class Feature:
    """One feature of users or items, made from one source column (or from several 0/1 columns, `flags`)."""

    kind: Kind
    column: str | None = None
    """Source column; the feature's own name when left out."""
    separator: str = "|"
    """Between the values of a `multi` column."""
    pattern: str | None = None
    """Regular expression whose first group is taken from the column, such as the year from a title."""
    flags: tuple[str, ...] = ()
    """For `multi`: source columns that hold 1 where the value of that name applies (MovieLens 100K's genres)."""


@dataclasses.dataclass(frozen=True)
class Table:
    """Where one source table lies and how it is read. Ids, times and features are columns named as in the files."""

    path: str
    """File, folder or glob, or the URI of one; a relative one is relative to the configuration file. `.gz` is understood."""
    format: Literal["auto", "csv", "parquet"] = "auto"
    delimiter: str = ","
    header: bool = True
    names: tuple[str, ...] = ()
    """Names of the columns in their order, for files without a header."""
    encoding: str = "utf-8"
    quoting: bool = True
    """Whether `"` quotes a value (doubled inside it, as in RFC 4180)."""
    user_id: str | None = None
    item_id: str | None = None
    rating: str | None = None
    timestamp: str | None = None
    title: str | None = None
    features: Mapping[str, Feature] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Synthetic:
    """Size of the built-in data set."""

    users: int = 1000
    items: int = 500
    mean_events: int = 40
    """Mean number of events a user."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the events come from."""

    dataset: str = "synthetic"
    """synthetic, tabular, or a MovieLens data set: see `recsys dataset list`."""
    path: str | None = None
    """A zip or folder of a MovieLens data set that is already there."""
    cache_dir: str | None = None
    """Where downloads are kept; $XDG_CACHE_HOME/recsys or ~/.cache/recsys when left out."""
    mirror: str | None = None
    """Base URL to download MovieLens from instead of GroupLens' own."""
    id_type: Literal["auto", "string", "integer"] = "auto"
    """Type of the ids of CSV files: `auto` keeps them as text, exactly as they stand. Parquet files keep their own type."""
    timestamp_unit: Literal["s", "ms", "us", "ns", "iso8601"] = "s"
    interactions: Table | None = None
    users: Table | None = None
    items: Table | None = None
    synthetic: Synthetic = Synthetic()


@dataclasses.dataclass(frozen=True)
class Features:
    """Cleaning and encoding."""

    min_user_events: int = 1
    """Users with fewer events neither train the model nor are evaluated; they still get recommendations."""
    min_item_events: int = 1
    """Items with fewer events are left out of the catalogue, with their events."""
    max_vocabulary: int = 5000
    """At most so many values of a categorical, multi-valued or text feature; the rarer ones become unknown."""
    max_rejected: float = 0.5
    """More rejected rows than this share of a table is an error instead of a warning."""


@dataclasses.dataclass(frozen=True)
class Split:
    """How the events are divided into training, validation and test."""

    method: Literal["leave-one-out", "per-user-ratio", "global-time", "none"] = "global-time"
    test_fraction: float = 0.2
    valid_fraction: float = 0.1
    """Of the events that are not test events."""
    min_events: int = 20
    """Least number of validation events and of test events; fewer is an error."""
    allow_few: bool = False
    """Go on with fewer than `min_events`; the warning stands in run.json."""


@dataclasses.dataclass(frozen=True)
class Spark:
    """The engine of the features stage."""

    master: str = "local[*]"
    conf: Mapping[str, str] = dataclasses.field(default_factory=dict)
    memory: str | None = None
    """Heap of the driver, such as 2g; a share of the container's memory limit when left out."""


@dataclasses.dataclass(frozen=True)
class Model:
    """The causal CNN. A size left out follows from the data: recsys.model.network.resolve."""

    width: int | None = None
    kernel_size: int = 3
    dilations: tuple[int, ...] | None = None
    feed_forward: int = 0
    """Hidden width of the feed-forward blocks as a multiple of `width`; 0: none."""
    dropout: float | None = None
    use_ratings: bool = True
    use_time_gaps: bool = True
    use_user_features: bool = True
    use_item_features: bool = True


@dataclasses.dataclass(frozen=True)
class Training:
    """Optimisation. A value left out follows from the data or the hardware."""

    epochs: int | None = None
    refit_epochs: int | None = None
    """Epochs on all events, from the best weights, before recommending; 0 publishes the evaluated model."""
    batch_tokens: int | None = None
    """Positions a step."""
    row_length: int = 512
    """Positions a row: histories are packed into rows of this length."""
    learning_rate: float = 2e-3
    cold_starts: float | None = None
    """Share of additional positions where a history begins anew: one event of a user, drawn at random, is predicted from the
    user's features alone, as users without events are scored."""
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    negatives: int | None = None
    """Items drawn for each step's sampled softmax; 0: the softmax over all items, which is the rule up to 50,000 items."""
    patience: int | None = None
    """Epochs without a better validation NDCG@10 before training stops."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    xla: Literal["auto", "on", "off"] = "auto"


@dataclasses.dataclass(frozen=True)
class Recommend:
    """What is written for every user."""

    k: int = 10
    block_users: int = 1024
    """Users scored at once, an upper bound: fewer where the catalogue is large."""
    rows_per_file: int = 5_000_000


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Measurement beside the traditional methods."""

    baselines: tuple[Baseline, ...] = ("popularity", "recent-popularity", "item-knn", "ease", "als", "transitions")
    max_users: int = 50_000
    """At most so many users, drawn once with the seed, are evaluated."""
    bootstrap: int = 1000
    """Resamples of the paired bootstrap."""


@dataclasses.dataclass(frozen=True)
class Publish:
    """The quality gate, and what is kept of the runs before."""

    min_ndcg: float = 0.0
    """Least NDCG@10 on the test events."""
    must_beat: tuple[Baseline, ...] = ("popularity",)
    """Baselines whose NDCG@10 the model must reach."""
    max_drop: float = 0.1
    """Greatest relative loss of NDCG@10 against the run published before, where both used the same split."""
    keep_runs: int = 0
    """Once a run is published, so many published runs stay, and so many of the older ones that were refused or never
    finished; the rest is deleted. The run published just before stays too, for those who still read it. 0: all stay."""


@dataclasses.dataclass(frozen=True)
class Config:
    """The whole configuration of one run."""

    output: str = "out"
    seed: int = 0
    source: Source = Source()
    features: Features = Features()
    split: Split = Split()
    spark: Spark = Spark()
    model: Model = Model()
    training: Training = Training()
    recommend: Recommend = Recommend()
    evaluation: Evaluation = Evaluation()
    publish: Publish = Publish()
