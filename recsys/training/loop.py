"""The training loop: one step, one epoch, early stopping, checkpoints. Two calls from the stage to the step."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from recsys.errors import RetryError
from recsys.model.loss import next_item_loss
from recsys.model.network import CausalCNN
from recsys.progress import Progress
from recsys.training import checkpoint
from recsys.training.checkpoint import Standing
from recsys.training.plan import Plan
from recsys.training.workers import ALONE, Workers

CHECKPOINT_SECONDS = 120.0
VALIDATED = ("ndcg@10", "hit_rate@10")
"""What is measured on the validation events after each epoch."""


@dataclasses.dataclass(frozen=True)
class Session:
    """What the loop talks to.

    Attributes:
        epoch_data: the batches of an epoch, from a step on: a tf.data.Dataset.
        validate: validation metrics of the network as it is, by name; None where the split holds nothing out.
        checkpoints: folder of the checkpoint.
        stopped: whether a process has been asked to end.
        workers: the processes that train together; the chief alone writes checkpoints.
    """

    epoch_data: Callable[[int, int], Any]
    validate: Callable[[], dict[str, float]] | None
    checkpoints: str
    stopped: Callable[[], bool]
    progress: Progress
    workers: Workers = ALONE


def fit(model: CausalCNN, plan: Plan, session: Session, history: list[dict[str, Any]]) -> Standing:
    """Trains the network in place; it ends with the weights of the best epoch (of the last one without validation).

    Goes on from the checkpoint where there is one of this phase. `history` holds the rows of the phases before.

    Raises:
        RetryError: the process was asked to end; the checkpoint is saved.
    """
    optimizer = make_optimizer(plan, model.dtype_policy.name)
    optimizer.build(model.trainable_variables)
    variables = [*model.variables, *optimizer.variables]
    standing, best = Standing(phase=plan.phase, rows=list(history)), list[np.ndarray]()
    loaded = checkpoint.load(session.checkpoints, variables)
    if loaded is not None:
        standing, best = loaded
        session.progress(f"  going on from the checkpoint: epoch {standing.epoch + 1}, step {standing.step + 1}")
    step = make_step(model, optimizer, plan, session.workers)
    while standing.epoch < plan.epochs and not _exhausted(standing, plan, session):
        save = partial(_save, session, standing, variables, best)
        row = _run_epoch(step, plan, session, standing, save)
        score = row.get("ndcg@10")
        if score is None or score > standing.best_score:
            standing.best_epoch, standing.best_score = standing.epoch, score if score is not None else -1.0
            best = [np.asarray(variable.numpy()) for variable in model.trainable_variables]
        standing.rows.append(row)
        standing.epoch, standing.step, standing.loss_sum = standing.epoch + 1, 0, 0.0
        _save(session, standing, variables, best)
    for variable, value in zip(model.trainable_variables, best, strict=True):
        variable.assign(value)
    return standing


def make_optimizer(plan: Plan, precision: str) -> Any:
    """Adam (AdamW with weight decay) on a warm-up and cosine schedule, gradients clipped to a global norm of 1.

    Under mixed_float16 the loss is scaled, so that small gradients do not vanish.
    """
    import keras

    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=max(1, plan.steps * (plan.epochs - 1)),
        warmup_target=plan.learning_rate,
        warmup_steps=plan.steps,
    )
    shared = {"beta_2": 0.98, "global_clipnorm": 1.0}
    if plan.weight_decay:
        optimizer = keras.optimizers.AdamW(schedule, weight_decay=plan.weight_decay, **shared)
    else:
        optimizer = keras.optimizers.Adam(schedule, **shared)
    return keras.optimizers.LossScaleOptimizer(optimizer) if precision == "mixed_float16" else optimizer


def make_step(model: CausalCNN, optimizer: Any, plan: Plan, workers: Workers = ALONE) -> Callable[[Any], Any]:
    """One step of gradient descent as a compiled function: this worker's part of a batch → loss of the whole batch."""
    import tensorflow as tf

    def gradients(batch: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = next_item_loss(model, batch, plan.label_smoothing)
            scaled = optimizer.scale_loss(loss)
        found = tape.gradient(scaled, model.trainable_variables)
        return loss, [g if g is not None else tf.zeros_like(v) for g, v in zip(found, model.trainable_variables, strict=True)]

    def apply(found: Any) -> None:
        optimizer.apply_gradients(zip(found, model.trainable_variables, strict=True))

    alone = workers.member.count == 1  # otherwise XLA compiles what is before and after the sum, which it does not know
    parts: tuple[Callable[[Any], Any], ...] = (gradients, apply)
    learn, move = parts if alone else (tf.function(part, jit_compile=plan.xla) for part in parts)

    @tf.function(jit_compile=plan.xla and alone)  # type: ignore[untyped-decorator]
    def step(batch: Any) -> Any:
        loss, found = learn(batch)
        if not alone:
            loss, found = workers.summed((loss, [tf.convert_to_tensor(gradient) for gradient in found]))
        move(found)
        return loss

    return step  # type: ignore[no-any-return]


def _save(session: Session, standing: Standing, variables: list[Any], best: list[np.ndarray]) -> None:
    if session.workers.member.chief:
        checkpoint.save(session.checkpoints, standing, variables, best)


def _run_epoch(
    step: Callable[[Any], Any], plan: Plan, session: Session, standing: Standing, save: Callable[[], None]
) -> dict[str, Any]:
    """The steps of one epoch that are still to be taken, then validation: the epoch's row of history.csv."""
    started, saved, positions = time.monotonic(), time.monotonic(), 0
    for batch in session.epoch_data(standing.epoch, standing.step):
        loss = float(step(batch))
        if not math.isfinite(loss):
            raise ArithmeticError(f"the loss is {loss} at epoch {standing.epoch + 1}, step {standing.step + 1}")
        standing.loss_sum += loss
        standing.step += 1
        positions += int(np.prod(batch["item"].shape))
        mean = standing.loss_sum / standing.step
        session.progress.update(
            f"{plan.phase} epoch {standing.epoch + 1}/{plan.epochs}  step {standing.step}/{plan.steps}  loss {mean:.4f}",
            min(1.0, standing.step / plan.steps),
        )
        if session.workers.total(session.stopped()):
            save()
            session.workers.barrier()
            raise RetryError(f"asked to end: checkpoint saved at epoch {standing.epoch + 1}, step {standing.step}; run again")
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            save()
            saved = time.monotonic()
    seconds = time.monotonic() - started
    metrics = session.workers.from_chief(session.validate, VALIDATED) if session.validate is not None else {}
    row = {
        "phase": plan.phase,
        "epoch": standing.epoch + 1,
        "loss": round(standing.loss_sum / max(1, standing.step), 6),
        "seconds": round(seconds, 2),
        "positions_per_second": round(positions / max(seconds, 1e-9)),
        **{name: round(value, 6) for name, value in metrics.items()},
    }
    shown = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
    session.progress(
        f"  {plan.phase} epoch {row['epoch']}/{plan.epochs}  loss {row['loss']:.4f}  {shown}  "
        f"{seconds:.1f} s  {row['positions_per_second']:,} positions/s"
    )
    return row


def _exhausted(standing: Standing, plan: Plan, session: Session) -> bool:
    """Whether patience has run out."""
    return session.validate is not None and standing.epoch - 1 - standing.best_epoch >= plan.patience and standing.epoch > 0
