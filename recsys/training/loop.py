"""The training loop: steps, epochs, validation, early stopping, checkpoints."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from recsys.errors import RetryError
from recsys.model.encoding import Bags
from recsys.progress import Progress
from recsys.training.checkpoint import Checkpoints, Standing, State
from recsys.training.learner import Learner
from recsys.training.plan import Plan
from recsys.training.recovery import DivergedError, remedied, remedy
from recsys.training.soft_targets import SoftTargets
from recsys.training.steps import Pace, Steps, lookup_tables
from recsys.training.workers import ALONE, Workers, draw_apart
from recsys.training.xla import step_milliseconds

CHECKPOINT_SECONDS: Final = 120.0
METRICS: Final = ("ndcg@10", "hit_rate@10")
"""Measured on the validation events after each epoch; the first one decides."""


@dataclasses.dataclass(frozen=True)
class Session:
    """What the loop works with.

    Attributes:
        users: features of all users.
        epoch_data: the chunks of batches of an epoch, starting at a step; see packing.dataset.
        validate: current validation metrics of the network, by name; None without validation events.
        checkpoints: where the state is saved.
        stopped: whether the process has been asked to stop.
        progress: reports progress.
        workers: the processes that train together; only the chief writes checkpoints.
        soft: what positions learn besides their next event, if anything.
    """

    users: Bags
    epoch_data: Callable[[int, int], Any]
    validate: Callable[[], dict[str, float]] | None
    checkpoints: Checkpoints
    stopped: Callable[[], bool]
    progress: Progress
    workers: Workers = ALONE
    soft: SoftTargets | None = None


def fit(learner: Learner, plan: Plan, session: Session, history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Trains the network in place; it ends with the weights of the best epoch, or without validation of the last one.

    Resumes from the checkpoint of this phase, if there is one.

    Args:
        learner: the network.
        plan: how long and how fast.
        session: data, validation, checkpoints.
        history: rows of history.csv from earlier phases.

    Returns:
        The rows, with those of this phase appended.

    Raises:
        RecsysError: training diverged, even with half the learning rate.
        ConfigError: memory ran out, even with smaller blocks of logits.
        RetryError: the process was asked to stop; the checkpoint is saved.
    """
    import tensorflow as tf

    training = _Training(learner, plan, session, history)
    while not training.standing.done:
        try:
            steps = training.compiled()
            for chunk, first, count in training.calls():
                training.take(steps(training.tables, chunk, first, count).numpy()[:count], chunk["item"].shape[1:])
        except (DivergedError, tf.errors.ResourceExhaustedError) as failure:
            training.recover(failure)
    for variable, value in zip(learner.model.trainable_variables, training.best, strict=True):
        variable.assign(value)
    return training.standing.rows


class _Training:
    """The progress of a phase: its steps, its epochs, the best weights so far, and the checkpoints that hold all of it."""

    def __init__(self, learner: Learner, plan: Plan, session: Session, history: list[dict[str, Any]]) -> None:
        self._learner, self._model, self._asked, self._session = learner, learner.model, plan, session
        self._variables, self.tables = learner.variables, lookup_tables(session.users, session.soft)
        learner.begin(plan)
        self.standing, self.best, self._plan = Standing(phase=plan.phase, rows=list(history)), list[np.ndarray](), plan
        state = self._load()
        if state is not None:
            self._restore(state)
            at = self.standing
            session.progress(f"  resuming from the checkpoint: {plan.phase} epoch {at.epoch + 1}, step {at.step + 1}")
        self._agree()
        if state is None:
            self._save()  # where a training that diverges early can return to
        draw_apart(self._model, session.workers.member)

    def compiled(self) -> Steps:
        """The steps of the plan as it is in force; with XLA or without, by a measurement if the plan says so."""
        at = self.standing
        if self._plan.measures_xla and not at.step_ms and at.epoch == at.step == 0:
            self._measure_xla({xla: self._steps(dataclasses.replace(self._plan, xla=xla)) for xla in (True, False)})
        return self._steps(self._plan)

    def _steps(self, plan: Plan) -> Steps:
        return self._learner.steps(plan, self._session.soft)

    def _measure_xla(self, steps: Mapping[bool, Steps]) -> None:
        """Decides for the whole training: a resumed one finds the measurement in its checkpoint."""
        at, before = self.standing, [variable.numpy() for variable in self._variables]
        at.step_ms = step_milliseconds(steps, self.tables, next(iter(self._session.epoch_data(0, 0))))
        for variable, value in zip(self._variables, before, strict=True):
            variable.assign(value)
        self._plan = remedied(self._asked, at)
        self._save()
        self._session.progress(
            f"  XLA {'on' if self._plan.xla else 'off'}, as measured: a step takes {at.step_ms['on']:.1f} ms with it, "
            f"{at.step_ms['off']:.1f} ms without"
        )

    def calls(self) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
        """What to call the steps with, to the end of the phase: chunk, first step, number of steps."""
        pace = Pace(self._session.workers.member.count == 1)
        while not self.standing.done:
            self.begin_epoch()
            for chunk in self._session.epoch_data(self.standing.epoch, self.standing.step):
                first, there = 0, int(chunk["steps"])
                while first < there:
                    count, started = pace.steps(there - first), time.monotonic()
                    yield chunk, np.array(first, np.int32), np.array(count, np.int32)
                    pace.took(count, time.monotonic() - started)
                    first += count
            self.end_epoch()

    def recover(self, failure: Exception) -> None:
        """Returns to the last checkpoint, with what may help.

        Raises:
            RecsysError: that was tried before, or there is no checkpoint.
        """
        session = self._session
        share, blocks, words = remedy(failure, self.standing, self._plan, session.workers.member.count)
        state = self._load()
        if state is None:
            raise RetryError(f"{words}: impossible without a checkpoint; run the same command again") from None
        state.standing.rate_share, state.standing.loss_blocks = share, blocks
        self._restore(state)
        at = self.standing
        session.progress(f"  warning: {words}, from the checkpoint at epoch {at.epoch + 1}, step {at.step + 1}")
        session.workers.barrier()  # all have read it
        self._save()
        draw_apart(self._model, session.workers.member)

    def _goes_on(self) -> bool:
        """Whether to train another epoch: one is left, and patience has not run out."""
        at, plan = self.standing, self._plan
        exhausted = self._session.validate is not None and at.epoch - 1 - at.best_epoch >= plan.patience and at.epoch > 0
        return at.epoch < plan.epochs and not exhausted

    def begin_epoch(self) -> None:
        """Starts the timers."""
        self._started = self._saved = time.monotonic()
        self._positions = 0

    def take(self, losses: np.ndarray, shape: Any) -> None:
        """Records steps by their losses; saves a checkpoint if one is due, and stops if asked to."""
        at, plan, session = self.standing, self._plan, self._session
        for loss in map(float, losses):
            if not math.isfinite(loss):
                raise DivergedError(f"the loss is {loss}")
            at.loss_sum += loss
            at.step += 1
        self._positions += len(losses) * int(np.prod(shape))
        where = f"{plan.phase} epoch {at.epoch + 1}/{plan.epochs}  step {at.step}/{plan.steps}"
        done = (at.epoch + min(1.0, at.step / plan.steps)) / plan.epochs
        session.progress.update(f"{where}  loss {at.loss_sum / at.step:.4f}", done)
        if session.workers.total(session.stopped()):
            self._save()
            session.workers.barrier()
            raise RetryError(
                f"stopped as asked: checkpoint saved at epoch {at.epoch + 1}, step {at.step}; run the same command to resume"
            )
        if time.monotonic() - self._saved > CHECKPOINT_SECONDS:
            self._save()
            self._saved = time.monotonic()

    def end_epoch(self) -> None:
        """Validates, keeps the weights if they are the best so far, and saves the checkpoint."""
        if not self._finite():
            raise DivergedError("weights are no numbers")
        at, plan, session = self.standing, self._plan, self._session
        seconds = time.monotonic() - self._started
        metrics = session.workers.from_chief(session.validate, METRICS) if session.validate is not None else {}
        score = metrics.get(METRICS[0])
        if score is None or score > at.best_score:
            at.best_epoch, at.best_score = at.epoch, -1.0 if score is None else score
            self.best = [np.asarray(variable.numpy()) for variable in self._model.trainable_variables]
        row = {
            "phase": plan.phase,
            "epoch": at.epoch + 1,
            "loss": round(at.loss_sum / max(1, at.step), 6),
            "workers": session.workers.member.count,
            "learning_rate": plan.learning_rate,
            "xla": "on" if plan.xla else "off",
            **{f"step_ms_xla_{name}": milliseconds for name, milliseconds in at.step_ms.items()},
            "seconds": round(seconds, 2),
            "positions_per_second": round(self._positions / max(seconds, 1e-9)),
            **{name: round(value, 6) for name, value in metrics.items()},
        }
        shown = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        session.progress(
            f"  {plan.phase} epoch {row['epoch']}/{plan.epochs}  loss {row['loss']:.4f}  {shown}  "
            f"{seconds:.1f} s  {row['positions_per_second']:,} positions/s"
        )
        at.rows.append(row)
        at.epoch, at.step, at.loss_sum = at.epoch + 1, 0, 0.0
        at.done = not self._goes_on()
        self._save()

    def _agree(self) -> None:
        """Checks that all workers begin where the chief does.

        Raises:
            RetryError: this one has read another checkpoint.
        """
        at = self.standing
        chief = self._session.workers.from_chief(lambda: {"epoch": at.epoch, "step": at.step}, ("epoch", "step"))
        if chief != {"epoch": at.epoch, "step": at.step}:
            raise RetryError(
                f"this worker has read a checkpoint of epoch {at.epoch + 1}, step {at.step + 1}, and the chief another one; "
                "check that both see the same files, and run the same command again"
            )

    def _load(self) -> State | None:
        return self._session.checkpoints.load(self._asked.phase, [tuple(variable.shape) for variable in self._variables])

    def _restore(self, state: State) -> None:
        for variable, value in zip(self._variables, state.variables, strict=True):
            variable.assign(value)
        self.standing, self.best = state.standing, list(state.best)
        self._plan = remedied(self._asked, self.standing)
        if self._plan.learning_rate != self._asked.learning_rate:
            self._learner.follow(self._plan)

    def _finite(self) -> bool:
        """Whether the weights are numbers; the loss tells only at the next step."""
        return all(np.isfinite(variable.numpy()).all() for variable in self._model.trainable_variables)

    def _save(self) -> None:
        """Saves a checkpoint, but never one from which training could only fail."""
        if self._session.workers.member.chief and self._finite():
            values = [variable.numpy() for variable in self._variables]
            self._session.checkpoints.save(State(self.standing, values, self.best))
