"""What training does, once, when it diverges or runs out of memory; the second time it ends and says which setting to lower."""

from __future__ import annotations

import dataclasses
from typing import Final

from recsys.errors import ConfigError, RecsysError
from recsys.training.checkpoint import Standing
from recsys.training.plan import Plan
from recsys.training.xla import worthwhile

SMALLER: Final = 4
"""By how much the blocks of logits shrink."""


class DivergedError(Exception):
    """The loss or a weight is infinite or no number."""


def remedied(plan: Plan, standing: Standing) -> Plan:
    """The plan with XLA as measured and the remedies taken so far: a share of its learning rate, smaller blocks of logits."""
    rate, blocks = plan.learning_rate * standing.rate_share, plan.loss_blocks * standing.loss_blocks
    xla = worthwhile(standing.step_ms) if standing.step_ms else plan.xla
    return dataclasses.replace(plan, learning_rate=rate, loss_blocks=blocks, xla=xla)


def remedy(failure: Exception, tried: Standing, plan: Plan, workers: int) -> tuple[float, int, str]:
    """What to change before the last checkpoint is restored.

    Args:
        failure: DivergedError, or TensorFlow's error for memory that ran out.
        tried: how far training got, with what was changed before.
        plan: as it was in force.
        workers: processes that train together. Memory runs out in one of them, so they cannot change the blocks together.

    Returns:
        rate_share and loss_blocks of the Standing, and words for the user.

    Raises:
        RecsysError: the loss is no number although the rate was halved before.
        ConfigError: the memory does not suffice.
    """
    where = f"at {tried.phase} epoch {tried.epoch + 1}, step {tried.step + 1}"
    if isinstance(failure, DivergedError):
        if tried.rate_share < 1:
            raise RecsysError(
                f"training diverged: {failure} {where}, even with half the learning rate ({plan.learning_rate:g}); lower "
                "training.learning_rate, or set training.precision to float32; if neither helps, look for extreme numbers in "
                "the ratings and features"
            ) from None
        half = plan.learning_rate / 2
        return (
            0.5,
            tried.loss_blocks,
            f"training diverged: {failure} {where}; continuing with half the learning rate ({half:g})",
        )
    words = str(failure).strip().splitlines()[0][:200]
    if tried.loss_blocks > 1 or workers > 1:
        raise ConfigError(
            f"TensorFlow ran out of memory {where}: {words}; lower training.batch_tokens or model.width, set "
            "training.negatives if the catalogue is large, or give the container or the GPU more memory"
        ) from None
    return tried.rate_share, SMALLER, f"TensorFlow ran out of memory {where}; continuing with the logits in smaller blocks"
