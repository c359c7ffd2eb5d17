"""The network as a scorer of histories, for evaluation and for recommendations alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from recsys import storage
from recsys.config import Config
from recsys.contract import histories, model_files
from recsys.contract.features_info import FeaturesInfo, read_info
from recsys.contract.histories import Histories
from recsys.measure.protocol import Scorer
from recsys.measure.ranking import block_rows
from recsys.methods import blend, serving
from recsys.model.encoding import Encoder, make_encoder
from recsys.model.network import CausalCNN, whole_table
from recsys.training.hardware import choose
from recsys.training.packing import scoring_rows

BATCH = 256
"""Users that the network takes at once, an upper bound: fewer where the catalogue is large."""


class NetworkScorer:
    """Scores all items for what comes after each history, with the weights of the last `refresh`.

    Args:
        model: the network.
        encoder: turns histories into its inputs.
    """

    name = "cnn-alone"

    def __init__(self, model: CausalCNN, encoder: Encoder) -> None:
        import tensorflow as tf

        self._model, self._encoder = model, encoder
        self._items = model.spec.items
        self._batch = block_rows(self._items, BATCH)

        @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
        def last_logits(batch: Any, table: Any) -> Any:
            return model.logits(model.encode(batch, table)[:, -1], table)

        self._last_logits = last_logits
        self.refresh()

    def refresh(self) -> None:
        """Makes the items' vectors anew; to be called when the weights have changed."""
        self._table = whole_table(self._model)

    def score(self, context: Histories) -> np.ndarray:
        """Logits float32 [users, items + 1] for histories that may be empty; column 0 is padding."""
        scores = np.empty((len(context), self._items + 1), np.float32)
        for start in range(0, len(context), self._batch):
            rows = np.arange(start, min(start + self._batch, len(context)))
            block = context.rows(np.resize(rows, self._batch))
            inputs = scoring_rows(block, self._encoder, self._model.spec.receptive_field)
            scores[rows] = self._last_logits(inputs, self._table).numpy()[: len(rows)]
        return scores


def evaluated_scorers(config: Config, features: str, model_folder: str) -> list[Scorer]:
    """The method as it was before the test events: the blend first, then the network alone.

    The network learned from the training part; the counts go on to the validation events, as those of the baselines do.
    """
    info = read_info(features)
    everything = histories.learnable(histories.read(features), info.min_user_events)
    network = _network(config, features, info, storage.join(model_folder, model_files.EVALUATED))
    counts = blend.count(everything.head(everything.valid_length), info.items, config.seed)
    return [blend.Blend(network, counts, _weights(model_folder)), network]


def published_scorer(config: Config, features: str, model_folder: str) -> blend.Blend:
    """The method as it learned from all events."""
    info = read_info(features)
    network = _network(config, features, info, storage.join(model_folder, model_files.PUBLISHED))
    counts = blend.count(histories.read(features), info.items, config.seed)
    return blend.Blend(network, counts, _weights(model_folder))


def _network(config: Config, features: str, info: FeaturesInfo, uri: str) -> NetworkScorer:
    choose(config.training)
    return NetworkScorer(serving.load(uri), make_encoder(features, info.evaluated))


def _weights(model_folder: str) -> blend.Weights:
    return blend.Weights(**storage.read_json(storage.join(model_folder, model_files.BLEND)))
