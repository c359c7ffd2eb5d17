"""What the weights depend on: training that was begun with anything else is not continued."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from recsys import settings, storage
from recsys.config import Config
from recsys.contract import schema


def made_with(config: Config, features: str, base: str | None = None) -> dict[str, Any]:
    """The settings and the features that training reads, JSON types only.

    Args:
        config: the configuration.
        features: folder of the finished features.
        base: folder of the features of the earlier run that training goes on from, if any.
    """
    return {
        "seed": config.seed,
        "model": settings.to_dict(config.model),
        "training": settings.to_dict(config.training),
        "evaluation": {"max_users": config.evaluation.max_users},  # who decides when training stops
        "features": fingerprint(features),
        "warm_start": None if base is None else [fingerprint(base), settings.to_dict(config.refresh)],
    }


def fingerprint(features: str) -> str:
    """Identifies the features by features.json and by names and sizes of all files; none of them is read as a whole."""
    info = storage.read_json(storage.join(features, schema.FEATURES_FILE))
    described = json.dumps([info, storage.file_sizes(features)], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()[:16]
