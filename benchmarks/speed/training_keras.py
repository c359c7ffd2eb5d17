"""SASRec (Kang and McAuley, ICDM 2018) as it is usually written in Keras: a row a user, all its positions trained at once.

Two blocks of width 128 with two heads, learned positions, the last 200 events, dropout .2, Adam at .001, 128 rows a batch. The
loss is the full softmax instead of the paper's single negative, with which .134 is the best that is published.
"""

import sys

import keras
import numpy as np

from benchmarks.speed import training_peer
from benchmarks.speed.training_peer import Events, Watch

WIDTH, HEADS, BLOCKS, LENGTH, DROPOUT, ROWS = 128, 2, 2, 200, 0.2, 128


def network(items: int) -> tuple[keras.Model, keras.Model]:
    """Two models of the same weights: int32 [rows, LENGTH] of items, 0 before the first, to logits of the next ones.

    The first one gives those of all positions, [rows, LENGTH, items + 1], the second one those of the last.
    """
    history = keras.Input([LENGTH], dtype="int32")
    embedding = keras.layers.ReversibleEmbedding(items + 1, WIDTH, mask_zero=True)
    places = keras.layers.Embedding(LENGTH, WIDTH)(keras.ops.arange(LENGTH))
    x = keras.layers.Dropout(DROPOUT)(embedding(history) * WIDTH**0.5 + places)
    real = keras.ops.expand_dims(history != 0, 1)  # [rows, 1, LENGTH]: what may be attended to
    for _ in range(BLOCKS):
        attention = keras.layers.MultiHeadAttention(HEADS, WIDTH // HEADS, dropout=DROPOUT)
        normed = keras.layers.LayerNormalization(epsilon=1e-6)(x)
        x += attention(normed, x, attention_mask=real, use_causal_mask=True)
        hidden = keras.layers.Dense(WIDTH, "relu")(keras.layers.LayerNormalization(epsilon=1e-6)(x))
        x += keras.layers.Dropout(DROPOUT)(keras.layers.Dense(WIDTH)(keras.layers.Dropout(DROPOUT)(hidden)))
    states = keras.layers.LayerNormalization(epsilon=1e-6)(x)
    return keras.Model(history, embedding(states, reverse=True)), keras.Model(history, embedding(states[:, -1], reverse=True))


class Counted(keras.callbacks.Callback):
    """Counts the targets of each step.

    Args:
        watch: told of them.
        rows: of an epoch.
        targets: in these rows; since they are shuffled, all have about as many.
    """

    def __init__(self, watch: Watch, rows: int, targets: int) -> None:
        super().__init__()
        self._watch, self._rows, self._in_a_row = watch, rows, targets / rows

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """A step has been taken."""
        self.model.stop_training = self._watch.trained(min(ROWS, self._rows - batch * ROWS) * self._in_a_row)


def main(path: str, limit: str, folder: str) -> None:
    """Trains on the file at `path`, up to `limit` seconds; writes nothing to `folder`."""
    keras.utils.set_random_seed(0)
    events = Events.read(path)
    rows = np.zeros((len(events.learned), LENGTH + 1), np.int32)
    for row, history in zip(rows, events.learned, strict=True):
        row[-len(history) :] = history[-LENGTH - 1 :]
    histories, targets = rows[:, :-1], np.where(rows[:, :-1] > 0, rows[:, 1:], 0)
    model, last = network(events.items)
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0))
    an_epoch = int(np.count_nonzero(targets))
    watch = Watch(events, an_epoch, float(limit))
    counted = Counted(watch, len(rows), an_epoch)
    while watch.goes_on:
        watch.start()
        model.fit(histories, targets, ROWS, verbose=0, callbacks=[counted])
        watch.stop()
        watch.validate(lambda: training_peer.best(last.predict(rows[:, 1:], ROWS, verbose=0), events.learned))


if __name__ == "__main__":
    main(*sys.argv[1:])
