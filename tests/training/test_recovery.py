"""Divergence and memory that runs out: once, training helps itself; the second time it ends and says what to lower."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from recsys import storage
from recsys.contract import model_files, schema
from recsys.errors import ConfigError, RecsysError
from recsys.training import learner
from recsys.training import train as training
from recsys.training.checkpoint import Standing
from recsys.training.plan import fit_plan
from recsys.training.recovery import remedy
from tests.support import chains, write_features
from tests.training.test_train import ITEMS, PHASES, Said, config, learn, rows, weights


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return write_features(tmp_path_factory.mktemp("features"), chains(), ITEMS)


@pytest.fixture
def a_bad_batch(monkeypatch):
    """The 6th batch of the training holds a rating that is no number, the first time that it is read, as by a memory fault."""
    given, made = [], training.epoch_data

    def poisoned(*arguments):
        data = made(*arguments)

        def chunks(epoch, first):
            for chunk in data(epoch, first):
                rating = chunk["rating"].numpy()
                for number in range(int(chunk["steps"])):
                    given.append(number)
                    if len(given) == 6:
                        rating[number] = np.nan
                yield {**chunk, "rating": tf.constant(rating)}

        return chunks

    monkeypatch.setattr(training, "epoch_data", poisoned)


@pytest.mark.slow
def test_divergence_goes_back_to_the_last_checkpoint_with_half_the_rate(features, tmp_path, a_bad_batch):
    said = Said()
    learn(config(epochs=3), features, tmp_path, progress=said)
    (warning,) = (line for line in said.lines if "diverged" in line)
    assert "the loss is nan at fit epoch 3, step 2" in warning and "half the learning rate (0.005)" in warning
    assert "from the checkpoint at epoch 3, step 1" in warning
    found = rows(tmp_path)
    assert [(row["phase"], row["epoch"]) for row in found] == PHASES
    assert [row["learning_rate"] for row in found] == ["0.01", "0.01", "0.005", "0.005", "0.005"]
    model = storage.read_json(storage.join(str(tmp_path), model_files.MODEL))
    assert model["learning_rate"] == {"fit": 0.005, "refit": 0.005, "final": 0.005}
    assert all(np.isfinite(value).all() for value in weights(tmp_path))


@pytest.mark.slow
def test_a_second_divergence_ends_with_the_step_and_what_to_lower(tmp_path):
    """A rating that is no number stays one, whatever the rate."""
    features = write_features(tmp_path / "features", chains(), ITEMS)
    path = tmp_path / "features" / schema.HISTORIES_DIR / "part-00000.parquet"
    table = pq.read_table(path)
    ratings = [[float("nan")] * len(one) for one in table[schema.RATINGS].to_pylist()]
    column = pa.array(ratings, table.schema.field(schema.RATINGS).type)
    pq.write_table(table.set_column(table.schema.get_field_index(schema.RATINGS), schema.RATINGS, column), path)
    with pytest.raises(RecsysError, match="training diverged: the loss is nan at fit epoch 1, step 1") as raised:
        learn(config(), features, tmp_path / "model")
    assert raised.value.exit_code == 70
    assert "half the learning rate" in str(raised.value) and "training.learning_rate" in str(raised.value)


@pytest.mark.slow
def test_a_network_whose_weights_are_no_numbers_is_never_exported(tmp_path, monkeypatch):
    """The last step may spoil the weights, and no loss tells."""
    features = write_features(tmp_path / "features", chains(), ITEMS, valid=0)
    plan = training.fit_plan
    monkeypatch.setattr(training, "fit_plan", lambda *given: dataclasses.replace(plan(*given), learning_rate=np.inf))
    with pytest.raises(RecsysError, match="weights are no numbers at fit epoch 1"):
        learn(config(epochs=1, batch_tokens=4096), features, tmp_path / "model")
    assert not list((tmp_path / "model").glob("*.keras"))


@pytest.fixture
def too_large(monkeypatch):
    """`too_large(blocks)`: up to so many blocks a step ends with the error by which TensorFlow says that memory ran out.

    TensorFlow itself would first wait ten seconds for memory; see tests/run/test_ending.py.
    """

    def limit(most):
        made = learner.make_steps

        def make(model, optimizer, plan, workers, soft):
            steps = made(model, optimizer, plan, workers, soft)

            def limited(*given):
                if plan.loss_blocks <= most:
                    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
                return steps(*given)

            return limited

        monkeypatch.setattr(learner, "make_steps", make)

    return limit


@pytest.mark.slow
def test_when_memory_runs_out_the_logits_are_computed_in_smaller_blocks(features, tmp_path, too_large):
    said = Said()
    learn(config(epochs=1, refit_epochs=0), features, tmp_path / "enough")
    too_large(1)
    learn(config(epochs=1, refit_epochs=0), features, tmp_path / "little", progress=said)
    (warning,) = (line for line in said.lines if "memory" in line)
    assert "ran out of memory at fit epoch 1, step 1; continuing with the logits in smaller blocks" in warning
    for one, other in zip(weights(tmp_path / "enough"), weights(tmp_path / "little"), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.slow
def test_if_that_does_not_help_it_says_which_setting_to_lower(features, tmp_path, too_large):
    too_large(1000)
    with pytest.raises(ConfigError, match=r"ran out of memory at fit epoch 1, step 1: .*OOM.* lower training\.batch_tokens"):
        learn(config(epochs=1, refit_epochs=0), features, tmp_path)


def test_workers_cannot_change_their_blocks_together():
    plan = fit_plan(config().training, 1000, ITEMS, (5, 64), False)
    failure = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
    with pytest.raises(ConfigError, match=r"OOM when allocating tensor; lower training\.batch_tokens"):
        remedy(failure, Standing(), plan, workers=2)
