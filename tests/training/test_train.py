"""The train stage through real steps: it learns, resumes to the same weights, stops early, and exports what it scores."""

import csv
import dataclasses
import shutil

import numpy as np
import pytest
import tensorflow as tf

from recsys import storage
from recsys.blocks import CPU, of_gpu
from recsys.config import Config, Evaluation, Model, Training
from recsys.contract import histories, model_files, schema
from recsys.contract.features_info import read_info
from recsys.errors import RetryError
from recsys.measure.protocol import evaluate
from recsys.measure.targets import find_targets
from recsys.methods import blend, blending
from recsys.methods.blend import Blend
from recsys.methods.cnn import Network, load_model, read_encoder
from recsys.methods.serving import save_blend_for_serving
from recsys.methods.tiles import BLOCK_USERS, FEWEST_ROWS, GROUP
from recsys.model import encoding
from recsys.model.network import PERIODS
from recsys.progress import Progress, silent
from recsys.training import hardware, steps
from recsys.training import train as training
from recsys.training.optimizer import Rates
from recsys.training.phase import Setting
from recsys.training.plan import batch_shape, fit_plan, refit_plan, sample_size
from recsys.training.train import train
from tests.methods.matrices import WEIGHTS, logits_of
from tests.support import chains, write_features

ITEMS = 40
PHASES = [("fit", "1"), ("fit", "2"), ("fit", "3"), ("refit", "1"), ("final", "1")]
"""Of `config()`, with the numbers of their epochs."""


def periods(folder, name=model_files.PUBLISHED):
    return load_model(storage.join(str(folder), name), "float32").periods.numpy()


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


def learn(settings, features, folder, stopped=lambda: False, progress=None):
    """The networks in `folder`; returns what model.json holds."""
    setting = Setting(settings, features, read_info(features), hardware.choose(settings.training))
    return train(setting, str(folder), progress or Progress(quiet=True), stopped)


class Said(Progress):
    """Keeps its lines."""

    def __init__(self):
        super().__init__(quiet=True)
        self.lines = []

    def __call__(self, text):
        self.lines.append(text)


def network(features, folder, name=model_files.EVALUATED, tile_bytes=CPU.scores):
    """The network that was measured, as a scorer."""
    uri = storage.join(str(folder), name)
    return Network.load(uri, read_encoder(features, read_info(features).evaluated), "float32", tile_bytes)


def weights(folder, name=model_files.PUBLISHED):
    return [np.asarray(v) for v in load_model(storage.join(str(folder), name), "float32").weights]


def rows(folder):
    with open(storage.join(str(folder), model_files.HISTORY), encoding="utf-8") as file:
        return list(csv.DictReader(file))


def ndcg(features, scorer):
    data = histories.read(features)
    return evaluate(scorer, data, find_targets(data, "test"), ITEMS).per_user["ndcg@10"].mean()


@pytest.fixture(scope="module")
def trained(features, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("model"))
    learn(config(), features, folder)
    return folder


@pytest.mark.slow
def test_it_learns_the_order_better_than_chance_and_the_blend_does_not_spoil_it(features, tmp_path):
    folder = str(tmp_path)
    learn(config(epochs=12, refit_epochs=0), features, folder)
    alone = network(features, folder)
    assert ndcg(features, alone) > 0.4  # chance is about .12, always knowing the most likely next item about .8
    blending.fit(alone, histories.read(features), read_info(features), folder, 0, silent, list)
    blended = Blend.load(storage.join(folder, model_files.EVALUATED_BLEND), alone)
    assert ndcg(features, blended) >= ndcg(features, alone) - 0.05


def test_a_blend_that_is_there_is_not_fitted_again(features, trained, monkeypatch):
    fits = []
    count = blending.count
    monkeypatch.setattr(blending, "count", lambda *given: fits.append(given) or count(*given))
    given = network(features, trained), histories.read(features), read_info(features), trained, 0, silent, list
    first = blending.fit(*given)
    assert len(fits) == 3  # to choose, to evaluate, to publish
    assert blending.fit(*given) == first
    assert len(fits) == 3


@pytest.mark.parametrize("valid_from", [None, 5])
def test_only_histories_that_end_at_different_times_are_measured_at_different_moments(features, trained, valid_from, tmp_path):
    info, everything = read_info(features), histories.read(features)
    info = dataclasses.replace(info, split=dataclasses.replace(info.split, valid_from=valid_from))
    blending.fit(None, everything, info, str(tmp_path), 0, silent, list)
    alone, blends = network(features, trained), (model_files.EVALUATED_BLEND, model_files.PUBLISHED_BLEND)
    evaluated, published = (Blend.load(str(tmp_path / name), alone).counts.trends.moments for name in blends)
    assert len(published) == 1
    assert len(evaluated) > 5 if valid_from is None else len(evaluated) == 1
    before_test = everything.head(everything.valid_length)
    assert (evaluated[-1], published[0]) == (before_test.timestamps.max(), everything.timestamps.max())


def test_the_folder_tells_what_happened(trained):
    assert not storage.exists(storage.join(trained, model_files.CHECKPOINTS))
    assert [(row["phase"], row["epoch"]) for row in rows(trained)] == PHASES
    assert float(rows(trained)[2]["loss"]) < float(rows(trained)[0]["loss"])
    found = storage.read_json(storage.join(trained, model_files.MODEL))["hardware"]
    assert found["device"] == "cpu" and found["deterministic"] is True


def test_all_phases_divide_time_as_the_training_part_does(features, trained):
    data = histories.read(features)
    days = np.sort(data.head(data.train_length).timestamps // schema.DAY)
    expected = days[np.arange(1, PERIODS) * len(days) // PERIODS]
    assert len(np.unique(expected)) > 1
    for name in (model_files.VALIDATED, model_files.EVALUATED, model_files.PUBLISHED):
        np.testing.assert_array_equal(periods(trained, name), expected)


def test_a_training_of_before_there_were_dates_is_finished_without(features, tmp_path):
    learn(dataclasses.replace(config(), model=dataclasses.replace(config().model, use_dates=False)), features, tmp_path)
    for name in (model_files.MODEL, model_files.PUBLISHED):
        (tmp_path / name).unlink()
    learn(config(), features, tmp_path)
    assert not load_model(storage.join(str(tmp_path), model_files.PUBLISHED), "float32").spec.use_dates


@pytest.mark.slow
def test_a_rerun_gives_the_same_weights(features, trained, tmp_path):
    learn(config(), features, str(tmp_path))
    for one, other in zip(weights(trained), weights(tmp_path), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("after", "phase"), [(3, "fit"), (17, "refit"), (23, "final")])
@pytest.mark.slow
def test_asked_to_end_in_any_phase_it_saves_a_checkpoint_and_goes_on_to_the_same_weights(
    features, trained, tmp_path, monkeypatch, after, phase
):
    monkeypatch.setattr(steps, "CALL_SECONDS", 0.0)  # one step a call
    asked = iter(range(10_000))
    with pytest.raises(RetryError, match="checkpoint saved"):
        learn(config(), features, str(tmp_path), lambda: next(asked) >= after)
    assert storage.exists(storage.join(str(tmp_path), model_files.CHECKPOINTS))
    assert not storage.is_whole(str(tmp_path))
    said = Said()
    learn(config(), features, str(tmp_path), progress=said)
    assert any(f"resuming from the checkpoint: {phase} epoch" in line for line in said.lines)
    for one, other in zip(weights(trained), weights(tmp_path), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_with_drawn_negatives_it_learns_about_as_much(features, tmp_path):
    for name, count, xla in (("full", 0, "off"), ("drawn", 20, "on")):
        learn(config(epochs=12, refit_epochs=0, negatives=count, xla=xla), features, str(tmp_path / name))
    assert ndcg(features, network(features, tmp_path / "drawn")) > ndcg(features, network(features, tmp_path / "full")) - 0.08
    assert storage.read_json(storage.join(str(tmp_path / "drawn"), model_files.MODEL))["negatives"] == 20


@pytest.mark.slow
def test_with_drawn_negatives_it_goes_on_to_the_same_weights(features, tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "CALL_SECONDS", 0.0)  # one step a call
    settings = config(epochs=2, refit_epochs=0, negatives=16)
    learn(settings, features, str(tmp_path / "whole"))
    asked = iter(range(10_000))
    with pytest.raises(RetryError, match="checkpoint saved"):
        learn(settings, features, str(tmp_path / "broken"), lambda: next(asked) >= 7)
    learn(settings, features, str(tmp_path / "broken"))
    for one, other in zip(weights(tmp_path / "whole"), weights(tmp_path / "broken"), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "lost",
    [
        [model_files.MODEL],
        [model_files.MODEL, model_files.PUBLISHED],
        [model_files.MODEL, model_files.PUBLISHED, model_files.EVALUATED],
        [model_files.MODEL, model_files.VALIDATED],
    ],
)
@pytest.mark.slow
def test_what_is_not_there_yet_is_made_again_from_what_it_comes_from(features, trained, tmp_path, lost):
    """As after a kill between two files, while history.csv tells of later phases already; without checkpoints."""
    folder = tmp_path / "model"
    shutil.copytree(trained, folder)
    for name in lost:
        (folder / name).unlink()
    learn(config(), features, folder)
    assert [(row["phase"], row["epoch"]) for row in rows(folder)] == PHASES
    for name in (model_files.VALIDATED, model_files.EVALUATED, model_files.PUBLISHED):
        for one, other in zip(weights(folder, name), weights(trained, name), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_history_that_does_not_tell_of_xla_is_gone_on_with(features, trained, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(trained, folder)
    (folder / model_files.MODEL).unlink()
    kept = [{name: value for name, value in row.items() if name != "xla"} for row in rows(folder) if row["phase"] != "final"]
    with open(folder / model_files.HISTORY, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, kept[0])
        writer.writeheader()
        writer.writerows(kept)
    learn(config(), features, folder)
    for one, other in zip(weights(folder), weights(trained), strict=True):
        np.testing.assert_array_equal(one, other)


def test_after_an_epoch_only_a_sample_of_the_users_is_measured(features, tmp_path, monkeypatch):
    measured = []

    def spied(scorer, data, targets, *rest, **options):
        measured.append(targets.user_index)
        return evaluate(scorer, data, targets, *rest, **options)

    monkeypatch.setattr(training.protocol, "evaluate", spied)
    monkeypatch.setattr(training, "VALIDATION_USERS", 20)
    learn(config(epochs=2, refit_epochs=0), features, tmp_path)
    assert [len(users) for users in measured] == [20, 20]
    np.testing.assert_array_equal(*measured)


@pytest.mark.slow
def test_training_stops_when_validation_gets_no_better(features, tmp_path):
    learn(config(epochs=30, patience=2, learning_rate=0.05), features, str(tmp_path))
    scores = [float(row["ndcg@10"]) for row in rows(tmp_path) if row["phase"] == "fit"]
    assert len(scores) < 30
    assert int(np.argmax(scores)) == len(scores) - 3


@pytest.mark.parametrize("tile_bytes", [CPU.scores, 4 * FEWEST_ROWS * GROUP])
def test_nobodys_scores_depend_on_whom_they_are_scored_with(features, trained, tile_bytes):
    scorer = network(features, trained, model_files.PUBLISHED, tile_bytes)
    assert (scorer.tiles.count, scorer.tiles.rows) == ((1, BLOCK_USERS) if tile_bytes == CPU.scores else (3, FEWEST_ROWS))
    block = histories.read(features)
    together = logits_of(scorer, block)
    method = Blend(scorer, blend.count(block, ITEMS, 0), WEIGHTS)
    items, scores = method.top(block, 10)
    for rows in ([5], [7, 2, 30], range(0, len(block), 3)):
        some = block.rows(np.array(rows))
        np.testing.assert_array_equal(logits_of(scorer, some), together[list(rows)])
        for found, expected in zip(method.top(some, 10), (items, scores), strict=True):
            np.testing.assert_array_equal(found, expected[list(rows)])


def served_histories(block):
    """Histories as the SavedModel takes them."""
    kinds = {"items": "int32", "ratings": "float32", "timestamps": "int64"}
    padded = {name: np.zeros((len(block), int(block.lengths.max())), dtype) for name, dtype in kinds.items()}
    for user in range(len(block)):
        events = slice(block.offsets[user], block.offsets[user + 1])
        for name, array in padded.items():
            array[user, : block.lengths[user]] = getattr(block, name)[events]
    return {name: tf.constant(array) for name, array in padded.items()}


def served_users(encoder, block):
    """Users' features as the SavedModel takes them."""
    bags = encoder.users
    return {
        "user_codes": tf.constant(bags.codes[block.user_index]),
        "user_numbers": tf.constant(bags.numbers[block.user_index]),
    }


def test_the_saved_model_answers_as_the_scorer_does(features, trained):
    scorer = network(features, trained, model_files.PUBLISHED)
    block = histories.read(features).rows(np.arange(20))
    scores = logits_of(scorer, block)
    padded = served_histories(block)
    served = tf.saved_model.load(storage.join(trained, model_files.SAVED_MODEL)).signatures["serving_default"]
    answer = served(**padded, **served_users(scorer.encoder, block))
    for user in range(20):
        seen = set(padded["items"].numpy()[user]) - {0}
        best = [i for i in np.argsort(-scores[user], kind="stable") if i and i not in seen]
        found = answer["item_index"].numpy()[user][: ITEMS - len(seen)]
        np.testing.assert_allclose(answer["score"].numpy()[user][: len(best)], scores[user][best], atol=1e-4)
        assert set(found) == set(best)


def test_the_saved_blend_answers_as_the_blend_does(features, trained, tmp_path):
    """For short, middling and long histories."""
    scorer, block = network(features, trained, model_files.PUBLISHED), histories.read(features).rows(np.arange(40))
    assert block.lengths.min() < WEIGHTS.few < WEIGHTS.many < block.lengths.max()
    method = Blend(scorer, blend.count(block, ITEMS, 0), WEIGHTS)
    save_blend_for_serving(scorer.model, str(tmp_path / "served"), scorer.encoder, method.counts, WEIGHTS)
    given = served_histories(block) | served_users(scorer.encoder, block)
    answer = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"](**given)
    found, scores = answer["item_index"].numpy()[:, :10], answer["score"].numpy()[:, :10]
    np.testing.assert_allclose(scores, method.top(block, 10)[1], atol=1e-3)
    every = method.scores_of(block, np.arange(1, ITEMS + 1, dtype=np.int32))
    np.testing.assert_allclose(scores, np.take_along_axis(every, found - 1, axis=1), atol=1e-3)


def test_each_network_has_learned_from_more_than_the_one_before(tmp_path):
    """Item 41 comes in validation events alone, item 42 in test events alone."""
    events = [[*history[:-2], 41, 42] for history in chains(users=60)]
    features = write_features(tmp_path / "features", events, 42, test=1, valid=1)
    learn(config(epochs=1), features, tmp_path / "model")
    expected = {model_files.VALIDATED: [0, 0], model_files.EVALUATED: [1, 0], model_files.PUBLISHED: [1, 1]}
    for name, known in expected.items():
        model = load_model(storage.join(str(tmp_path / "model"), name), "float32")
        np.testing.assert_array_equal(model.item_known[41:], known)
        assert [abs(float(bias)) > 0 for bias in model.item_bias[41:]] == [bool(one) for one in known]


def test_without_the_refits_all_networks_are_the_same(features, tmp_path):
    learn(config(epochs=1, refit_epochs=0), features, tmp_path)
    validated = weights(tmp_path, model_files.VALIDATED)
    for one, other in zip(validated, weights(tmp_path, model_files.EVALUATED), strict=True):
        np.testing.assert_array_equal(one, other)
    first, last = (network(features, tmp_path, name) for name in (model_files.VALIDATED, model_files.PUBLISHED))
    np.testing.assert_array_equal(logits_of(first, histories.read(features)), logits_of(last, histories.read(features)))
    assert {row["phase"] for row in rows(tmp_path)} == {"fit"}


def scored(ndcg):
    return {"phase": "fit", "ndcg@10": ndcg}


def test_the_plan_follows_from_the_size_of_the_data():
    small, large = fit_plan(Training(), 40_000, 500, (2, 256), True), fit_plan(Training(), 32_000_000, 80_000, (64, 256), True)
    assert small.epochs == 16 > large.epochs >= 4
    assert fit_plan(Training(), 40_000, 500, (2, 256), True, sparse=True).epochs == 64
    assert batch_shape(Training(), 40_000) == (1, 512)
    assert batch_shape(Training(), 1_000_000) == (8, 512)
    assert refit_plan(Training(), 40_000, 500, (2, 256), True, [scored(0.1)] * 7 + [scored(0.2)], "refit").epochs == 2


def test_the_step_gets_the_blocks_of_the_device(features, tmp_path, monkeypatch):
    class Begun(Exception):
        pass

    def begun(model, plan, session, history):
        assert plan.logits_bytes == of_gpu(1 << 30).logits == 64 << 20
        raise Begun

    monkeypatch.setattr("recsys.training.train.fit", begun)
    found = dataclasses.replace(hardware.choose(config().training), device="gpu", memory=1 << 30)
    with pytest.raises(Begun):
        train(Setting(config(), features, read_info(features), found), str(tmp_path), Progress(quiet=True), lambda: False)


def test_large_catalogues_are_sampled_unless_told_otherwise():
    assert sample_size(Training(), 50_000) == 0
    assert sample_size(Training(), 50_001) == 4096
    assert sample_size(Training(negatives=0), 1_000_000) == 0
    assert sample_size(Training(negatives=64), 100) == 64


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.slow
def test_mixed_precision_trains_with_float32_logits(features, tmp_path, precision):
    learn(config(epochs=1, refit_epochs=0, precision=precision), features, str(tmp_path))
    uri = storage.join(str(tmp_path), model_files.PUBLISHED)
    model = load_model(uri, precision)
    assert model.compute_dtype == precision.removeprefix("mixed_")
    assert {v.dtype for v in model.trainable_variables} == {"float32"}
    encoder = read_encoder(features, read_info(features).published)
    inputs = encoding.scoring_rows(histories.read(features).rows(np.arange(2)), encoder, 8)
    assert model(inputs).dtype == "float32"
    here = load_model(uri, "float32")  # trained on a GPU, scored on a CPU
    assert here.compute_dtype == "float32"
    for one, other in zip(here.weights, model.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(here(inputs), model(inputs), atol=0.1)


@pytest.mark.slow
def test_without_validation_events_the_last_weights_are_kept_and_the_refit_is_as_long_as_ever(tmp_path):
    features = write_features(tmp_path / "features", chains(users=100), ITEMS, valid=0)
    said = Said()
    learn(config(epochs=5, refit_epochs=None), features, tmp_path / "model", progress=said)
    assert any("no validation events" in line for line in said.lines)
    assert any(line.endswith("XLA off, deterministic") for line in said.lines)
    found = rows(tmp_path / "model")
    assert [row["phase"] for row in found] == ["fit"] * 5 + ["final"]  # a quarter of five epochs, not of the first
    assert all(not row.get("ndcg@10") for row in found)


@pytest.mark.slow
def test_users_with_too_few_events_teach_nothing(tmp_path):
    """Item 40 is known from users with a single event alone."""
    alone = [[40]] * 30
    events = [[item for item in history if item != 40] for history in chains(users=60)]
    events = [history for history in events if len(history) >= 3] + alone
    features = write_features(tmp_path / "features", events, ITEMS, min_user_events=2)
    learn(config(epochs=1, refit_epochs=1), features, tmp_path / "model")
    for name in (model_files.EVALUATED, model_files.PUBLISHED):
        assert np.asarray(load_model(storage.join(str(tmp_path / "model"), name), "float32").item_known)[40] == 0


@pytest.mark.parametrize(("epochs", "refit"), [(1, 1), (4, 1), (16, 4)])
def test_no_phase_ends_at_its_peak_rate(epochs, refit):
    first = fit_plan(Training(epochs=epochs), 40_000, 500, (2, 256), True)
    second = refit_plan(Training(refit_epochs=refit), 40_000, 500, (2, 256), True, [scored(0.1)] * epochs, "refit")
    for plan in (first, second):
        rate = Rates(plan)
        rates = [float(rate(step)) for step in range(plan.steps * plan.epochs)]
        assert max(rates) == pytest.approx(plan.learning_rate, rel=1e-2)
        assert rates[-1] < 0.01 * plan.learning_rate
        assert np.argmax(rates) <= plan.warmup_steps < len(rates) / 2
