"""A network with all that its training needs: compiled once, used by all phases."""

from __future__ import annotations

from typing import Any

from recsys.model.network import CausalCNN
from recsys.training.optimizer import Rates, make_optimizer
from recsys.training.plan import Plan
from recsys.training.soft_targets import SoftTargets
from recsys.training.steps import Steps, make_steps
from recsys.training.workers import ALONE, Workers


class Learner:
    """A network, its optimizer, and its steps.

    Compiling the steps takes seconds, which count where the data are small; so the next phase does not make its own, but hands
    over its weights and its plan, if its network has the same sizes.

    Args:
        model: the network that is trained, in place.
        plan: of the first phase.
        workers: the processes that train together.

    Attributes:
        model: the network.
        optimizer: a Keras optimizer.
        soft: of the last phase, see soft_targets.
    """

    def __init__(self, model: CausalCNN, plan: Plan, workers: Workers = ALONE) -> None:
        self.model, self._workers = model, workers
        self.soft: SoftTargets | None = None
        self._rates = Rates(plan)
        self.optimizer = make_optimizer(self._rates, model.dtype_policy.name, plan.weight_decay)
        self.optimizer.build(model.trainable_variables)
        self._scalars = {variable.path: variable.numpy() for variable in self.optimizer.variables if variable.shape.rank == 0}
        self._compiled = dict[tuple[Any, ...], Steps]()

    @property
    def variables(self) -> list[Any]:
        """All that steps change, of the network and the optimizer."""
        return [*self.model.variables, *self.optimizer.variables]

    def takes(self, model: CausalCNN) -> bool:
        """Whether `adopt` can."""
        return model.spec == self.model.spec and model.dtype_policy.name == self.model.dtype_policy.name

    def adopt(self, model: CausalCNN) -> None:
        """Goes on from the weights of another network of the same sizes."""
        for variable, value in zip(self.model.variables, model.variables, strict=True):
            variable.assign(value)

    def begin(self, plan: Plan) -> None:
        """Follows the rates of a plan from its first step, with an optimizer that remembers nothing."""
        import tensorflow as tf

        for variable in self.optimizer.variables:
            first = self._scalars.get(variable.path)
            variable.assign(tf.zeros(variable.shape, variable.dtype) if first is None else first)
        self.follow(plan)

    def follow(self, plan: Plan) -> None:
        """Follows the rates of a plan from where the optimizer is."""
        self._rates.follow(plan)

    def steps(self, plan: Plan, soft: SoftTargets | None) -> Steps:
        """The steps of a plan, those of before if they are the same."""
        self.soft = soft
        form = None if soft is None else soft.form
        key = (plan.xla, plan.label_smoothing, plan.logits_bytes, plan.loss_blocks, form)
        if key not in self._compiled:
            self._compiled[key] = make_steps(self.model, self.optimizer, plan, self._workers, soft)
        return self._compiled[key]
