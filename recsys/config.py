"""Every setting: its default, its bounds and its meaning. recsys.settings fills them.

A value that a class accepts never makes a later stage fail. The docstrings are the descriptions in the JSON Schema
(`recsys config --schema`). The classes are pydantic's dataclasses: `dataclasses.replace` checks the new values as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from recsys.config_source import Feature, Source, Synthetic, Table
from recsys.setting_types import (
    CHECKED,
    LIST,
    NUMBER,
    NUMBER_OR_AUTO,
    UNIQUE,
    Column,
    Count,
    Dilations,
    Master,
    Memory,
    Name,
    OpenShare,
    Path,
    Share,
    Size,
    TextFile,
    UrlOrAuto,
    YesNoOrAuto,
    check_positions,
)

__all__ = [
    "Baseline",
    "Config",
    "Evaluation",
    "Feature",
    "Features",
    "Model",
    "Monitoring",
    "Publish",
    "Recommend",
    "Refresh",
    "Source",
    "Spark",
    "Split",
    "Synthetic",
    "Table",
    "Training",
]

Baseline = Literal["popularity", "recent-popularity", "item-knn", "ease", "als", "transitions"]
"""The traditional methods, by name."""
Baselines = Annotated[tuple[Baseline, ...], UNIQUE, LIST]


@dataclass(frozen=True, config=CHECKED)
class Features:
    """Cleaning and encoding."""

    min_user_events: Size = 1
    """Users with fewer events are left out of training and evaluation. They still get recommendations."""
    min_item_events: Size = 1
    """Items with fewer events are dropped, together with their events."""
    max_vocabulary: Annotated[int, Field(ge=1, le=1_000_000), NUMBER] = 5000
    """Values kept of each categorical, multi or text feature; rarer ones become unknown. As many again if new since the cut."""
    max_rejected: Share = 0.5
    """Share of rejected rows per table up to which there is a warning; beyond, an error."""


@dataclass(frozen=True, config=CHECKED)
class Split:
    """How events are split into training, validation and test."""

    method: Literal["leave-one-out", "per-user-ratio", "global-time", "none"] = "global-time"
    """`global-time` tests on everything after a point in time; `none` holds nothing out."""
    test_fraction: OpenShare = 0.2
    """Share of the events held out for the test."""
    valid_fraction: OpenShare = 0.1
    """Share of the remaining events held out for validation."""
    min_events: Count = 20
    """Minimum number of validation events and of test events; fewer is an error."""
    allow_few: bool = False
    """Continue with fewer than `min_events`; the warning is recorded in run.json."""


@dataclass(frozen=True, config=CHECKED)
class Spark:
    """The engine of the features stage."""

    master: Master = "local[*]"
    """Spark master URL: local, local[N], local[*], local[N,F], spark://HOST:PORT, k8s://URL or yarn."""
    conf: Mapping[Name, str] = Field(default_factory=dict)
    """Spark properties; they override the ones that recsys sets."""
    memory: Memory = None
    """Heap of the driver, such as 2g, at least 512m. Defaults to a share of the container's memory limit."""


@dataclass(frozen=True, config=CHECKED)
class Model:
    """The causal CNN. Sizes that are left out follow from the data (recsys.model.network.resolve)."""

    width: Annotated[int | None, Field(ge=1, le=4096), NUMBER_OR_AUTO] = None
    """Width of the embeddings and layers."""
    kernel_size: Annotated[int, Field(ge=1, le=64), NUMBER] = 3
    """Positions that each convolution sees."""
    dilations: Dilations = None
    """One block per entry: the distance between the positions that its convolution sees."""
    feed_forward: Annotated[int, Field(ge=0, le=16), NUMBER] = 0
    """Hidden width of the feed-forward blocks as a multiple of `width`; 0 leaves them out."""
    dropout: Annotated[float | None, Field(ge=0, lt=1), NUMBER_OR_AUTO] = None
    """Share of activations dropped in training."""
    use_ratings: bool = True
    """Feed the ratings of past events to the network."""
    use_time_gaps: bool = True
    """Feed the time between past events to the network."""
    use_dates: YesNoOrAuto = None
    """Feed the date of past events to the network, as one of 32 periods; `auto`: unless all histories are cut at one moment."""
    use_user_features: bool = True
    """Feed the users' features to the network."""
    use_item_features: bool = True
    """Feed the items' features to the network."""

    @model_validator(mode="after")
    def _check_receptive_field(self) -> Self:
        check_positions(self.kernel_size, self.dilations or ())
        return self


@dataclass(frozen=True, config=CHECKED)
class Training:
    """Optimisation. Values that are left out follow from the data or the hardware."""

    epochs: Annotated[int | None, Field(ge=1, le=10_000), NUMBER_OR_AUTO] = None
    """Passes over the training events."""
    refit_epochs: Annotated[int | None, Field(ge=0, le=10_000), NUMBER_OR_AUTO] = None
    """Epochs of each refit: on all events before the test, and then on all events; 0 leaves both out."""
    batch_tokens: Annotated[int | None, Field(ge=1, le=1_048_576), NUMBER_OR_AUTO] = None
    """Positions per step."""
    row_length: Annotated[int, Field(ge=1, le=65_536), NUMBER] = 512
    """Positions per row; histories are packed into rows of this length."""
    learning_rate: Annotated[float, Field(gt=0, le=1), NUMBER] = 2e-3
    """Peak learning rate."""
    cold_starts: Annotated[float | None, Field(ge=0, le=1), NUMBER_OR_AUTO] = None
    """Extra positions, as a share of all, that predict a random event from the user's features alone, as for new users."""
    weight_decay: Annotated[float, Field(ge=0, le=1), NUMBER] = 0.0
    """Weight decay of AdamW."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1), NUMBER] = 0.0
    """Share of the target's probability that is spread over all items."""
    transition_smoothing: Annotated[float | None, Field(ge=0, lt=1), NUMBER_OR_AUTO] = None
    """Share of the target's probability that goes to what follows the last events in other histories; full softmax only."""
    horizon: Annotated[int | None, Field(ge=1, le=100), NUMBER_OR_AUTO] = None
    """Events ahead that a position learns, near ones most; `auto`: 1 or 4, by the split and the size. Full softmax only."""
    negatives: Annotated[int | None, Field(ge=0, le=1_000_000), NUMBER_OR_AUTO] = None
    """Items sampled per step for the sampled softmax; 0 uses the full softmax, the default up to 50,000 items."""
    patience: Annotated[int | None, Field(ge=1, le=10_000), NUMBER_OR_AUTO] = None
    """Epochs without a better validation NDCG@10 before training stops."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """`gpu` fails if there is none; `auto` falls back to the CPU. Training uses several if its steps are large enough."""
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    """Numeric precision; `auto` chooses by the hardware."""
    xla: Literal["auto", "on", "off"] = "auto"
    """Whether to compile training steps with XLA; `auto`: on, or as measured if training is long. Scoring always uses it."""
    deterministic: Literal["auto", "on", "off"] = "auto"
    """Whether a rerun gives the same bits, training and scoring; `auto`: on CPUs, not on GPUs, which it slows down."""


@dataclass(frozen=True, config=CHECKED)
class Refresh:
    """Going on from an earlier run's network instead of training a new one."""

    warm_start: Column = None
    """`latest`, the published run, or a run's id: its network learns the new events. Needs split.method global-time or none."""
    full_every: Count = 7
    """Train a new network after so many warm starts in a row; 0 sets no limit."""
    max_new: Share = 0.3
    """Train a new network if more than this share of the events is new."""
    replay: Annotated[float, Field(ge=0, le=1000), NUMBER] = 1.0
    """Events of other users to learn again, for each event of the users with new events."""
    epochs: Annotated[int | None, Field(ge=1, le=10_000), NUMBER_OR_AUTO] = None
    """Passes over those events, at most."""
    merge: bool = True
    """Take over the histories of that run, and read only files of events that it has not read; the result is the same."""
    exact_forgetting: bool = False
    """Train a new network if the weights come from events of users to forget (source.forget)."""


@dataclass(frozen=True, config=CHECKED)
class Recommend:
    """What is written for each user."""

    k: Annotated[int, Field(ge=1), NUMBER] = 10
    """Recommendations per user."""
    block_users: Size = 1024
    """Users read, scored and written at a time; fewer than 1024 take as long as 128 to 1024, by the catalogue's size."""
    rows_per_file: Size = 5_000_000
    """Most rows per Parquet file."""


@dataclass(frozen=True, config=CHECKED)
class Evaluation:
    """Comparison with the traditional methods."""

    baselines: Baselines = get_args(Baseline)
    """Traditional methods to compare with."""
    max_users: Size = 50_000
    """Maximum number of users evaluated; a random sample, drawn once with the seed."""
    bootstrap: Annotated[int, Field(ge=1, le=1_000_000), NUMBER] = 1000
    """Resamples of the paired bootstrap."""


@dataclass(frozen=True, config=CHECKED)
class Publish:
    """The quality gate, and how many old runs are kept."""

    min_ndcg: Share = 0.0
    """Minimum NDCG@10 on the test events."""
    must_beat: Baselines = ("popularity",)
    """Baselines whose NDCG@10 the model must reach."""
    max_drop: Share = 0.1
    """Maximum relative drop of NDCG@10 against the run before: with refresh.warm_start on the same events and significant,
    otherwise against what the published run reached on its own, if both used the same split."""
    allow_unmeasured: bool = False
    """Publish although nothing was measured. Not needed with split.method none, which holds nothing out."""
    keep_runs: Count = 0
    """Published runs to keep, and as many unpublished ones; publishing deletes older runs. The previously published run
    always stays, since someone may still be reading it. 0 keeps all."""


@dataclass(frozen=True, config=CHECKED)
class Monitoring:
    """What Prometheus is told at the end of `recsys run`; see docs/monitoring.md."""

    name: Name = "recsys"
    """Name of the job, which tells it from others of yours: a label of every figure, also for OpenLineage and MLflow."""
    textfile: TextFile = None
    """File for node exporter's textfile collector, such as /textfile/recsys.prom."""
    pushgateway: UrlOrAuto = None
    """URL of a Pushgateway."""


@dataclass(frozen=True, config=CHECKED)
class Config:
    """The configuration of a run."""

    output: Path = "out"
    """Folder or URI of the output."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 2), NUMBER] = 0
    """Seed of everything random."""
    source: Source = Source()
    features: Features = Features()
    split: Split = Split()
    spark: Spark = Spark()
    model: Model = Model()
    training: Training = Training()
    refresh: Refresh = Refresh()
    recommend: Recommend = Recommend()
    evaluation: Evaluation = Evaluation()
    publish: Publish = Publish()
    monitoring: Monitoring = Monitoring()

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.source.dataset == "tabular" and self.source.interactions is None:
            raise ValueError(
                "source.dataset tabular needs [source.interactions] in a configuration file; docs/data.md describes it"
            )
        return self

    @model_validator(mode="after")
    def _check_refresh(self) -> Self:
        if self.refresh.warm_start is not None and self.split.method not in ("global-time", "none"):
            raise ValueError(
                f"refresh.warm_start needs split.method global-time or none, not {self.split.method}: the earlier network has "
                "learned all events of its time, so only later ones can measure it"
            )
        return self
