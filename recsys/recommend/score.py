"""The network as a scorer of histories, for evaluation and for recommendations alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from recsys.histories import Histories
from recsys.model.network import CausalCNN
from recsys.training.pipeline import Encoder, scoring_rows

BATCH = 256


class NetworkScorer:
    """Scores all items for what comes after each history.

    Args:
        model: the network.
        encoder: turns histories into its inputs.
    """

    name = "cnn"

    def __init__(self, model: CausalCNN, encoder: Encoder) -> None:
        import tensorflow as tf

        self._encoder = encoder
        self._length = model.spec.receptive_field
        self._items = model.spec.items

        @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
        def last_logits(batch: Any) -> Any:
            table = model.item_table()
            return model.logits(model.encode(batch, table)[:, -1], table)

        self._last_logits = last_logits

    def score(self, context: Histories) -> np.ndarray:
        """Logits float32 [users, items + 1] for histories that may be empty; column 0 is padding."""
        scores = np.empty((len(context), self._items + 1), np.float32)
        for start in range(0, len(context), BATCH):
            rows = np.arange(start, min(start + BATCH, len(context)))
            inputs = scoring_rows(context.rows(np.resize(rows, BATCH)), self._encoder, self._length)
            scores[rows] = self._last_logits(inputs).numpy()[: len(rows)]
        return scores
