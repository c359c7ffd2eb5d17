"""What positions learn besides their next event: never from another history, and drawn by the transitions' shares."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from recsys.config import Training
from recsys.contract.features_info import read_info
from recsys.methods.transitions import Transitions
from recsys.training import hardware
from recsys.training.phase import Setting, soft
from recsys.training.plan import fit_plan, horizon, transition_smoothing
from recsys.training.soft_targets import DECAY, SAMPLES, WINDOW, SoftTargets, Successors, with_draw
from tests.measure.helpers import histories
from tests.support import chains, write_features
from tests.training.test_train import ITEMS, config

ALL = slice(None)
SHORT = [[1, 2, 3], [4], [5, 6]]


def packed(length=8):
    """Histories end to end as packing has them, cut into rows, the last one padded."""
    flat = {name: [] for name in ("item", "position", "user", "target", "weight")}
    for user, history in enumerate(SHORT, 1):
        flat["item"] += [0, *history[:-1]]
        flat["position"] += range(len(history))
        flat["user"] += [user] * len(history)
        flat["target"] += history
        flat["weight"] += [1.0] * len(history)
    padding = -len(flat["item"]) % length
    kinds = {"weight": np.float32}
    return {n: np.pad(np.array(v, kinds.get(n, np.int32)), (0, padding)).reshape(-1, length) for n, v in flat.items()}


def taught(batch, made, step=0, jit=False):
    call = tf.function(made.__call__, jit_compile=jit)
    return {name: value.numpy() for name, value in call(with_draw(batch, 0, 0, step), made.tensors).items()}


def test_events_ahead_count_less_and_none_is_of_another_history():
    found = taught(packed(), SoftTargets(3, 0.0, None, 1, ALL))
    expected = [{1: 1, 2: DECAY, 3: DECAY**2}, {2: 1, 3: DECAY}, {3: 1}, {4: 1}, {5: 1, 6: DECAY}, {6: 1}]
    for place, shares in enumerate(expected):
        of = dict.fromkeys(shares, 0.0)
        for item, share in zip(found["targets"][0, place], found["shares"][0, place], strict=True):
            if share:
                of[item] += share
        assert of == pytest.approx({item: share / sum(shares.values()) for item, share in shares.items()})
    assert not found["shares"][0, 6:].any()  # padding


def test_events_ahead_end_with_the_row():
    found = taught(packed(length=2), SoftTargets(3, 0.0, None, 3, ALL))
    np.testing.assert_allclose(found["shares"].sum(-1).ravel()[:6], 1.0, rtol=1e-6)
    assert found["targets"][0, 1, 0] == 2 and found["shares"][0, 1, 0] == 1.0  # 3 is in the next row


def test_successors_are_drawn_by_the_shares_of_the_transitions():
    events = histories(chains(users=40, items=12, length=10))
    rows = Transitions.fit_one(events, 12, {"window": WINDOW, "decay": DECAY, "balance": 0.0}).rows.toarray()
    made = SoftTargets(1, 0.5, Successors.count(events, 12, 0), 2000, ALL)
    batch = {
        "item": np.tile(np.int32([[0, 3, 7]]), (2000, 1)),
        "position": np.tile(np.int32([[0, 1, 2]]), (2000, 1)),
        "user": np.ones((2000, 3), np.int32),
        "target": np.full((2000, 3), 9, np.int32),
        "weight": np.ones((2000, 3), np.float32),
    }
    found = taught(batch, made)
    np.testing.assert_array_equal(found["shares"][:, 0], np.tile([1.0, *[0.0] * SAMPLES], (2000, 1)))  # nothing came before
    np.testing.assert_allclose(found["shares"][:, 1:], np.tile([0.5, *[0.5 / SAMPLES] * SAMPLES], (2000, 2, 1)))
    for place, expected in ((1, rows[3]), (2, (rows[7] + DECAY * rows[3]) / (1 + DECAY))):
        drawn = np.bincount(found["targets"][:, place, 1:].ravel(), minlength=13) / (2000 * SAMPLES)
        np.testing.assert_allclose(drawn, expected, atol=4 * np.sqrt(0.25 / (2000 * SAMPLES)))
        assert not drawn[expected == 0].any()


def test_the_events_before_the_row_and_of_other_histories_are_not_drawn_from():
    """Item i is always followed by i + 100: what was drawn says what it was drawn from."""
    events = histories([[item, item + 100] for item in range(1, 7)])
    made = SoftTargets(1, 0.5, Successors.count(events, 106, 0), 3, ALL)
    for step in range(20):
        found = taught(packed(length=2), made, step)
        drawn, there = found["targets"][..., 1:], found["shares"][..., 1:] > 0
        assert set(drawn[there]) <= {101, 102, 105}
        np.testing.assert_array_equal(there.any(-1), [[False, True], [True, False], [False, True]])
        assert set(drawn[1, 0]) == {102}  # 1 is in the row before


def test_an_item_without_successors_leaves_all_to_the_next_event():
    made = SoftTargets(1, 0.5, Successors.count(histories([[1, 2]]), 6, 0), 1, ALL)
    found = taught(packed(), made)
    np.testing.assert_allclose(found["shares"][0, :6].sum(-1), 1.0, rtol=1e-6)
    assert found["shares"][0, 5, 0] == 1.0  # after 5


def test_where_nobody_had_a_second_event_the_next_ones_are_all():
    found = taught(packed(), SoftTargets(1, 0.5, Successors.count(histories([[1], [2], []]), 6, 0), 1, ALL))
    np.testing.assert_array_equal(found["targets"][..., 0], packed()["target"])
    np.testing.assert_array_equal(found["shares"][..., 0], packed()["weight"])


def test_a_worker_draws_its_part_of_what_one_process_draws():
    events = histories(chains(users=40, items=12, length=10))
    successors, batch = Successors.count(events, 12, 0), packed(length=2)
    whole = taught(batch, SoftTargets(2, 0.5, successors, 3, ALL))
    part = taught({name: value[1:] for name, value in batch.items()}, SoftTargets(2, 0.5, successors, 3, slice(1, 3)))
    for name, value in whole.items():
        np.testing.assert_array_equal(value[1:], part[name])


def test_a_later_phase_has_the_same_form_while_there_is_room_and_draws_what_it_would_alone():
    few = chains(users=40, items=12, length=10)
    more, many = [*few, [13, 14, 15], [15, 3]], [*few, *(np.random.default_rng(0).permutation(40) + 1 for _ in range(9))]
    counted = [Successors.count(histories([list(one) for one in events]), 40, 0) for events in (few, more, many)]
    first, alone = (SoftTargets(1, 0.5, successors, 1, ALL) for successors in counted[:2])
    second, third = (SoftTargets(1, 0.5, successors, 1, ALL, first) for successors in counted[1:])
    assert len(counted[0].items) < len(counted[1].items)
    assert second.form == first.form and third.form != first.form
    assert {name: value.shape for name, value in second.tensors.items()} == {n: v.shape for n, v in first.tensors.items()}
    np.testing.assert_array_equal(taught(packed(), alone)["targets"], taught(packed(), second)["targets"])


def test_the_step_decides_the_draw_with_xla_and_without():
    made = SoftTargets(1, 0.5, Successors.count(histories(chains(users=40, items=12, length=10)), 12, 0), 1, ALL)
    for jit in (False, True):
        draws = [taught(packed(), made, step, jit)["targets"] for step in (0, 0, 1, 2, 3)]
        np.testing.assert_array_equal(draws[0], draws[1])
        assert any((draws[0] != other).any() for other in draws[2:])


def test_only_the_part_that_is_learned_from_is_counted(tmp_path):
    """The validation and test events are the last two of each history; here they change."""
    events = chains(users=60, items=ITEMS)
    changed = [[*history[:-2], *history[:-3:-1]] for history in events]
    found = []
    given = config(transition_smoothing=0.5)
    for name, made in (("one", events), ("other", changed)):
        features = write_features(tmp_path / name, made, ITEMS)
        info = read_info(features)
        setting = Setting(given, features, info, hardware.choose(given.training))
        plan = fit_plan(given.training, 100, ITEMS, (1, 64), False)
        parts = (setting.part(lambda block: block.train_length), setting.part(lambda block: block.lengths))
        found.append([soft(setting, (1, 64), part, 0, plan).successors for part in parts])
    for field in dataclasses.fields(Successors):
        np.testing.assert_array_equal(getattr(found[0][0], field.name), getattr(found[1][0], field.name))
    assert len(found[0][1].items) != len(found[1][1].items) or (found[0][1].items != found[1][1].items).any()


def test_a_sampled_softmax_learns_the_next_event_alone(tmp_path):
    features = write_features(tmp_path, chains(), ITEMS)
    given = config(negatives=8)
    setting = Setting(given, features, read_info(features), hardware.choose(given.training))
    plan = fit_plan(given.training, 100, ITEMS, (1, 64), False)
    assert soft(setting, (1, 64), setting.part(lambda block: block.lengths), 0, plan) is None


def test_the_rules():
    splits = ("leave-one-out", "global-time", "per-user-ratio", "none")
    assert [horizon(Training(), split, 50_000, sparse=False) for split in splits] == [1, 4, 4, 4]
    assert [horizon(Training(), "global-time", 49_999, sparse) for sparse in (False, True)] == [1, 4]
    assert horizon(Training(horizon=2), "leave-one-out", 100, sparse=True) == 2
    data = ((1000, True), (50_000, False), (200_000, False), (49_999, False))
    sparse, dense, large, few = (transition_smoothing(Training(), *given) for given in data)
    assert 1 > sparse > dense > large > few == 0
    assert transition_smoothing(Training(transition_smoothing=0), 100, sparse=True) == 0
