"""Packing: every training event is a target once, with what came before it and nothing else."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from recsys.contract import histories
from recsys.contract.features_info import read_info
from recsys.methods.cnn import read_encoder, read_item_bags
from recsys.model import encoding
from recsys.training import packing
from tests.support import STEP, chains, write_features

ROWS, LENGTH = 4, 16


@pytest.fixture
def features(tmp_path):
    return write_features(tmp_path, chains(), 40)


def batches(features, epoch=0, seed=0, part=lambda block: block.head(block.train_length)):
    encoder = read_encoder(features, read_info(features).evaluated)
    return list(packing.training_batches(features, encoder, part, ROWS, LENGTH, seed, epoch))


def flat(found, name):
    return np.concatenate([batch[name].reshape(-1, *batch[name].shape[2:]) for batch in found])


def test_every_training_event_is_a_target_once_after_the_event_before_it(features):
    found = batches(features)
    weight = flat(found, "weight") > 0
    pairs = list(zip(flat(found, "position")[weight], flat(found, "item")[weight], flat(found, "target")[weight], strict=True))
    block = histories.read(features)
    expected = []
    for user in range(len(block)):
        items = block.items[block.offsets[user] : block.offsets[user] + block.train_length[user]].tolist()
        expected += [(place, before, item) for place, (before, item) in enumerate(zip([0, *items], items, strict=False))]
    assert sorted(pairs) == sorted(expected)


def test_cold_starts_are_more_events_of_the_user_without_what_came_before(features):
    encoder = read_encoder(features, read_info(features).evaluated)
    block = histories.read(features)
    events = int(block.train_length.sum())

    def found(share):
        made = packing.training_batches(features, encoder, lambda b: b.head(b.train_length), ROWS, LENGTH, 0, 0, share)
        return list(made)

    plain, more = found(0.0), found(0.25)
    weight = flat(more, "weight") > 0
    assert weight.sum() == events + round(0.25 * events)
    starts = (flat(more, "position")[weight] == 0).sum() - (flat(plain, "position")[flat(plain, "weight") > 0] == 0).sum()
    assert starts == round(0.25 * events)
    assert not flat(more, "item")[flat(more, "position") == 0].any()
    extra = np.bincount(flat(more, "target")[weight]) - np.bincount(flat(plain, "target")[flat(plain, "weight") > 0])
    assert (extra >= 0).all()
    assert len(set(flat(more, "target")[weight & (flat(more, "position") == 0)])) > len({*block.items[block.offsets[:-1]]}) / 2


def test_shapes_are_static_and_only_the_end_of_the_last_batch_is_padding(features):
    found = batches(features)
    assert {batch[name].shape[:2] for batch in found for name in batch} == {(ROWS, LENGTH)}
    weight = flat(found, "weight")
    total = read_info(features).train_events
    assert weight[:total].all()
    assert not weight[total:].any()
    assert len(weight) - total < ROWS * LENGTH


def test_histories_stay_whole_and_in_order(features):
    found = batches(features)
    position, item = flat(found, "position"), flat(found, "item")
    weight = flat(found, "weight") > 0
    steps = np.diff(position[weight])
    assert set(steps[position[weight][1:] > 0]) == {1}
    assert ((item[weight] == 0) == (position[weight] == 0)).all()


def test_epochs_differ_and_the_seed_fixes_them(features):
    first, again, other = batches(features), batches(features), batches(features, epoch=1)
    np.testing.assert_array_equal(flat(first, "target"), flat(again, "target"))
    assert (flat(first, "target") != flat(other, "target")).any()


def test_a_later_event_changes_no_training_batch(tmp_path):
    events = chains()
    changed = [[*history[:-1], history[-1] % 40 + 1] for history in events]
    before = batches(write_features(tmp_path / "a", events, 40))
    after = batches(write_features(tmp_path / "b", changed, 40))
    for one, other in zip(before, after, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_ratings_gaps_and_user_features_stand_beside_their_event(features):
    found = batches(features)
    item, rating, gap = flat(found, "item"), flat(found, "rating"), flat(found, "gap")
    there = item > 0
    np.testing.assert_allclose(rating[there], ((1 + item[there] % 5) - 3.0) / 1.4, rtol=1e-6)
    assert not rating[~there].any()
    place = flat(found, "position")[there] - 1  # of the event itself; it came STEP (2 place - 1) seconds after the one before
    expected = np.where(place > 0, 1 + np.floor(np.log2(1 + STEP * np.maximum(2 * place - 1, 0))), 0)
    np.testing.assert_array_equal(gap[there], expected)
    block = histories.read(features)
    owners = set(zip(np.repeat(block.user_index, block.lengths), block.items, strict=True))
    assert set(zip(flat(found, "user")[there], item[there], strict=True)) <= owners


def test_dates_stand_beside_their_event_and_periods_are_counted_in_the_same_part(features):
    found, block = batches(features), histories.read(features)
    day, item, user = (flat(found, name) for name in ("day", "item", "user"))
    owner = np.repeat(block.user_index, block.lengths)
    when = dict(zip(zip(owner, block.items, strict=True), block.timestamps // 86_400, strict=True))
    there = item > 0
    assert day[there].tolist() == [when[pair] for pair in zip(user[there], item[there], strict=True)]
    assert not day[~there].any() and len(set(day[there])) > 1
    trained = block.head(block.train_length)
    counts = packing.day_counts(features, lambda some: some.head(some.train_length))
    np.testing.assert_array_equal(counts, np.bincount(trained.timestamps // 86_400))


@pytest.mark.parametrize("steps", [1, 3, 1000])
def test_chunks_hold_all_batches_in_order(features, steps):
    found = batches(features)
    chunks = list(packing.chunks(iter(found), steps))
    assert [int(chunk["steps"]) for chunk in chunks] == [min(steps, len(found) - n) for n in range(0, len(found), steps)]
    for name in packing.POSITIONS:
        together = np.concatenate([chunk[name] for chunk in chunks])
        np.testing.assert_array_equal(together[: len(found)], [batch[name] for batch in found])
        assert len(together) % steps == 0 and not together[len(found) :].any()


def test_scoring_rows_hold_the_last_events_and_their_places(features):
    block = histories.read(features)
    encoder = read_encoder(features, read_info(features).evaluated)
    rows = encoding.scoring_rows(block, encoder, 6)
    for user in range(len(block)):
        items = [0, *block.items[block.offsets[user] : block.offsets[user + 1]]][-6:]
        assert rows["item"][user].tolist() == [0] * (6 - len(items)) + items
        assert rows["position"][user, -1] == block.lengths[user]


def test_a_user_without_events_is_a_row_with_features_alone(features):
    encoder = read_encoder(features, read_info(features).evaluated)
    nobody = histories.Histories(
        np.array([61], np.int32),
        np.array([0, 0]),
        *(np.zeros(0, t) for t in (np.int32, np.float32, np.int64)),
        *2 * (np.zeros(1, np.int32),),
    )
    rows = encoding.scoring_rows(nobody, encoder, 4)
    assert not rows["item"].any()
    np.testing.assert_array_equal(rows["user_codes"][0, -1], encoder.users.codes[61])


def test_item_bags_give_each_feature_its_own_codes(features):
    fitted = read_info(features).evaluated
    bags = read_item_bags(features, fitted)
    assert encoding.sizes(fitted.item_features) == (5, 2)
    assert bags.codes.shape == (41, 2)
    assert bags.codes[2].tolist() == [2, 4]  # item 2: genres [1 + 1 % 3, 4]
    assert not bags.codes[0].any()
    assert bags.numbers[1, 0] == pytest.approx(-1.0)


def test_users_of_a_large_data_set_do_not_end_every_epoch_in_the_same_order(tmp_path, monkeypatch):
    """Nine files, two of which are permuted together: which come last changes from epoch to epoch."""
    monkeypatch.setattr(packing, "FILES_PER_CHUNK", 2)
    features = write_features(tmp_path, chains(users=90), 40)
    place = tmp_path / "histories" / "part-00000.parquet"
    table = pq.read_table(place)
    for number in range(9):
        pq.write_table(table.slice(10 * number, 10), tmp_path / "histories" / f"part-{number:05d}.parquet")
    whole = sorted(flat(batches(features), "target")[flat(batches(features), "weight") > 0])
    for epoch in range(8):
        found = batches(features, epoch)
        assert sorted(flat(found, "target")[flat(found, "weight") > 0]) == whole
    assert len({ending_file(features, epoch) for epoch in range(8)}) > 2


def ending_file(features, epoch):
    """The file whose users end an epoch."""
    block = histories.read(features)
    found = batches(features, epoch)
    last = flat(found, "target")[flat(found, "weight") > 0][-3:].tolist()
    learned = block.head(block.train_length)
    ends = [learned.items[end - 3 : end].tolist() == last for end in learned.offsets[1:]]
    return int(np.flatnonzero(ends)[0]) // 10


@pytest.mark.parametrize(("rows", "length", "steps"), [(4, 16, packing.STEPS), (64, 8192, 2), (512, 65536, 1)])
def test_a_chunk_is_bounded_by_its_bytes_as_well(rows, length, steps):
    spec = packing.dataset(lambda: iter(()), rows, length).element_spec
    assert spec["item"].shape == (steps, rows, length)
