"""The network as a method: `cnn` in tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from recsys import storage
from recsys.blocks import CPU
from recsys.contract import histories, schema
from recsys.contract.features_info import Encoding
from recsys.contract.histories import Histories
from recsys.measure.protocol import Top
from recsys.measure.ranking import BLOCK_USERS
from recsys.methods import compiled
from recsys.methods.tiles import Tiles
from recsys.model import encoding
from recsys.model.encoding import Bags, Encoder
from recsys.model.network import CausalCNN, whole_table

ROWS: Final = 128
"""Users encoded at once."""
SHARES: Final = (8, 4, 2, 1)
"""Histories are encoded in rows of these parts of the receptive field, each in the shortest that holds what is needed."""

MANY_USERS: Final = 20_000
"""So many are worth the seconds in which XLA compiles the encoding, which takes two thirds of the time then."""


class Network:
    """Ranks all items as the next one of each history, with the weights as of the last `refresh`. Training fits it.

    Args:
        model: the network.
        encoder: turns histories into its inputs.
        tile_bytes: see recsys.blocks.
    """

    name: ClassVar[str] = "cnn"

    def __init__(self, model: CausalCNN, encoder: Encoder, tile_bytes: int = CPU.scores) -> None:
        import tensorflow as tf

        self.model, self.encoder = model, encoder
        self.tiles = Tiles.of(model.spec.items, tile_bytes)
        self._lengths = sorted({-(-model.spec.receptive_field // share) for share in SHARES})
        self._encode = tf.function(model.encode_last, jit_compile=len(encoder.users.codes) > MANY_USERS, autograph=False)
        self.refresh()

    def refresh(self) -> None:
        """Recomputes the item vectors; call it after the weights have changed."""
        import tensorflow as tf

        self._table = whole_table(self.model)
        biases = np.append(np.float32(-np.inf), self.model.item_biases()[1:])
        columns = self.tiles.divided(self._table.numpy().T, 0.0), self.tiles.divided(biases, -np.inf)
        self._columns = [tuple(map(tf.constant, pair)) for pair in zip(*columns, strict=True)]

    def item_vectors(self) -> NDArray[np.float32]:
        """The vectors of the items, float32 [items + 1, width]: those with much the same are recommended to the same users."""
        vectors: NDArray[np.float32] = self._table.numpy()
        return vectors

    def logits(self, context: Histories) -> Iterator[tuple[slice, Histories, Iterator[Any]]]:
        """See blend.Logits; histories may be empty."""
        states = self._states(context)
        for users, some in self.tiles.blocks(context):
            block = states[users.start : users.start + self.tiles.rows]
            yield users, some, (compiled.linear(block, *columns) for columns in self._columns)

    def _states(self, context: Histories) -> NDArray[np.float32]:
        """The state of each user, float32 [users, width], filled up to whole blocks.

        All products have the same shapes whoever is scored together, since their last bits depend on the shapes.
        """
        states = np.zeros((-(-len(context) // self.tiles.rows) * self.tiles.rows, self.model.spec.width), np.float32)
        fits = np.searchsorted(self._lengths, np.minimum(context.lengths + 1, self._lengths[-1]))
        for number, length in enumerate(self._lengths):
            users = np.flatnonzero(fits == number)
            for start in range(0, len(users), ROWS):
                some = users[start : start + ROWS]
                inputs = encoding.scoring_rows(context.rows(np.resize(some, ROWS)), self.encoder, length)
                states[some] = self._encode(inputs, self._table).numpy()[: len(some)]
        return states

    def block_users(self, n_items: int) -> int:
        """See measure.protocol.Scorer: scores are made in tiles, whose memory does not depend on the users."""
        return BLOCK_USERS

    def top(self, context: Histories, k: int) -> Top:
        """See measure.protocol.Scorer."""
        blocks = ((users, ((tile,) for tile in logits)) for users, _, logits in self.logits(context))
        return compiled.best(compiled.alone, blocks, self.tiles, context, k)

    def save(self, uri: str) -> None:
        """See save_model."""
        save_model(self.model, uri)

    @classmethod
    def load(cls, uri: str, encoder: Encoder, precision: str, tile_bytes: int = CPU.scores) -> Self:
        """Reads what `save` wrote.

        Args:
            uri: of the file.
            encoder: must be that of the features the network was trained on.
            precision: Keras dtype policy to compute with, whatever the network was trained with.
            tile_bytes: see recsys.blocks.
        """
        return cls(load_model(uri, precision), encoder, tile_bytes)


def save_model(model: CausalCNN, uri: str) -> None:
    """Writes a network as one `.keras` file, atomically."""
    with storage.scratch("network") as folder:
        local = Path(folder) / "model.keras"
        model.save(local)
        with storage.atomic_output(uri) as stream:
            stream.write(local.read_bytes())


def load_model(uri: str, precision: str) -> CausalCNN:
    """The network of a `.keras` file, with the given dtype policy; its weights are always float32.

    Raises:
        DamagedError: the file is missing, or not what was written.
    """
    import keras

    with storage.scratch("network") as folder, storage.undamaged(uri):
        local = Path(folder) / "model.keras"
        with storage.open_input(uri) as stream:
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
