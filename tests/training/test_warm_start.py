"""Going on from an earlier network: what it keeps, what it learns again, how new items begin."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys import storage
from recsys.config import Config, Model, Refresh
from recsys.contract import histories, model_files, schema
from recsys.contract.earlier_run import EarlierRun
from recsys.contract.features_info import read_info, write_info
from recsys.errors import RetryError
from recsys.methods.cnn import Network, read_encoder
from recsys.progress import Progress
from recsys.training import hardware
from recsys.training import warm_start as warm_module
from recsys.training.phase import Setting, build
from recsys.training.plan import WARM_EPOCHS
from recsys.training.train import train
from recsys.training.warm_start import News, WarmStart, describe, warm_start
from tests.methods.matrices import logits_of
from tests.support import STEP, chains, write_features
from tests.training.test_train import config, learn, periods, rows, weights
from tests.training.test_workers import exact, finish, start

ITEMS = 40
SINCE = 1_000_000_000 + STEP * 8 * 8
"""Every ninth event of a user and those after it are later."""
SHUFFLED = np.concatenate(([0], np.random.default_rng(3).permutation(ITEMS) + 1))
"""The later run's index of each item of the earlier one."""


def renumbered(features, to):
    """The same items under other indices, and one more, which no one has had, with the features of item 1."""
    for name in (schema.HISTORIES_DIR, schema.ITEMS_DIR):
        path = f"{features}/{name}/part-00000.parquet"
        table = pq.read_table(path)
        if name == schema.ITEMS_DIR:
            order = np.argsort(to[1:])
            more = table.take(pa.array([*order, 0]))
            more = more.set_column(0, schema.ITEM_INDEX, pa.array(np.arange(1, ITEMS + 2), pa.int32()))
            table = more.set_column(1, schema.ITEM_ID, pa.array([*more[schema.ITEM_ID].to_pylist()[:-1], 7], pa.int64()))
        else:
            lists = [[int(to[item]) for item in one] for one in table[schema.ITEMS].to_pylist()]
            table = table.set_column(1, table.schema.field(1), pa.array(lists, pa.list_(pa.int32())))
        pq.write_table(table, path)
    write_info(features, dataclasses.replace(read_info(features), items=ITEMS + 1))
    return features


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A trained run."""
    folder = tmp_path_factory.mktemp("base")
    features = write_features(folder / "features", chains(users=200), ITEMS)
    learn(config(), features, folder / "model")
    return EarlierRun("before", features, str(folder / "model"), SINCE)


@pytest.fixture(scope="module")
def later(tmp_path_factory):
    """The features of a later run, with its items in another order and a new one."""
    place = tmp_path_factory.mktemp("later") / "features"
    features = renumbered(write_features(place, chains(users=260), ITEMS, test=2, valid=2), SHUFFLED)
    info = read_info(features)
    write_info(features, dataclasses.replace(info, split=dataclasses.replace(info.split, since=SINCE)))
    return features


def warmed(base, features, settings=None):
    settings = settings or config()
    setting = Setting(settings, features, read_info(features), hardware.choose(settings.training))
    found, news = warm_start(base, settings, features, setting.info)
    return dataclasses.replace(setting, warm=found), news


def test_the_carried_network_scores_all_histories_as_before_whatever_the_order_of_items(base, later):
    setting, _ = warmed(base, later)
    encoder = read_encoder(later, setting.info.evaluated)
    model = build(setting, setting.info.evaluated, encoder)
    setting.warm.carry(model, later, setting.info.evaluated)
    before = histories.read(base.features)
    old = Network.load(
        storage.join(base.model, model_files.PUBLISHED), read_encoder(base.features, setting.info.evaluated), "float32"
    )
    here = dataclasses.replace(before, items=SHUFFLED[before.items].astype(np.int32))
    found, wanted = logits_of(Network(model, encoder), here), logits_of(old, before)
    np.testing.assert_allclose(found[:, SHUFFLED[1:]], wanted[:, 1:], atol=1e-4)


def test_periods_are_carried_over_and_an_earlier_network_without_dates_goes_on_without(base, later, tmp_path):
    model = build((setting := warmed(base, later)[0]), setting.info.evaluated, read_encoder(later, setting.info.evaluated))
    setting.warm.carry(model, later, setting.info.evaluated)
    before = periods(base.model)
    assert len(np.unique(before)) > 1
    np.testing.assert_array_equal(model.periods.numpy(), before)
    train(setting, str(tmp_path / "warm"), Progress(quiet=True), lambda: False)
    np.testing.assert_array_equal(periods(tmp_path / "warm"), before, "the vectors of the periods were learned with these")
    learn(config(epochs=1), later, tmp_path / "new")
    assert (periods(tmp_path / "new") != before).any()
    old = str(tmp_path / "old")
    learn(dataclasses.replace(config(), model=Model(width=16, dilations=(1, 2), use_dates=False)), base.features, old)
    made = storage.read_json(storage.join(old, model_files.MODEL))
    made["network"].pop("use_dates")  # as a run of before has it
    storage.write_json(storage.join(old, model_files.MODEL), made)
    setting, _ = warmed(dataclasses.replace(base, model=old), later)
    model = build(setting, setting.info.evaluated, read_encoder(later, setting.info.evaluated))
    setting.warm.carry(model, later, setting.info.evaluated)
    assert not model.spec.use_dates


def test_a_new_item_begins_near_the_items_with_its_features(base, later):
    setting, _ = warmed(base, later)
    encoder = read_encoder(later, setting.info.evaluated)
    model = build(setting, setting.info.evaluated, encoder)
    noise = model.item_vectors.numpy()[ITEMS + 1].copy()
    setting.warm.carry(model, later, setting.info.evaluated)
    vectors, biases = model.item_vectors.numpy(), model.item_bias.numpy()
    assert not np.allclose(vectors[ITEMS + 1], noise)
    assert model.item_known.numpy()[ITEMS + 1] == 0, "until it has an event"
    features = warm_module._feature_vectors(model)
    directions = features / np.linalg.norm(features, axis=1, keepdims=True)
    alike = directions @ directions[ITEMS + 1]
    near = sorted(range(1, ITEMS + 1), key=lambda item: -float(alike[item]))[: warm_module.NEIGHBOURS]
    assert SHUFFLED[1] in near, "it has the very same features"
    np.testing.assert_allclose(vectors[ITEMS + 1], vectors[near].mean(axis=0), atol=1e-6)
    assert biases[ITEMS + 1] == pytest.approx(biases[near].mean(), abs=1e-6)
    assert (vectors[0] == build(setting, setting.info.evaluated, encoder).item_vectors.numpy()[0]).all(), "padding is no item"


@pytest.mark.parametrize("replay", [0.0, 0.5, 1000.0])
def test_all_users_with_later_events_learn_and_as_much_of_the_others_as_asked(base, later, replay):
    settings = dataclasses.replace(config(), refresh=Refresh(replay=replay))
    setting, _ = warmed(base, later, settings)
    block = histories.read(later)
    renewed = {
        int(u)
        for u, start, end in zip(block.user_index, block.offsets[:-1], block.offsets[1:], strict=True)
        if (block.timestamps[start:end] > SINCE).any()
    }
    chosen = setting.warm.chosen(block)
    others = set(chosen.user_index.tolist()) - renewed
    assert renewed <= set(chosen.user_index.tolist()) and renewed
    sizes = dict(zip(block.user_index.tolist(), block.lengths.tolist(), strict=True))
    asked = replay * sum(sizes[user] for user in renewed)
    there = sum(size for user, size in sizes.items() if user not in renewed)
    assert sum(sizes[user] for user in others) == pytest.approx(min(asked, there), rel=0.35, abs=1)
    assert (chosen.lengths <= config().training.row_length).all()
    parts = [
        setting.warm.chosen(block.rows(np.arange(start, min(start + 50, len(block))))) for start in range(0, len(block), 50)
    ]
    assert np.concatenate([part.user_index for part in parts]).tolist() == chosen.user_index.tolist(), "whatever the blocks"


def test_only_the_last_events_of_a_long_history_are_learned_again(base, later):
    settings = config(row_length=4)
    setting, _ = warmed(base, later, settings)
    block = histories.read(later)
    chosen = setting.warm.chosen(block)
    assert chosen.lengths.max() == 4
    row = int(np.flatnonzero(chosen.lengths == 4)[0])
    there = np.flatnonzero(block.user_index == chosen.user_index[row])[0]
    last = block.items[block.offsets[there] : block.offsets[there + 1]][-4:]
    assert chosen.items[chosen.offsets[row] : chosen.offsets[row + 1]].tolist() == last.tolist()


def test_it_learns_what_is_new_without_beginning_again(base, later, tmp_path):
    setting, _ = warmed(base, later)
    train(setting, str(tmp_path / "warm"), Progress(quiet=True), lambda: False)
    learn(config(epochs=WARM_EPOCHS), later, tmp_path / "new")
    warm, new = ([row for row in rows(tmp_path / name) if row["phase"] == "fit"] for name in ("warm", "new"))
    assert len(warm) <= WARM_EPOCHS
    assert float(warm[0]["loss"]) < float(new[0]["loss"])
    assert {row["phase"] for row in rows(tmp_path / "warm")} == {"fit", "final"}, (
        "no refit of its own for the validation events"
    )


@pytest.mark.release
@pytest.mark.slow
def test_two_workers_go_on_as_one_process_does(base, later, tmp_path):
    folder = tmp_path / "earlier"
    learn(exact(), base.features, folder)
    earlier = dataclasses.replace(base, model=str(folder))
    setting, _ = warmed(earlier, later, exact())
    train(setting, str(tmp_path / "one"), Progress(quiet=True), lambda: False)
    finish(start(tmp_path, later, tmp_path / "two", base=dataclasses.astuple(earlier)))
    for name in (model_files.VALIDATED, model_files.PUBLISHED):
        for one, other in zip(weights(tmp_path / "one", name), weights(tmp_path / "two", name), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


class StopAt:
    """Asks to stop at one of its calls."""

    def __init__(self, number):
        self.number, self.calls = number, 0

    def __call__(self):
        self.calls += 1
        return self.calls == self.number


def test_stopped_in_any_phase_it_goes_on_to_the_same_weights(base, later, tmp_path):
    setting, _ = warmed(base, later)
    never = StopAt(0)
    train(setting, str(tmp_path / "whole"), Progress(quiet=True), never)
    for number in (2, never.calls):
        folder = str(tmp_path / str(number))
        with pytest.raises(RetryError):
            train(setting, folder, Progress(quiet=True), StopAt(number))
        train(setting, folder, Progress(quiet=True), StopAt(0))
        for one, other in zip(weights(folder), weights(tmp_path / "whole"), strict=True):
            np.testing.assert_array_equal(one, other)


def test_without_a_split_after_the_earlier_run_a_new_network_is_trained(base, later):
    info = read_info(later)
    found, news = warm_start(
        base, Config(), later, dataclasses.replace(info, split=dataclasses.replace(info.split, since=None))
    )
    assert isinstance(found, str) and "refresh.max_new" in found
    assert describe(found, news)["from"] is None and describe(found, news)["news"]["events"] == news.events


def test_what_is_new_is_counted():
    block = histories.Histories(
        np.array([1, 2, 3], np.int32),
        np.array([0, 3, 5, 6]),
        np.array([1, 2, 3, 1, 1, 2], np.int32),
        np.ones(6, np.float32),
        np.array([1, 2, 9, 1, 2, 9]),
        np.zeros(3, np.int32),
        np.zeros(3, np.int32),
    )
    news = News.of(block, 5, np.array([False, True, True, False]))
    assert news == News(events=2, share=round(2 / 6, 4), new_items=0.5, new_users=1, shift=0.75)


def test_the_warm_setting_is_part_of_what_checkpoints_belong_to(base, later, tmp_path):
    setting, _ = warmed(base, later)
    cold = dataclasses.replace(setting, warm=None)
    assert isinstance(setting.warm, WarmStart)
    files = [one.checkpoints(str(tmp_path), Progress(quiet=True)) for one in (setting, cold)]
    assert files[0]._made_with != files[1]._made_with
