"""The network: a causal CNN over packed histories with user and item features, its output tied to the items' input vectors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from recsys.config import Model as ModelConfig
from recsys.model.layers import PACKAGE, Dropout, FeatureBag, FeedForward, GatedCausalConv

GAP_BUCKETS = 32
"""Codes of time gaps: 0 for "no previous event", otherwise 1 + floor(log2(1 + seconds)), at most 31."""

PERIODS = 32
"""Number of periods that dates are divided into."""

NEVER = -1e9
"""Logit of an item that must have zero probability."""
TABLE_BLOCK = 16_384
"""Rows that `whole_table` computes at once."""

Batch = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Spec:
    """Sizes of a network; together with the weights, all that is needed to rebuild it.

    Attributes:
        items: items in the catalogue; indices 1..items.
        item_codes, item_slots, item_numbers: sizes of the items' feature arrays (recsys.model.encoding).
        user_codes, user_slots, user_numbers: the same for users.
        dilations: one convolution block for each.
        use_dates: whether positions are told their period; False for networks that were saved before there were dates.
    """

    items: int
    item_codes: int
    item_slots: int
    item_numbers: int
    user_codes: int
    user_slots: int
    user_numbers: int
    width: int
    kernel_size: int
    dilations: tuple[int, ...]
    feed_forward: int
    dropout: float
    use_ratings: bool
    use_time_gaps: bool
    use_user_features: bool
    use_item_features: bool
    seed: int
    use_dates: bool = False

    @property
    def receptive_field(self) -> int:
        """Positions that one output sees, its own included."""
        return 1 + (self.kernel_size - 1) * sum(self.dilations)


def resolve(
    config: ModelConfig, train_events: int, sizes: dict[str, int], seed: int, sparse: bool = False, ends_apart: bool = False
) -> Spec:
    """Fills in the sizes that the configuration leaves out, by the size of the data.

    The rule: width 64 below 50,000 training events, 128 below 5 million, 256 beyond; dropout .3 below 200,000 training events
    unless they are sparse (FeaturesInfo.sparse), .2 below 5 million, .1 beyond; dilations 1, 2, 4, 8, 1, 2; dates
    if histories are held out where each of them ends (SplitInfo.ends_apart).
    """
    width = 64 if train_events < 50_000 else 128 if train_events < 5_000_000 else 256
    dropout = 0.3 if train_events < 200_000 and not sparse else 0.2 if train_events < 5_000_000 else 0.1
    return Spec(
        **sizes,
        width=config.width or width,
        kernel_size=config.kernel_size,
        dilations=config.dilations or (1, 2, 4, 8, 1, 2),
        feed_forward=config.feed_forward,
        dropout=dropout if config.dropout is None else config.dropout,
        use_ratings=config.use_ratings,
        use_time_gaps=config.use_time_gaps,
        use_user_features=config.use_user_features,
        use_item_features=config.use_item_features,
        seed=seed,
        use_dates=ends_apart if config.use_dates is None else config.use_dates,
    )


@keras.saving.register_keras_serializable(PACKAGE)
class CausalCNN(keras.Model):
    """Scores the next item at every position of packed histories.

    A position holds the event before the one to predict: its item (0 at the start of a history), its rating, the time since
    the previous event, the period of its date, and its place in the history. Nothing about the event to predict goes in.

    The periods are a part of the network: the training data divide time, see `set_periods`, and whatever comes later belongs to
    the last period.

    Args:
        spec: sizes, a Spec or the dict of one.
        item_codes: int32 [items + 1, item_slots], features of the items as codes; row 0 is padding.
        item_numbers: float32 [items + 1, item_numbers].
        item_known: float32 [items + 1], 1 if the item has training events; others are scored by their features alone.

    Inputs (a dict; B rows of T positions):
        item int32 [B, T], rating float32 [B, T], gap int32 [B, T], day int32 [B, T], position int32 [B, T],
        user_codes int32 [B, T, user_slots], user_numbers float32 [B, T, user_numbers].

    Returns:
        Logits float32 [B, T, items + 1]; column 0 is padding and has no meaning.
    """

    def __init__(
        self,
        spec: Spec | dict[str, Any],
        item_codes: Any = None,
        item_numbers: Any = None,
        item_known: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(spec, dict):
            spec = Spec(**{**spec, "dilations": tuple(spec["dilations"])})
        self.spec = spec
        seeds = [int(seed) for seed in np.random.SeedSequence(spec.seed).generate_state(5 + 2 * len(spec.dilations)) // 2]
        policy, width = self.dtype_policy, spec.width
        shapes = {"codes": (spec.items + 1, spec.item_slots), "numbers": (spec.items + 1, spec.item_numbers)}
        self.item_codes = self._constant(item_codes, shapes["codes"], "int32", "item_codes")
        self.item_numbers = self._constant(item_numbers, shapes["numbers"], "float32", "item_numbers")
        self.item_known = self._constant(item_known, (spec.items + 1,), "float32", "item_known")
        normal = keras.initializers.RandomNormal(stddev=0.02, seed=seeds[0])
        self.item_vectors = self.add_weight(
            shape=(spec.items + 1, width), initializer=normal, autocast=False, name="item_vectors"
        )
        self.item_bias = self.add_weight(shape=(spec.items + 1,), initializer="zeros", autocast=False, name="item_bias")
        self.item_features = FeatureBag(spec.item_codes, width, seeds[3], dtype=policy)
        self.user_features = FeatureBag(spec.user_codes, width, seeds[4], dtype=policy)
        self.gap_vectors = keras.layers.Embedding(
            GAP_BUCKETS,
            width,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=0.02, seed=seeds[1]),
            dtype=policy,
        )
        if spec.use_dates:
            self.periods = self._constant(None, (PERIODS - 1,), "int32", "periods")
            self.period_vectors = keras.layers.Embedding(
                PERIODS,
                width,
                embeddings_initializer=keras.initializers.RandomNormal(stddev=0.02, seed=seeds[1] + 1),
                dtype=policy,
            )
        self.rating = keras.layers.Dense(width, use_bias=False, kernel_initializer="zeros", dtype=policy)
        self.input_dropout = Dropout(min(1.5 * spec.dropout, 0.5), seed=seeds[2], dtype=policy)
        self.blocks: list[Any] = []
        for dilation, seed, other in zip(spec.dilations, seeds[5::2], seeds[6::2], strict=True):
            self.blocks.append(GatedCausalConv(width, spec.kernel_size, dilation, spec.dropout, seed, dtype=policy))
            if spec.feed_forward:
                self.blocks.append(FeedForward(width, spec.feed_forward * width, spec.dropout, other, dtype=policy))
        self.norm = keras.layers.LayerNormalization(epsilon=1e-6, dtype="float32")  # its output goes straight into the logits

    def build(self, input_shape: Any = None) -> None:
        """Creates every weight, so that a saved network can be loaded without being called."""
        spec, width = self.spec, self.spec.width
        x = (None, None, width)
        self.item_features.build((None, spec.item_slots), (None, spec.item_numbers))
        self.user_features.build((None, None, spec.user_slots), (None, None, spec.user_numbers))
        self.gap_vectors.build((None, None))
        if spec.use_dates:
            self.period_vectors.build((None, None))
        self.rating.build((None, None, 1))
        for block in self.blocks:
            block.build(*((x, (None, None)) if isinstance(block, GatedCausalConv) else (x,)))
        self.norm.build(x)
        self.built = True

    def set_periods(self, events: np.ndarray) -> None:
        """Divides time into PERIODS periods with about equal numbers of events, as far as whole days allow.

        A day with many events ends several periods at once, which then have no date. Earlier dates belong to the first period.

        Args:
            events: int64 [days], how many there are to learn on each day since 1970.
        """
        upto = np.cumsum(events)
        self.periods.assign(np.searchsorted(upto, np.arange(1, PERIODS) * upto[-1] // PERIODS, side="right"))

    def item_table(self, rows: Any = None) -> Any:
        """Item vectors, float32 [rows, width]: a learned one if the item has training events, plus its features.

        Args:
            rows: int32 [rows], indices of the items; by default all of them, [items + 1, width].
        """
        table = self._of(self.item_vectors, rows) * ops.expand_dims(self._of(self.item_known, rows), -1)
        if self.spec.use_item_features:
            features = self.item_features(self._of(self.item_codes, rows), self._of(self.item_numbers, rows))
            table = table + ops.cast(features, "float32")
        return table

    def item_biases(self, rows: Any = None, known_only: bool = False) -> Any:
        """Added to the items' scores, float32 [rows]: learned, 0 without training events.

        With `known_only`, items without training events (and padding) have zero probability, so that training does not push
        down an item just for being new.
        """
        known = self._of(self.item_known, rows)
        biases = self._of(self.item_bias, rows) * known
        return biases + NEVER * (1.0 - known) if known_only else biases

    def encode(self, batch: Batch, table: Any, training: bool = False) -> Any:
        """State after each position, float32 [B, T, width]; `batch["item"]` holds rows of `table`, 0 is padding."""
        x = self.input_dropout(self._inputs(batch, table), training=training)
        for block in self.blocks:
            x = (
                block(x, batch["position"], training=training)
                if isinstance(block, GatedCausalConv)
                else block(x, training=training)
            )
        return self.norm(x)

    def encode_last(self, batch: Batch, table: Any) -> Any:
        """State after the last position of each row, float32 [B, width]: `encode(batch, table)[:, -1]`.

        Computes each block only where the last output sees it: with the default dilations less than half of the positions.
        """
        length = batch["item"].shape[1]
        places: list[tuple[int, ...]] = [(0,)]
        for block in reversed(self.blocks):
            places.append(block.sees(places[-1], length) if isinstance(block, GatedCausalConv) else places[-1])
        given = places.pop()

        def at(values: Any, wanted: Sequence[int]) -> Any:
            return ops.take(values, [length - 1 - place for place in wanted], axis=1)

        x = self._inputs({name: at(values, given) if values.shape[1] > 1 else values for name, values in batch.items()}, table)
        for block in self.blocks:
            wanted = places.pop()
            x = block.at(x, at(batch["position"], wanted), given, wanted) if isinstance(block, GatedCausalConv) else block(x)
            given = wanted
        return self.norm(x)[:, 0]

    def _inputs(self, batch: Batch, table: Any) -> Any:
        """What the first block sees, [B, T, width]."""
        spec = self.spec
        started = ops.cast(ops.expand_dims(batch["item"] > 0, -1), self.compute_dtype)
        x = ops.cast(ops.take(table, batch["item"], axis=0), self.compute_dtype) * started
        if spec.use_ratings:
            x = x + self.rating(ops.expand_dims(batch["rating"], -1)) * started
        if spec.use_time_gaps:
            x = x + self.gap_vectors(batch["gap"])
        if spec.use_dates:
            period = ops.sum(ops.cast(ops.expand_dims(batch["day"], -1) >= self.periods, "int32"), axis=-1)
            x = x + self.period_vectors(period) * started
        if spec.use_user_features:
            x = x + self.user_features(batch["user_codes"], batch["user_numbers"])
        return x

    def logits(self, state: Any, table: Any, biases: Any = None) -> Any:
        """Scores of the items in `table` [rows, width], float32 [..., rows], for states [..., width].

        State and table are float32 whatever the policy, and so is their product (TF32 on GPUs): in bfloat16, logits near -13
        would be multiples of 1/16, and rounding would decide the order of the best items.

        `biases` float32 [rows] belong to the same items; by default item_biases().
        """
        biases = self.item_biases() if biases is None else biases
        return ops.matmul(state, ops.transpose(table)) + biases

    def call(self, batch: Batch, training: bool = False) -> Any:
        """Logits at every position."""
        table = self.item_table()
        return self.logits(self.encode(batch, table, training), table)

    def get_config(self) -> dict[str, Any]:
        """Sizes; the feature arrays are weights and are restored with them."""
        return {**super().get_config(), "spec": dataclasses.asdict(self.spec)}

    def _of(self, weight: Any, rows: Any) -> Any:
        return weight if rows is None else ops.take(weight, rows, axis=0)

    def _constant(self, value: Any, shape: tuple[int, ...], dtype: str, name: str) -> Any:
        weight = self.add_weight(shape=shape, dtype=dtype, initializer="zeros", trainable=False, autocast=False, name=name)
        if value is not None:
            weight.assign(value)
        return weight


def whole_table(model: CausalCNN) -> Any:
    """item_table() in blocks of rows, for scoring: the features of all items at once would take many times its memory.

    Returns:
        A tensor, float32 [items + 1, width]; a copy that does not follow later changes of the weights.
    """
    import tensorflow as tf

    starts = range(0, model.spec.items + 1, TABLE_BLOCK)
    rows = (tf.range(start, min(start + TABLE_BLOCK, model.spec.items + 1)) for start in starts)
    return tf.concat([model.item_table(block) for block in rows], axis=0)
