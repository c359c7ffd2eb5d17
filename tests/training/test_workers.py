"""Two processes train one network over loopback: same weights as one process, one writer, no worker outlives the other."""

import dataclasses
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from recsys import storage
from recsys.config import Model
from recsys.contract import model_files
from recsys.contract.features_info import read_info
from recsys.errors import ConfigError
from recsys.methods.cnn import read_encoder
from recsys.model.encoding import with_users
from recsys.model.loss import next_item_loss
from recsys.run import runs
from recsys.training import hardware, negatives, packing
from recsys.training.cluster import Member, member
from recsys.training.phase import Setting, build
from recsys.training.plan import fit_plan
from recsys.training.steps import lookup_tables, make_step
from recsys.training.workers import draw_apart
from tests.command import command, environment, invoke
from tests.support import chains, write_features
from tests.training.test_train import ITEMS, config, learn, weights

WORKER = """
import os, sys
from recsys.contract.earlier_run import EarlierRun
from recsys.contract.features_info import read_info
from recsys.errors import RetryError
from recsys.progress import Progress
from recsys.training.cluster import member
from recsys.training.hardware import choose
from recsys.training.phase import Setting
from recsys.training.train import train
from recsys.training.warm_start import warm_start
from recsys.training.workers import Workers, lost_workers
from tests.training.test_workers import exact

class Steps(Progress):
    def update(self, text, done=None):
        print(text, flush=True)

features, folder, epochs, stop, *base = sys.argv[1:]
try:
    config, one, info = exact(int(epochs)), member(os.environ), read_info(features)
    hardware = choose(config.training)
    warm = warm_start(EarlierRun(*base[:3], int(base[3])), config, features, info)[0] if base else None
    with lost_workers(one):
        train(Setting(config, features, info, hardware, Workers(one), warm), folder, Steps(), lambda: bool(stop))
except RetryError as error:
    sys.exit(f"try again: {error}")
"""


def exact(epochs=2):
    """A configuration with which two processes compute exactly what one does.

    No dropout, since each process draws its own masks. Five rows of 64 positions split into two and three.
    """
    given = config(epochs=epochs, batch_tokens=320, horizon=2, transition_smoothing=0.5)
    return dataclasses.replace(given, model=Model(width=16, dilations=(1, 2), dropout=0.0))


def described(**changes):
    """A TF_CONFIG."""
    return json.dumps({"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}, **changes})


def both(home, *commands):
    """Starts two workers, each in its own process."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in commands]
    cluster = {"worker": [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]}
    for one in sockets:
        one.close()
    return [
        subprocess.Popen(
            words,
            env=environment(home, TF_CONFIG=described(cluster=cluster, task={"type": "worker", "index": index})),
            cwd=home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index, words in enumerate(commands)
    ]


def start(home, features, folder, epochs=2, stop=("", ""), base=()):
    """Starts two workers that print every step; `stop` says which of them is asked to stop, `base` is an EarlierRun."""
    words = [sys.executable, "-c", WORKER, features, str(folder), str(epochs)]
    return both(home, *([*words, asked, *map(str, base)] for asked in stop))


def finish(workers, code=0):
    """Waits for the workers and returns what they printed."""
    said = [worker.communicate(timeout=600)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [code] * len(workers), "\n".join(said)
    return said


def begun(home, features, config):
    """A run whose features are made."""
    made = runs.create(dataclasses.replace(config, output=str(home)), "r")
    shutil.copytree(features, made.path("features"))
    made.record_stage("features", {})
    return made


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return write_features(tmp_path_factory.mktemp("features"), chains(users=200), ITEMS)


@pytest.fixture(scope="module")
def together(features, tmp_path_factory):
    """The folder that two workers wrote through the command line, and what they printed."""
    home = tmp_path_factory.mktemp("together")
    made = begun(home, features, exact())
    said = finish(both(home, *[command("train", "--output", home, "--run-id", "r")] * 2))
    assert list(made.manifest()["stages"]) == ["features", "train"]
    return Path(made.path("model")), said


@pytest.mark.slow
def test_two_workers_learn_what_one_process_learns(features, together, tmp_path):
    learn(exact(), features, tmp_path)
    for name in (model_files.VALIDATED, model_files.EVALUATED, model_files.PUBLISHED):
        for one, other in zip(weights(tmp_path, name), weights(together[0], name), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    one, other = (storage.read_json(storage.join(str(folder), model_files.MODEL)) for folder in (tmp_path, together[0]))
    assert (one.pop("workers"), other.pop("workers")) == (1, 2)
    assert one["best_valid_ndcg@10"] == pytest.approx(other["best_valid_ndcg@10"], abs=1e-3)


@pytest.mark.slow
def test_the_chief_alone_measures_and_writes(together, tmp_path):
    folder, (chief, other) = together
    assert storage.is_whole(str(folder))
    assert "blend:" in chief and "blend:" not in other
    assert not list(folder.glob(".*"))


@pytest.mark.slow
def test_stopping_one_worker_stops_both_and_they_resume_to_the_same_weights(features, together, tmp_path):
    for said in finish(start(tmp_path, features, tmp_path / "model", stop=("", "now")), code=1):
        assert "try again: stopped as asked: checkpoint saved at epoch 1, step 1" in said
    said = finish(start(tmp_path, features, tmp_path / "model"))
    assert all("resuming from the checkpoint: fit epoch 1, step 2" in one for one in said)
    for one, other in zip(weights(together[0]), weights(tmp_path / "model"), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.release
@pytest.mark.slow
def test_killing_one_worker_does_not_leave_the_other_waiting(features, tmp_path):
    chief, other = start(tmp_path, features, tmp_path / "model", epochs=500)
    said = ""
    while "step 2/" not in said:
        said = chief.stdout.readline()
        assert said, "the chief has exited"
    other.kill()
    assert "try again: another worker is gone" in finish([chief], code=1)[0]
    other.communicate()


@pytest.mark.release
@pytest.mark.slow
def test_sigterm_stops_both_at_a_step(features, tmp_path):
    """TensorFlow puts its own handler in place of the one that training polls."""
    made = begun(tmp_path, features, exact(500))
    workers = both(tmp_path, *[command("train", "--output", tmp_path, "--run-id", "r")] * 2)
    said = ""
    while "fit epoch 2/" not in said:
        said = workers[0].stdout.readline()
        assert said, "the chief has exited"
    workers[1].terminate()
    for said in finish(workers, code=75):
        assert "stopped as asked: checkpoint saved" in said
    assert list(made.manifest()["stages"]) == ["features"]


@pytest.mark.parametrize("count", [0, 16])
def test_gradients_of_the_parts_add_up_to_that_of_the_batch(features, count):
    info = read_info(features)
    setting = Setting(exact(), features, info, hardware.choose(exact().training))
    encoder, part = read_encoder(features, info.evaluated), setting.part(lambda block: block.train_length)
    model, counts = build(setting, info.evaluated, encoder), packing.item_counts(features, info.items, part)
    model.item_known.assign((counts > 0).astype(np.float32))
    batch = list(packing.training_batches(features, encoder, part, 5, 64, 0, 0))[-1]
    assert 0 < batch["weight"].sum() < batch["weight"].size
    if count:
        batch = negatives.with_negatives(batch, negatives.proposal(counts), count, 0, 0, 0)

    def learn(part):
        with tf.GradientTape() as tape:
            loss = next_item_loss(model, with_users(part, encoder), 0.1)
        return loss, [tf.convert_to_tensor(g) for g in tape.gradient(loss, model.trainable_variables) if g is not None]

    loss, whole = learn(batch)
    losses, parts = zip(*(learn(packing.part_of(batch, Member(index, 3))) for index in range(3)), strict=True)
    np.testing.assert_allclose(sum(losses), loss, rtol=1e-6)
    for gradient, *own in zip(whole, *parts, strict=True):
        np.testing.assert_allclose(sum(own), gradient, atol=1e-6)


def test_workers_drop_different_channels_of_the_same_network(features):
    info, given = read_info(features), dataclasses.replace(exact(), model=Model(width=16, dilations=(1, 2), dropout=0.5))
    setting = Setting(given, features, info, hardware.choose(given.training))
    encoder = read_encoder(features, info.evaluated)
    batch = next(packing.training_batches(features, encoder, setting.part(lambda block: block.train_length), 5, 64, 0, 0))
    models = [build(setting, info.evaluated, encoder) for _ in range(3)]
    for model, index in zip(models, (0, 0, 1), strict=True):
        draw_apart(model, Member(index, 2))
    for one, other in zip(models[0].trainable_variables, models[2].trainable_variables, strict=True):
        np.testing.assert_array_equal(one, other)
    states = [model.encode(with_users(batch, encoder), model.item_table(), training=True).numpy() for model in models]
    np.testing.assert_array_equal(states[0], states[1])
    assert np.abs(states[0] - states[2]).max() > 1e-3


def test_gradients_are_clipped_by_their_true_norm(features):
    """An item that is used twice in a step has one gradient, the sum; as two slices its norm would be smaller or larger."""
    info, given = read_info(features), exact()
    setting = Setting(given, features, info, hardware.choose(given.training))
    encoder, part = read_encoder(features, info.evaluated), setting.part(lambda block: block.train_length)
    batch = next(packing.training_batches(features, encoder, part, 5, 64, 0, 0))
    counts = packing.item_counts(features, info.items, part)
    batch = negatives.with_negatives(batch, negatives.proposal(counts), 16, 0, 0, 0)
    plan = dataclasses.replace(fit_plan(given.training, 1000, ITEMS, (5, 64), False), negatives=16, warmup_steps=0)
    taken = []
    for alone in (True, False):
        model = build(setting, info.evaluated, encoder)
        model.item_known.assign((counts > 0).astype(np.float32))
        for variable in model.trainable_variables:
            variable.assign(np.random.default_rng(1).normal(size=variable.shape))
        optimizer = keras.optimizers.SGD(1.0, global_clipnorm=1.0)
        optimizer.build(model.trainable_variables)
        before = [np.array(variable) for variable in model.trainable_variables]
        data = {name: tf.constant(value) for name, value in batch.items()}
        if alone:
            tf.function(make_step(model, optimizer, plan))(lookup_tables(encoder.users), data)
        else:
            with tf.GradientTape() as tape:
                loss = next_item_loss(model, with_users(batch, encoder))
            dense = [tf.convert_to_tensor(g) for g in tape.gradient(loss, model.trainable_variables)]
            norm = np.sqrt(sum(float(tf.reduce_sum(g * g)) for g in dense))
            assert norm > 1
            for variable, gradient in zip(model.trainable_variables, dense, strict=True):
                variable.assign_sub(gradient / norm)
        taken.append([np.asarray(variable) - old for variable, old in zip(model.trainable_variables, before, strict=True)])
    for one, other in zip(*taken, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_parts_of_a_batch_are_the_batch():
    batch = {name: np.arange(20).reshape(5, 4) for name in packing.POSITIONS} | {"negative": np.arange(3)}
    parts = [packing.part_of(batch, Member(index, 3)) for index in range(3)]
    for name in packing.POSITIONS:
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), batch[name])
    assert all(part["total"] == 190 and len(part["negative"]) == 3 for part in parts)
    assert packing.part_of(batch, Member()) is batch
    with pytest.raises(ConfigError, match="5 rows for 6 workers"):
        packing.part_of(batch, Member(0, 6))


def test_tf_config_names_the_workers():
    assert member({}) == member({"TF_CONFIG": ""}) == Member(0, 1)
    assert member({"TF_CONFIG": described()}) == Member(1, 2)
    assert not member({"TF_CONFIG": described()}).chief


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        described(task={"type": "worker", "index": 2}),
        described(task={"type": "worker"}),
        described(task={"type": "chief", "index": 0}),
        described(cluster={"chief": ["a:1"], "worker": ["b:1", "c:1"]}),
    ],
)
def test_an_invalid_tf_config_is_an_error(text):
    with pytest.raises(ConfigError, match="TF_CONFIG is"):
        member({"TF_CONFIG": text})


def test_several_workers_can_only_train(tmp_path):
    done = invoke("run", "--output", "out", home=tmp_path, changes={"TF_CONFIG": described()})
    assert done.returncode == 2 and "2 workers, which can only run `recsys train`" in done.stderr
