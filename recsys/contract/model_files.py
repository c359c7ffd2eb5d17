"""Names of the files and folders in model/."""

from typing import Final

MODEL: Final = "model.json"
"""What was trained on what, and how well; written when all the rest is there."""
EVALUATED: Final = "evaluated.keras"
"""The network trained on the training part only, with the features as encoded by that part."""
PUBLISHED: Final = "model.keras"
"""The network that recommends: trained on all events, with the features encoded anew."""
SAVED_MODEL: Final = "saved_model"
HISTORY: Final = "history.csv"
EVALUATED_BLEND: Final = "blend/evaluated"
"""Weights, and counts of all events before the test."""
PUBLISHED_BLEND: Final = "blend/published"
"""The same weights, and counts of all events."""
CHECKPOINTS: Final = "checkpoints"
"""The state of unfinished training."""
