"""Names of the files and folders in model/, once."""

from typing import Final

MODEL: Final = "model.json"
"""What was trained on what, and how well; written when all the rest is there."""
EVALUATED: Final = "evaluated.keras"
"""The network that learned from the training part alone, with the features as encoded by it."""
PUBLISHED: Final = "model.keras"
"""The network that recommends: it learned from all events, with the features encoded anew."""
SAVED_MODEL: Final = "saved_model"
HISTORY: Final = "history.csv"
EVALUATED_BLEND: Final = "blend/evaluated"
"""Weights, and counts of all events before the test."""
PUBLISHED_BLEND: Final = "blend/published"
"""The same weights, and counts of all events."""
CHECKPOINT: Final = "checkpoint.npz"
