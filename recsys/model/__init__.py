"""The causal CNN: layers, network and loss. Nothing here knows about files.

Keras settles on its backend when it is first imported, and TensorFlow on how much it says; so both are told here, before.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
