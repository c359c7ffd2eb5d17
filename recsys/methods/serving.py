"""The network as a SavedModel, for serving without this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from recsys import storage
from recsys.model.encoding import Encoder
from recsys.model.network import GAP_BUCKETS, CausalCNN, whole_table

SERVED_ITEMS = 100


def save_for_serving(model: CausalCNN, uri: str, encoder: Encoder) -> None:
    """Writes a SavedModel whose signature `serving_default` takes raw histories and returns the best unseen items.

    Signature, for any number of users and any length L of history:
        items int32 [users, L] in time order, left-aligned, padded with 0; ratings float32 [users, L];
        timestamps int64 [users, L] in seconds; user_codes int32 [users, slots] and user_numbers float32 [users, features] as in
        the users' folder of the published encoding in features.json (recsys.model.encoding).
    Returns:
        item_index int32 [users, k] best first, score float32 [users, k]; k = min(100, items).
    """
    import tensorflow as tf

    serving = tf.Module()
    serving.network, serving.table = model, tf.Variable(whole_table(model), trainable=False)
    best = min(SERVED_ITEMS, model.spec.items)
    mean, deviation = encoder.rating_mean, encoder.rating_std

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[
            tf.TensorSpec([None, None], tf.int32, "items"),
            tf.TensorSpec([None, None], tf.float32, "ratings"),
            tf.TensorSpec([None, None], tf.int64, "timestamps"),
            tf.TensorSpec([None, model.spec.user_slots], tf.int32, "user_codes"),
            tf.TensorSpec([None, model.spec.user_numbers], tf.float32, "user_numbers"),
        ]
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
            "position": tf.maximum(position, 0),
            "user_codes": user_codes[:, None, :],
            "user_numbers": user_numbers[:, None, :],
        }
        table = tf.convert_to_tensor(serving.table)
        scores = model.logits(model.encode_last(batch, table), table)
        rows = tf.repeat(tf.range(users)[:, None], tf.shape(items)[1], axis=1)
        seen = tf.stack([tf.reshape(rows, [-1]), tf.reshape(items, [-1])], axis=1)
        scores = tf.tensor_scatter_nd_min(scores, seen, tf.fill([tf.shape(seen)[0]], scores.dtype.min))
        scores = tf.concat([tf.fill([users, 1], scores.dtype.min), scores[:, 1:]], axis=1)
        values, indices = tf.math.top_k(scores, best)
        return {"item_index": indices, "score": values}

    with storage.scratch("serving") as folder:
        tf.saved_model.save(serving, folder, signatures={"serving_default": serve})
        storage.delete_folder(uri)
        storage.create_folder(uri)
        storage.upload_folder(Path(folder), uri)
