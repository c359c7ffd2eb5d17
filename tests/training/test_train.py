"""The train stage through real steps: it learns, resumes to the same weights, stops early, and exports what it scores."""

import csv

import numpy as np
import pytest
import tensorflow as tf

from recsys import storage
from recsys.config import Config, Evaluation, Model, Training
from recsys.contract import histories, model_files
from recsys.contract.features_info import read_info
from recsys.errors import MissingComponentError, RetryError
from recsys.measure.protocol import evaluate
from recsys.methods import serving
from recsys.methods.cnn import NetworkScorer, evaluated_scorers, published_scorer
from recsys.model import encoding
from recsys.progress import Progress
from recsys.training import checkpoint, hardware, packing
from recsys.training.plan import batch_shape, fit_plan, refit_plan, sample_size
from recsys.training.train import train
from tests.support import chains, write_features

ITEMS = 40


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return write_features(tmp_path_factory.mktemp("features"), chains(users=200), ITEMS)


def config(**training):
    settings = {"epochs": 3, "batch_tokens": 256, "row_length": 64, "learning_rate": 0.01, "refit_epochs": 1, "xla": "off"}
    return Config(
        model=Model(width=16, dilations=(1, 2), dropout=0.1),
        training=Training(**{**settings, **training}),
        evaluation=Evaluation(max_users=150),
    )


def quiet():
    return Progress(quiet=True)


def weights(folder, name=model_files.PUBLISHED):
    return [np.asarray(v) for v in serving.load(storage.join(str(folder), name)).weights]


@pytest.fixture(scope="module")
def trained(features, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("model"))
    train(config(), features, folder, quiet(), lambda: False)
    return folder


@pytest.mark.slow
def test_it_learns_the_order_better_than_chance(features, tmp_path):
    folder = str(tmp_path)
    train(config(epochs=12, refit_epochs=0), features, folder, quiet(), lambda: False)
    blend, alone = evaluated_scorers(config(), features, folder)
    found = {s.name: evaluate(s, histories.read(features), "test", ITEMS).per_user["ndcg@10"].mean() for s in (blend, alone)}
    assert found["cnn-alone"] > 0.4  # chance is about .12, always knowing the most likely next item about .8
    assert found["cnn"] >= found["cnn-alone"] - 0.05


def test_the_folder_is_whole_and_tells_what_happened(trained):
    assert storage.is_whole(trained)
    assert not storage.exists(storage.join(trained, model_files.CHECKPOINT))
    with open(storage.join(trained, model_files.HISTORY), encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["phase"], row["epoch"]) for row in rows] == [("fit", "1"), ("fit", "2"), ("fit", "3"), ("refit", "1")]
    assert float(rows[2]["loss"]) < float(rows[0]["loss"])
    assert storage.read_json(storage.join(trained, model_files.MODEL))["hardware"]["device"] == "cpu"


def test_a_rerun_gives_the_same_weights(features, trained, tmp_path):
    train(config(), features, str(tmp_path), quiet(), lambda: False)
    for one, other in zip(weights(trained), weights(tmp_path), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("after", [3, 17])
@pytest.mark.slow
def test_asked_to_end_in_either_phase_it_saves_a_checkpoint_and_goes_on_to_the_same_weights(features, trained, tmp_path, after):
    asked = iter(range(10_000))
    with pytest.raises(RetryError, match="checkpoint saved"):
        train(config(), features, str(tmp_path), quiet(), lambda: next(asked) >= after)
    assert storage.exists(storage.join(str(tmp_path), model_files.CHECKPOINT))
    assert not storage.is_whole(str(tmp_path))
    train(config(), features, str(tmp_path), quiet(), lambda: False)
    for one, other in zip(weights(trained), weights(tmp_path), strict=True):
        np.testing.assert_array_equal(one, other)


def ndcg(features, folder):
    alone = evaluated_scorers(config(), features, folder)[1]
    return evaluate(alone, histories.read(features), "test", ITEMS).per_user["ndcg@10"].mean()


@pytest.mark.slow
def test_with_drawn_negatives_it_learns_about_as_much(features, tmp_path):
    for name, count in (("full", 0), ("drawn", 20)):
        train(config(epochs=12, refit_epochs=0, negatives=count), features, str(tmp_path / name), quiet(), lambda: False)
    assert ndcg(features, str(tmp_path / "drawn")) > ndcg(features, str(tmp_path / "full")) - 0.08
    assert storage.read_json(storage.join(str(tmp_path / "drawn"), model_files.MODEL))["negatives"] == 20


@pytest.mark.slow
def test_with_drawn_negatives_it_goes_on_to_the_same_weights(features, tmp_path):
    settings = config(epochs=2, refit_epochs=0, negatives=16, xla="on")
    train(settings, features, str(tmp_path / "whole"), quiet(), lambda: False)
    asked = iter(range(10_000))
    with pytest.raises(RetryError, match="checkpoint saved"):
        train(settings, features, str(tmp_path / "broken"), quiet(), lambda: next(asked) >= 7)
    train(settings, features, str(tmp_path / "broken"), quiet(), lambda: False)
    for one, other in zip(weights(tmp_path / "whole"), weights(tmp_path / "broken"), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    standing = checkpoint.Standing()
    checkpoint.save(str(tmp_path), standing, [tf.Variable([1.0, 2.0])], [])
    with pytest.raises(RetryError, match="another network"):
        checkpoint.load(str(tmp_path), [tf.Variable([1.0, 2.0, 3.0])])


def test_training_stops_when_validation_gets_no_better(features, tmp_path):
    train(config(epochs=30, patience=2, learning_rate=0.05), features, str(tmp_path), quiet(), lambda: False)
    with open(storage.join(str(tmp_path), model_files.HISTORY), encoding="utf-8") as file:
        scores = [float(row["ndcg@10"]) for row in csv.DictReader(file) if row["phase"] == "fit"]
    assert len(scores) < 30
    assert int(np.argmax(scores)) == len(scores) - 3


def test_the_saved_model_answers_as_the_scorer_does(features, trained):
    model = serving.load(storage.join(trained, model_files.PUBLISHED))
    encoder = encoding.make_encoder(features, read_info(features).evaluated)
    block = histories.read(features).rows(np.arange(20))
    scores = NetworkScorer(model, encoder).score(block)
    length = int(block.lengths.max())
    padded = {
        name: np.zeros((20, length), dtype)
        for name, dtype in (("items", "int32"), ("ratings", "float32"), ("timestamps", "int64"))
    }
    for user in range(20):
        events = slice(block.offsets[user], block.offsets[user + 1])
        for name, array in padded.items():
            array[user, : block.lengths[user]] = getattr(block, name)[events]
    served = tf.saved_model.load(storage.join(trained, model_files.SAVED_MODEL)).signatures["serving_default"]
    answer = served(
        **{name: tf.constant(array) for name, array in padded.items()},
        user_codes=tf.constant(encoder.users.codes[block.user_index]),
        user_numbers=tf.constant(encoder.users.numbers[block.user_index]),
    )
    for user in range(20):
        seen = set(padded["items"][user]) - {0}
        best = [i for i in np.argsort(-scores[user], kind="stable") if i and i not in seen]
        found = answer["item_index"].numpy()[user][: ITEMS - len(seen)]
        np.testing.assert_allclose(answer["score"].numpy()[user][: len(best)], scores[user][best], atol=1e-4)
        assert set(found) == set(best)


def test_the_published_model_has_learned_from_the_last_events_too(features, trained):
    known = np.asarray(serving.load(storage.join(trained, model_files.EVALUATED)).item_known)
    everything = np.asarray(serving.load(storage.join(trained, model_files.PUBLISHED)).item_known)
    assert (everything >= known).all()
    scorer = published_scorer(config(), features, trained)
    assert scorer.score(histories.read(features).rows(np.arange(3))).shape == (3, ITEMS + 1)


def test_the_plan_follows_from_the_size_of_the_data():
    small, large = fit_plan(Training(), 40_000, 500, (2, 256), True), fit_plan(Training(), 32_000_000, 80_000, (64, 256), True)
    assert small.epochs == 16 > large.epochs >= 4
    assert batch_shape(Training(), 40_000) == (1, 512)
    assert batch_shape(Training(), 1_000_000) == (8, 512)
    assert refit_plan(Training(), 40_000, 500, (2, 256), True, [{"ndcg@10": 0.1}] * 7 + [{"ndcg@10": 0.2}]).epochs == 2


def test_large_catalogues_are_sampled_unless_told_otherwise():
    assert sample_size(Training(), 50_000) == 0
    assert sample_size(Training(), 50_001) == 4096
    assert sample_size(Training(negatives=0), 1_000_000) == 0
    assert sample_size(Training(negatives=64), 100) == 64


def test_a_demanded_gpu_that_is_not_there_is_a_missing_component():
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    with pytest.raises(MissingComponentError, match="no GPU"):
        hardware.choose(Training(device="gpu"))


@pytest.mark.parametrize(
    ("device", "made_for_gpus", "warned"), [("auto", True, True), ("auto", False, False), ("cpu", True, False)]
)
def test_falling_back_to_the_cpu_is_warned_of_where_a_gpu_was_to_be_expected(monkeypatch, device, made_for_gpus, warned):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [])
    monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: made_for_gpus)
    chosen = hardware.choose(Training(device=device))
    assert chosen.device == "cpu"
    assert ("finds none" in chosen.warning) is warned


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_with_float32_logits(features, tmp_path, precision):
    train(config(epochs=1, refit_epochs=0, precision=precision), features, str(tmp_path), quiet(), lambda: False)
    model = serving.load(storage.join(str(tmp_path), model_files.PUBLISHED))
    assert model.compute_dtype == precision.removeprefix("mixed_")
    assert {v.dtype for v in model.trainable_variables} == {"float32"}
    encoder = encoding.make_encoder(features, read_info(features).evaluated)
    rows = packing.scoring_rows(histories.read(features).rows(np.arange(2)), encoder, 8)
    assert model(rows).dtype == "float32"
