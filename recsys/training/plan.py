"""Epochs, learning rates and batches, by rules that follow from the size of the data."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np

from recsys.blocks import CPU
from recsys.config import Refresh, Training
from recsys.training.cluster import Member
from recsys.training.hardware import Hardware

FULL_SOFTMAX_ITEMS = 50_000
"""Up to this many items, every step ranks its targets against all of them."""
NEGATIVES = 4_096
"""Beyond that, against this many, drawn for each step."""

WARM_EPOCHS: Final = 4
"""Passes over new and replayed events with which an earlier network goes on (docs/freshness.md)."""
WARM_XLA_FROM: Final = 500_000
"""Positions of a warm start that make up for compiling its steps with XLA: some seconds on two cores."""

FEW_EVENTS: Final = 50_000
"""Training events below which dense data have no soft targets unless asked for."""

MEASURED_FROM: Final = {"cpu": 10_000_000, "gpu": 300_000_000}
"""Positions of a training, by device, that makes up for compiling its steps with XLA and without: on two cores ten minutes."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Schedule of one phase of training.

    Attributes:
        phase: "fit", "refit" or "final", see recsys.training.train.
        epochs, steps: epochs, and steps in each of them.
        learning_rate: its peak; a half cosine takes it to zero by the last step.
        warmup_steps: steps in which the learning rate rises from zero to its peak.
        label_smoothing, weight_decay: see config.Training.
        negatives: items drawn for each step's sampled softmax; 0: full softmax.
        loss_blocks: divides the blocks of logits further, see recsys.model.loss.
        patience: epochs without a better validation score before the phase stops early.
        xla: whether XLA compiles the step.
        measures_xla: whether that is decided anew by a measurement, see recsys.training.xla.
        logits_bytes: most bytes of a block of logits, see recsys.blocks.
    """

    phase: str
    epochs: int
    steps: int
    learning_rate: float
    warmup_steps: int
    label_smoothing: float
    weight_decay: float
    negatives: int
    patience: int
    xla: bool
    measures_xla: bool = False
    logits_bytes: int = CPU.logits
    loss_blocks: int = 1


def batch_shape(training: Training, events: int) -> tuple[int, int]:
    """Rows and length of a batch. The rule: about 256 steps an epoch, between 512 and 16,384 positions a step.

    The memory of the device does not count: the weights would depend on it, and no other device could resume the training. What
    grows with a batch beyond measure are its logits, and those are computed in blocks.
    """
    tokens = training.batch_tokens or int(2 ** np.clip(np.round(np.log2(max(1, events) / 256)), 9, 14))
    length = min(training.row_length, tokens)
    return max(1, tokens // length), length


def cold_start_share(training: Training, events: int, split: str) -> float:
    """config.Training.cold_starts if it is set, otherwise by rule.

    The rule: 10,000 positions per epoch, but at least .02 and at most .2 of the events, for the splits global-time and none,
    which meet users without events; none for the others.
    """
    if training.cold_starts is not None:
        return training.cold_starts
    return float(np.clip(10_000 / max(1, events), 0.02, 0.2)) if split in ("global-time", "none") else 0.0


def horizon(training: Training, split: str, events: int, sparse: bool) -> int:
    """Events ahead that a position learns, the next one included.

    The rule: the split says what the lists are for. leave-one-out asks for the next event alone; the other splits for what
    follows until the next lists are made, and there 4 events ahead were measured to be better. Not for dense data (see
    FeaturesInfo.sparse) below FEW_EVENTS training events (docs/model.md).
    """
    if training.horizon is not None:
        return training.horizon
    return 1 if split == "leave-one-out" or (events < FEW_EVENTS and not sparse) else 4


def transition_smoothing(training: Training, events: int, sparse: bool) -> float:
    """Share of a target that goes to what follows the last events elsewhere, with a full softmax.

    The rule: .7 for sparse data (FeaturesInfo.sparse), otherwise .5 below 200,000 training events and .3 beyond: the more the
    histories themselves say, the less. None for dense data below FEW_EVENTS (docs/model.md).
    """
    if training.transition_smoothing is not None:
        return training.transition_smoothing
    if sparse:
        return 0.7
    return 0.0 if events < FEW_EVENTS else 0.5 if events < 200_000 else 0.3


def sample_size(training: Training, items: int) -> int:
    """Items drawn for each step's softmax; 0: all items.

    The rule: all of them up to FULL_SOFTMAX_ITEMS, where the softmax costs about ten times as much as the network before it
    (width 128, six blocks); beyond, NEGATIVES, so that the cost of a step no longer grows with the catalogue.
    """
    if training.negatives is not None:
        return training.negatives
    return 0 if items <= FULL_SOFTMAX_ITEMS else NEGATIVES


def fit_plan(training: Training, positions: int, items: int, shape: tuple[int, int], xla: bool, sparse: bool = False) -> Plan:
    """The plan for training from scratch.

    The rule: 16 epochs at a million positions, fewer for more (the fourth root), at least 4. For fewer positions 16 as well,
    but for sparse data twice what the root says, at most 64: soft targets, most of them drawn, take longer to learn by heart.

    Args:
        training: the configuration.
        positions: targets of one epoch: events and cold starts.
        items: size of the catalogue.
        shape: see batch_shape.
        xla: see Plan.
        sparse: see FeaturesInfo.sparse.
    """
    rule = 16 * (1e6 / max(1, positions)) ** 0.25
    epochs = training.epochs or int(np.clip(round(2 * rule if sparse else rule), 4, 64 if sparse else 16))
    return _plan(training, "fit", epochs, positions, items, shape, training.learning_rate, xla, warmup_epochs=1.0)


def warm_plan(training: Training, refresh: Refresh, positions: int, items: int, shape: tuple[int, int], xla: bool) -> Plan:
    """The plan for going on from an earlier network: at most WARM_EPOCHS, at half the learning rate, warmed up as a refit is.

    It ends when validation gets no better. XLA is left out, unless asked for, where its compilation takes longer than it saves.

    Args: as above; see config.Refresh.
    """
    epochs = refresh.epochs or WARM_EPOCHS
    xla = xla and (training.xla == "on" or epochs * positions >= WARM_XLA_FROM)
    plan = _plan(training, "fit", epochs, positions, items, shape, training.learning_rate / 2, xla, warmup_epochs=0.1)
    return dataclasses.replace(plan, patience=training.patience or 1)


def refit_plan(
    training: Training,
    positions: int,
    items: int,
    shape: tuple[int, int],
    xla: bool,
    rows: list[dict[str, Any]],
    phase: str,
) -> Plan:
    """The plan for learning what was held out: a quarter of the best number of epochs, at half the learning rate.

    The warm-up is a tenth of an epoch: the weights are already good, only the optimizer's moments start from zero.

    Args:
        training, positions, items, shape, xla: as above.
        rows: history.csv so far; if fit has no validation scores there, its last epoch counts as the best.
        phase: see Plan.
    """
    first = [row for row in rows if row["phase"] == "fit"]
    scores = [row["ndcg@10"] for row in first if "ndcg@10" in row]
    best = int(np.argmax(scores)) + 1 if scores else len(first)
    epochs = training.refit_epochs if training.refit_epochs is not None else max(1, round(best / 4))
    return _plan(training, phase, epochs, positions, items, shape, training.learning_rate / 2, xla, warmup_epochs=0.1)


def on_hardware(plan: Plan, training: Training, hardware: Hardware, member: Member, positions: int) -> Plan:
    """The plan with what follows from the device.

    XLA is measured if that is left open and worth it, by a process alone, since all would have to choose the same, and not if
    results were asked to be the same in any case. A refit takes it as the epochs before did.

    Args:
        plan: for one phase.
        training: the configuration.
        hardware: see hardware.choose.
        member: of the processes that train together.
        positions: targets of one epoch.
    """
    long = plan.epochs * positions >= MEASURED_FROM[hardware.device]
    measures = long and plan.phase == "fit" and training.xla == "auto" and training.deterministic != "on" and member.count == 1
    return dataclasses.replace(plan, measures_xla=measures, logits_bytes=hardware.blocks.logits)


def _plan(
    training: Training,
    phase: str,
    epochs: int,
    positions: int,
    items: int,
    shape: tuple[int, int],
    rate: float,
    xla: bool,
    warmup_epochs: float,
) -> Plan:
    steps = max(1, -(-positions // (shape[0] * shape[1])))
    return Plan(
        phase=phase,
        epochs=epochs,
        steps=steps,
        learning_rate=rate,
        warmup_steps=round(steps * (warmup_epochs if epochs > 1 else 0.1)),  # a single epoch must not end at its peak
        label_smoothing=training.label_smoothing,
        weight_decay=training.weight_decay,
        negatives=sample_size(training, items),
        patience=training.patience or max(8, epochs // 3),
        xla=xla,
    )
