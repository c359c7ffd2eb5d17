"""One set of compiled steps for all phases: compiled once, and what a phase learns does not depend on who compiled them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from recsys.config import Model
from recsys.contract.features_info import read_info
from recsys.training import hardware, learner
from recsys.training import train as training
from recsys.training.learner import Learner
from recsys.training.phase import Setting, build
from recsys.training.plan import fit_plan
from tests.support import chains, write_features
from tests.training.test_train import ITEMS, config, learn, rows, weights


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return write_features(tmp_path_factory.mktemp("features"), chains(users=200), ITEMS)


@pytest.fixture
def compiled(monkeypatch):
    """Every function of steps that training makes; tf.function says how often each was traced."""
    made, really = [], learner.make_steps

    def make(*given):
        made.append(really(*given))
        return made[-1]

    monkeypatch.setattr(learner, "make_steps", make)
    return made


@pytest.mark.parametrize("precision", [pytest.param("float32", marks=pytest.mark.release), "mixed_float16"])
def test_phases_share_their_steps_and_learn_the_same_as_with_steps_of_their_own(
    features, tmp_path, compiled, monkeypatch, precision
):
    given = config(epochs=2, refit_epochs=1, batch_tokens=512, transition_smoothing=0.5, precision=precision)
    learn(given, features, tmp_path / "shared")
    assert [steps.experimental_get_tracing_count() for steps in compiled] == [1]
    monkeypatch.setattr(training.Learner, "takes", lambda *_: False)
    learn(given, features, tmp_path / "apart")
    assert [steps.experimental_get_tracing_count() for steps in compiled] == [1] * 4
    for one, other in zip(weights(tmp_path / "shared"), weights(tmp_path / "apart"), strict=True):
        np.testing.assert_array_equal(one, other)
    found = [[(row["phase"], row["loss"]) for row in rows(tmp_path / folder)] for folder in ("shared", "apart")]
    assert found[0] == found[1] and [phase for phase, _ in found[0]] == ["fit", "fit", "refit", "final"]


def test_a_network_of_other_sizes_gets_its_own(features):
    given, info = config(), read_info(features)
    setting = Setting(given, features, info, hardware.choose(given.training))
    encoder = training.read_encoder(features, info.evaluated)
    plan = fit_plan(given.training, 1000, ITEMS, (1, 64), False)
    model = build(setting, info.evaluated, encoder)
    wider = dataclasses.replace(setting, config=dataclasses.replace(given, model=Model(width=model.spec.width * 2)))
    found = Learner(model, plan)
    assert found.takes(build(setting, info.published, training.read_encoder(features, info.published)))
    assert not found.takes(build(wider, info.evaluated, encoder))
