"""Checkpoints: the last two are kept, a damaged one is passed over, and none is continued with other settings."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from recsys import storage
from recsys.config import Config, Model, Training
from recsys.contract import model_files
from recsys.errors import RetryError
from recsys.progress import silent
from recsys.storage import checked
from recsys.training.checkpoint import Checkpoints, Standing, State
from recsys.training.identity import fingerprint, made_with
from tests.support import chains, write_features

SETTINGS = {"seed": 0, "training": {"learning_rate": 0.002}}
SHAPES = [(3, 2), (), (0,)]


def state(epoch, phase="fit"):
    """A state that tells which one it is."""
    arrays = [np.full(shape, epoch, np.float32) for shape in SHAPES]
    return State(Standing(phase=phase, epoch=epoch, rows=[{"loss": 0.5}]), arrays, [np.full(4, -epoch, np.int32)])


@pytest.fixture
def said():
    return []


@pytest.fixture
def folder(tmp_path):
    """A model folder with the checkpoints of epochs 2 and 3."""
    written = Checkpoints(str(tmp_path), SETTINGS, silent)
    for epoch in (1, 2, 3):
        written.save(state(epoch))
    return tmp_path


def files(folder):
    return sorted(path for path in (Path(folder) / model_files.CHECKPOINTS).iterdir())


def load(folder, said, settings=SETTINGS, phase="fit", shapes=SHAPES):
    return Checkpoints(str(folder), settings, said.append).load(phase, shapes)


def test_a_state_comes_back_as_it_was_saved(folder, said):
    found = load(folder, said)
    assert found.standing == state(3).standing and not said
    for one, other in zip([*found.variables, *found.best], [*state(3).variables, *state(3).best], strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_the_last_two_are_kept_until_all_are_removed(folder):
    assert len(files(folder)) == 2
    Checkpoints(str(folder), SETTINGS, silent).remove()
    assert not list(folder.iterdir())
    assert load(folder, []) is None


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def cut(path):
    os.truncate(path, path.stat().st_size - 7)


def grow(path):
    path.write_bytes(path.read_bytes() + b"x")


def empty(path):
    os.truncate(path, 0)


DAMAGES = [flip, cut, grow, empty]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_passed_over_and_the_one_before_continues(folder, said, damage):
    before, last = files(folder)
    damage(last)
    found = Checkpoints(str(folder), SETTINGS, said.append)
    assert found.load("fit", SHAPES).standing.epoch == 2
    assert len(said) == 1 and "warning" in said[0] and str(last) in said[0]
    found.save(state(4))
    assert files(folder) == [before, last], "the next one takes the place of the damaged one"
    assert load(folder, []).standing.epoch == 4


@pytest.mark.parametrize("damage", DAMAGES)
def test_if_both_are_damaged_training_begins_anew(folder, said, damage):
    for path in files(folder):
        damage(path)
    begun = Checkpoints(str(folder), SETTINGS, said.append)
    assert begun.load("fit", SHAPES) is None
    assert [str(path) in line for path, line in zip(reversed(files(folder)), said, strict=False)] == [True, True]
    assert "begins anew" in said[2]
    begun.save(state(1))
    assert load(folder, []).standing.epoch == 1
    assert len(files(folder)) == 1, "the damaged ones are gone"


def test_a_storage_that_fails_for_now_is_no_damage(folder, said, monkeypatch):
    """Otherwise training would begin anew, and the next checkpoint would replace the good ones."""

    def fail(*given):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(checked, "_verify", fail)
    with pytest.raises(RetryError, match="Input/output error"):
        load(folder, said)
    assert not said


def test_a_checkpoint_of_another_version_is_passed_over(folder, said):
    header = np.frombuffer(b'{"made_with": {"seed": 0, "training.learning_rate": 0.002}, "standing": {"stage": 1}}', np.uint8)
    uri = str(files(folder)[1])
    with storage.checked_output(uri) as file:
        np.lib.format.write_array(file, header, allow_pickle=False)
    assert load(folder, said).standing.epoch == 2
    assert len(said) == 1 and uri in said[0] and "another version" in said[0]


def test_other_settings_are_named_and_begin_anew(folder, said):
    other = {"seed": 0, "training": {"learning_rate": 1e-5}}
    assert load(folder, said, other) is None
    assert "training.learning_rate 0.002, now 1e-05" in said[0] and str(files(folder)[1]) in said[0]
    assert "begins anew" in said[-1]


def test_a_network_of_another_width_begins_anew(folder, said):
    assert load(folder, said, shapes=[(3, 4), (), (0,)]) is None
    assert "another size" in said[0] and str(files(folder)[1]) in said[0] and "begins anew" in said[-1]


def test_the_checkpoint_of_the_phase_before_is_none_of_this_one(folder, said):
    assert load(folder, said, phase="refit") is None and not said


def test_a_write_that_was_killed_leaves_the_one_before(folder, said):
    with pytest.raises(KeyboardInterrupt), storage.checked_output(f"{folder}/{model_files.CHECKPOINTS}/00000009.npy") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert load(folder, said).standing.epoch == 3 and not said


def test_it_works_in_an_object_store(store, said):
    folder = f"{store.bucket}/checkpoints-of-a-run"
    written = Checkpoints(folder, SETTINGS, said.append)
    for epoch in (1, 2, 3):
        written.save(state(epoch))
    store.put("checkpoints-of-a-run/checkpoints/00000003.npy", "cut")
    assert load(folder, said).standing.epoch == 2
    assert len(said) == 1 and f"{folder}/checkpoints/00000003.npy" in said[0]
    written.remove()
    assert not store.names("checkpoints-of-a-run")


def test_what_the_weights_depend_on(tmp_path):
    features = write_features(tmp_path / "features", chains(), 40)
    asked = Config()
    same = made_with(asked, features)
    assert made_with(asked, features) == same
    others = [
        made_with(Config(training=Training(learning_rate=1e-5)), features),
        made_with(Config(model=Model(dropout=0.1)), features),
        made_with(Config(seed=1), features),
        made_with(asked, write_features(tmp_path / "others", chains(seed=1), 40)),
    ]
    assert same not in others
    assert fingerprint(features) == same["features"]
