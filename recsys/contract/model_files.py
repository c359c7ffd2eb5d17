"""Names of the files in model/."""

from typing import Final

MODEL: Final = "model.json"
EVALUATED: Final = "evaluated.keras"
"""The network trained on the training part only."""
PUBLISHED: Final = "model.keras"
"""The network trained on all events."""
SAVED_MODEL: Final = "saved_model"
HISTORY: Final = "history.csv"
BLEND: Final = "blend.json"
CHECKPOINT: Final = "checkpoint.npz"
