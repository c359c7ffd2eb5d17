"""The network as a method: `cnn` in tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Final, Self

import numpy as np

from recsys import storage
from recsys.contract import histories, schema
from recsys.contract.features_info import Encoding
from recsys.contract.histories import Histories
from recsys.measure.ranking import block_rows
from recsys.model import encoding
from recsys.model.encoding import Bags, Encoder
from recsys.model.network import CausalCNN, whole_table

BATCH: Final = 256
"""Maximum number of users scored at once; fewer if the catalogue is large."""


class Network:
    """Scores all items as the next one of each history, with the weights as of the last `refresh`. Training fits it.

    Args:
        model: the network.
        encoder: turns histories into its inputs.
    """

    name: ClassVar[str] = "cnn"

    def __init__(self, model: CausalCNN, encoder: Encoder) -> None:
        import tensorflow as tf

        self.model, self.encoder = model, encoder
        self._items = model.spec.items
        self._batch = block_rows(self._items, BATCH)

        @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
        def last_logits(batch: Any, table: Any) -> Any:
            return model.logits(model.encode(batch, table)[:, -1], table)

        self._last_logits = last_logits
        self.refresh()

    def refresh(self) -> None:
        """Recomputes the item vectors; call it after the weights have changed."""
        self._table = whole_table(self.model)

    def score(self, context: Histories) -> np.ndarray:
        """Logits float32 [users, items + 1] for histories that may be empty; column 0 is padding."""
        scores = np.empty((len(context), self._items + 1), np.float32)
        for start in range(0, len(context), self._batch):
            rows = np.arange(start, min(start + self._batch, len(context)))
            block = context.rows(np.resize(rows, self._batch))
            inputs = encoding.scoring_rows(block, self.encoder, self.model.spec.receptive_field)
            scores[rows] = self._last_logits(inputs, self._table).numpy()[: len(rows)]
        return scores

    def save(self, uri: str) -> None:
        """Writes the network as one `.keras` file, atomically."""
        with storage.scratch("network") as folder:
            local = Path(folder) / "model.keras"
            self.model.save(local)
            with storage.atomic_output(uri) as stream:
                stream.write(local.read_bytes())

    @classmethod
    def load(cls, uri: str, encoder: Encoder, precision: str) -> Self:
        """Reads what `save` wrote.

        Args:
            uri: of the file.
            encoder: must be that of the features the network was trained on.
            precision: Keras dtype policy to compute with, whatever the network was trained with.
        """
        return cls(load_model(uri, precision), encoder)


def load_model(uri: str, precision: str) -> CausalCNN:
    """The network of a `.keras` file, with the given dtype policy; its weights are always float32.

    Raises:
        DamagedError: the file is missing, or not what was written.
    """
    import keras

    system, path = storage.resolve(uri)
    with storage.scratch("network") as folder, storage.undamaged(uri):
        local = Path(folder) / "model.keras"
        with system.open_input_stream(path) as stream:
            local.write_bytes(stream.read())
        saved: CausalCNN = keras.saving.load_model(local, compile=False)
    if saved.dtype_policy.name == precision:
        return saved
    model = CausalCNN(saved.spec, dtype=precision)
    model.build()
    for variable, value in zip(model.variables, saved.variables, strict=True):
        variable.assign(value)
    return model


def read_encoder(features: str, fitted: Encoding) -> Encoder:
    """The encoder for one encoding of the features in a folder."""
    users = _read_bags(features, fitted.users_dir, fitted.user_features, schema.USER_INDEX)
    return Encoder(users, fitted.rating_mean, fitted.rating_std or 1.0)


def read_item_bags(features: str, fitted: Encoding) -> Bags:
    """The items' features in one encoding."""
    return _read_bags(features, fitted.items_dir, fitted.item_features, schema.ITEM_INDEX)


def _read_bags(features: str, folder: str, declared: Any, index: str) -> Bags:
    return encoding.bags(histories.read_table(features, folder, [index, *(feature.name for feature in declared)]), declared)
