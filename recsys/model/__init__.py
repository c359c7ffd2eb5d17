"""The causal CNN: layers, network and loss. Nothing here knows about files.

Keras fixes its backend, and TensorFlow its log level, at first import; so both are imported here, once.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
warnings.filterwarnings("ignore", message="Converting sparse IndexedSlices")  # Adam updates every item at each step anyway


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Discards what TensorFlow writes to standard error while loading, whatever its log level."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


with _hushed():
    import keras  # noqa: F401
    import tensorflow as tf

__all__ = ["tf"]
