"""The network, or the whole blend, as a SavedModel: for serving without this package.

Signature `serving_default`, for any number of users and any length L of history:
    items int32 [users, L] in time order, left-aligned, padded with 0; ratings float32 [users, L];
    timestamps int64 [users, L] in seconds; user_codes int32 [users, slots] and user_numbers float32 [users, features] as in
    the users' folder of the published encoding in features.json (recsys.model.encoding).
Returns:
    item_index int32 [users, k] best first, score float32 [users, k]; k = min(100, items).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from recsys import storage
from recsys.contract.schema import DAY
from recsys.methods.blend import Counts, whole_biases
from recsys.methods.weights import Weights
from recsys.model.encoding import Encoder
from recsys.model.network import GAP_BUCKETS, CausalCNN, whole_table

SERVED_ITEMS = 100

Scores = Callable[[Any, Any], Any]
"""Scores [users, items + 1] of items [users, L] and the network's logits [users, items + 1]."""


def save_for_serving(model: CausalCNN, uri: str, encoder: Encoder) -> None:
    """Writes the network alone, as the module's text describes it; only when its stage is finished does the folder count."""
    import tensorflow as tf

    with storage.scratch("serving") as folder:
        _save(model, folder, encoder, tf.Module(), lambda items, logits: logits)
        storage.delete_folder(uri)
        storage.create_folder(uri)
        storage.upload_folder(Path(folder), uri)


def save_blend_for_serving(model: CausalCNN, folder: str, encoder: Encoder, counts: Counts, weights: Weights) -> None:
    """Writes the blend of a network with counts into an empty local folder.

    It scores as Blend.top does, at the last moment of the trends; see recsys.methods.blend for the formula.
    """
    import tensorflow as tf

    module = tf.Module()
    _save(model, folder, encoder, module, _blended(module, counts, weights))


def _save(model: CausalCNN, folder: str, encoder: Encoder, module: Any, scored: Scores) -> None:
    import tensorflow as tf

    module.network, module.table = model, tf.Variable(whole_table(model), trainable=False)
    best = min(SERVED_ITEMS, model.spec.items)
    mean, deviation = encoder.rating_mean, encoder.rating_std

    @tf.function(  # type: ignore[untyped-decorator]
        autograph=False,
        input_signature=[
            tf.TensorSpec([None, None], tf.int32, "items"),
            tf.TensorSpec([None, None], tf.float32, "ratings"),
            tf.TensorSpec([None, None], tf.int64, "timestamps"),
            tf.TensorSpec([None, model.spec.user_slots], tf.int32, "user_codes"),
            tf.TensorSpec([None, model.spec.user_numbers], tf.float32, "user_numbers"),
        ],
    )
    def serve(items: Any, ratings: Any, timestamps: Any, user_codes: Any, user_numbers: Any) -> dict[str, Any]:
        users, length = tf.shape(items)[0], model.spec.receptive_field
        there = items > 0
        end = tf.reduce_sum(tf.cast(there, tf.int32), axis=1)
        gaps = tf.cast(timestamps[:, 1:] - timestamps[:, :-1], tf.float64)
        codes = 1 + tf.cast(
            tf.floor(tf.math.log(1.0 + tf.maximum(gaps, 0.0)) / tf.math.log(tf.constant(2.0, tf.float64))), tf.int32
        )
        codes = tf.pad(tf.minimum(codes, GAP_BUCKETS - 1), [[0, 0], [1, 0]])[:, : tf.shape(items)[1]]
        position = end[:, None] + np.arange(1 - length, 1)[None, :]  # of the last `length` positions, right-aligned
        started = position > 0
        event = tf.maximum(position - 1, 0)

        def take(values: Any) -> Any:
            padded = tf.pad(values, [[0, 0], [0, 1]])
            return tf.where(started, tf.gather(padded, event, batch_dims=1), tf.zeros([], values.dtype))

        batch = {
            "item": take(items),
            "rating": take((ratings - mean) / deviation),
            "gap": take(codes),
            "day": take(tf.cast(timestamps // DAY, tf.int32)),
            "position": tf.maximum(position, 0),
            "user_codes": user_codes[:, None, :],
            "user_numbers": user_numbers[:, None, :],
        }
        table = tf.convert_to_tensor(module.table)
        scores = scored(items, model.logits(model.encode_last(batch, table), table))
        rows = tf.repeat(tf.range(users)[:, None], tf.shape(items)[1], axis=1)
        seen = tf.stack([tf.reshape(rows, [-1]), tf.reshape(items, [-1])], axis=1)
        scores = tf.tensor_scatter_nd_min(scores, seen, tf.fill([tf.shape(seen)[0]], scores.dtype.min))
        scores = tf.concat([tf.fill([users, 1], scores.dtype.min), scores[:, 1:]], axis=1)
        values, indices = tf.math.top_k(scores, best)
        return {"item_index": indices, "score": values}

    tf.saved_model.save(module, folder, signatures={"serving_default": serve})


def _blended(module: Any, counts: Counts, weights: Weights) -> Scores:
    """The blend's scores; what was counted becomes variables of the module, since a graph holds at most 2 GB."""
    import tensorflow as tf

    from recsys.methods import compiled

    columns, chances, size = counts.taste.columns, counts.transitions.rows, counts.trends.share.shape[1]
    place = np.full(size, len(columns), np.int32)
    place[columns] = np.arange(len(columns))
    warm, cold = whole_biases(counts, weights)
    of_transitions, of_taste = weights.of_counts(np.arange(int(np.ceil(weights.many)) + 1))
    constants = {
        "place": place,
        "taste": np.pad(counts.taste.weights, [(0, 1), (0, 0)]),  # of an item without a column: nothing
        "starts": chances.indptr.astype(np.int64),
        "following": chances.indices.astype(np.int32),
        "chances": chances.data.astype(np.float32),
        "warm": warm[-1],
        "cold": cold,
        "of_transitions": of_transitions,  # by the number of events
        "of_taste": of_taste,
    }
    held = {name: tf.Variable(value, trainable=False, name=name) for name, value in constants.items()}
    module.counts = held
    decay = np.power(counts.transitions.decay, np.arange(1, counts.transitions.window + 1)).astype(np.float32)

    def transitions(items: Any, end: Any) -> Any:
        """Shares of what follows the last items, float32 [users, items + 1]."""
        event = end[:, None] - np.arange(1, len(decay) + 1, dtype=np.int32)[None, :]
        padded = tf.pad(items, [[0, 0], [0, 1]])
        last = tf.where(event >= 0, tf.gather(padded, tf.maximum(event, 0), batch_dims=1), 0)  # row 0 is empty
        flat = tf.reshape(last, [-1])
        entries = tf.ragged.range(tf.gather(held["starts"], flat), tf.gather(held["starts"], flat + 1))
        owner = tf.cast(entries.value_rowids(), tf.int32)
        values = tf.gather(held["chances"], entries.values) * tf.gather(decay, owner % len(decay))
        to = tf.stack([owner // len(decay), tf.gather(held["following"], entries.values)], axis=1)
        return tf.scatter_nd(to, values, [tf.shape(items)[0], size])

    def taste(items: Any) -> Any:
        """Shares of EASE's scores that are above zero, float32 [users, items + 1]."""
        where = tf.where(items > 0)
        rows = tf.cast(tf.gather(held["place"], tf.gather_nd(items, where)), tf.int64)
        shape = [tf.shape(items, tf.int64)[0], len(columns) + 1]
        had = tf.SparseTensor(tf.stack([where[:, 0], rows], axis=1), tf.ones_like(rows, tf.float32), shape)
        liked = tf.maximum(tf.sparse.sparse_dense_matmul(had, held["taste"]), 0.0)
        liked /= tf.maximum(tf.reduce_sum(liked, axis=1, keepdims=True), 1e-9)
        return tf.gather(tf.pad(liked, [[0, 0], [0, 1]]), held["place"], axis=1)

    def scores(items: Any, logits: Any) -> Any:
        end = tf.reduce_sum(tf.cast(items > 0, tf.int32), axis=1)
        logits = tf.cast(logits, tf.float32)
        events = tf.minimum(end, len(of_taste) - 1)
        warm = held["warm"] + tf.gather(held["of_transitions"], events) * tf.math.log(transitions(items, end) + compiled.FLOOR)
        warm += tf.gather(held["of_taste"], events) * tf.math.log(taste(items) + compiled.FLOOR)
        normal = tf.reduce_logsumexp(logits[:, 1:], axis=1, keepdims=True)
        return logits - normal + tf.where((end == 0)[:, None], held["cold"], warm)

    return scores
