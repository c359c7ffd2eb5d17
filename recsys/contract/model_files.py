"""Names of the files in model/, once."""

from typing import Final

MODEL: Final = "model.json"
EVALUATED: Final = "evaluated.keras"
"""The network that learned from the training part alone."""
PUBLISHED: Final = "model.keras"
"""The network that learned from all events."""
SAVED_MODEL: Final = "saved_model"
HISTORY: Final = "history.csv"
BLEND: Final = "blend.json"
CHECKPOINT: Final = "checkpoint.npz"
