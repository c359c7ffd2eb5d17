"""XLA by measurement: long trainings alone measure, nothing but the choice follows from it, and it holds for the whole run."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from recsys import storage
from recsys.config import Training
from recsys.contract import model_files
from recsys.errors import RetryError
from recsys.training import hardware, loop, steps, xla
from recsys.training.cluster import Member
from recsys.training.plan import fit_plan, on_hardware
from tests.support import chains, write_features
from tests.training.test_train import ITEMS, config, learn, rows, weights


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return write_features(tmp_path_factory.mktemp("features"), chains(users=200), ITEMS)


@pytest.fixture
def off_is_faster(monkeypatch):
    """Every training measures, truly, but reads times by which XLA is left out; returns the list that counts how often."""
    taken, really = [], loop.step_milliseconds

    def measured(compiled, tables, chunk):
        taken.append(really(compiled, tables, chunk))
        return {"on": 50.0, "off": 10.0}

    monkeypatch.setattr(loop, "step_milliseconds", measured)
    monkeypatch.setattr("recsys.training.plan.MEASURED_FROM", {"cpu": 0})
    return taken


@pytest.mark.parametrize(("on", "off", "chosen"), [(10, 10, True), (14.9, 10, True), (15.1, 10, False), (3, 10, True)])
def test_xla_is_left_out_where_it_is_clearly_slower(on, off, chosen):
    assert xla.worthwhile({"on": on, "off": off}) is chosen


def test_the_shortest_timing_counts_and_compiling_does_not(monkeypatch):
    clock = itertools.accumulate(itertools.chain([0, 60, 0, 0.07], *([0, seconds] for seconds in (0.9, 0.6, 0.75))))
    monkeypatch.setattr(xla.time, "perf_counter", lambda: next(clock))
    counts = []

    class Steps:
        def __call__(self, tables, chunk, first, count):
            counts.append(int(count))
            return self

        def numpy(self):
            return None

    assert xla._seconds(Steps(), {}, {"steps": 8}) == pytest.approx(0.6 / 4)
    assert counts == [1, 1, 4, 4, 4]


def test_only_a_long_training_of_one_process_that_leaves_it_open_measures():
    def measures(asked="auto", positions=2_000_000, workers=1, device="cpu", phase="fit"):
        training, found = Training(xla=asked, epochs=10), hardware.choose(Training())
        plan = dataclasses.replace(fit_plan(training, positions, ITEMS, (8, 512), found.xla), phase=phase)
        on = dataclasses.replace(found, device=device)
        return on_hardware(plan, training, on, Member(0, workers), positions).measures_xla

    assert measures()
    assert not measures(asked="on") and not measures(asked="off")
    assert not measures(positions=40_000)
    assert not measures(workers=2)
    assert not measures(phase="refit")
    assert not measures(device="gpu") and measures(device="gpu", positions=100_000_000)


@pytest.mark.slow
def test_measuring_changes_nothing_but_the_choice(features, tmp_path, off_is_faster):
    """Weights, moments, dropout masks and batches are those of a training that was told to leave XLA out."""
    learn(config(xla="off"), features, tmp_path / "told")
    assert not off_is_faster
    learn(config(xla="auto"), features, tmp_path / "measured")
    assert len(off_is_faster) == 1 and all(off_is_faster[0].values())
    for one, other in zip(weights(tmp_path / "told"), weights(tmp_path / "measured"), strict=True):
        np.testing.assert_array_equal(one, other)
    told, measured = rows(tmp_path / "told"), rows(tmp_path / "measured")
    assert [row["loss"] for row in told] == [row["loss"] for row in measured]
    assert {row["xla"] for row in measured} == {"off"}  # of the refits too
    found = storage.read_json(storage.join(str(tmp_path / "measured"), model_files.MODEL))["hardware"]
    assert (found["xla"], found["xla_step_ms"]) == (False, {"on": 50.0, "off": 10.0})


@pytest.mark.slow
def test_a_resumed_training_goes_on_with_what_was_measured(features, tmp_path, off_is_faster, monkeypatch):
    monkeypatch.setattr(steps, "CALL_SECONDS", 0.0)  # one step a call
    learn(config(xla="off"), features, tmp_path / "told")
    asked = iter(range(10_000))
    with pytest.raises(RetryError, match="checkpoint saved"):
        learn(config(xla="auto"), features, tmp_path / "broken", lambda: next(asked) >= 7)
    learn(config(xla="auto"), features, tmp_path / "broken")
    assert len(off_is_faster) == 1
    for one, other in zip(weights(tmp_path / "told"), weights(tmp_path / "broken"), strict=True):
        np.testing.assert_array_equal(one, other)
