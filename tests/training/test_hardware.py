"""What is chosen by the devices, with TensorFlow's answers about GPUs replaced."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import tensorflow as tf

from recsys import blocks
from recsys.config import Training
from recsys.errors import MissingComponentError
from recsys.progress import Progress
from recsys.training import hardware


@pytest.fixture
def cards(monkeypatch):
    """`cards(name=(7, 0))` makes TensorFlow find these GPUs; returns the list that takes those made visible."""

    def found(memory=0, **capabilities):
        seen = []
        details = {
            f"/physical_device:GPU:{number}": {"device_name": name, "compute_capability": at}
            for number, (name, at) in enumerate(capabilities.items())
        }
        monkeypatch.setattr(
            tf.config, "list_physical_devices", lambda kind=None: [SimpleNamespace(name=name) for name in details]
        )
        monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind=None: list(details))
        monkeypatch.setattr(
            tf.config, "set_visible_devices", lambda devices, kind=None: seen.append([device.name for device in devices])
        )
        monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda gpu, on: None)
        monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details[gpu.name])
        monkeypatch.setattr(hardware, "_free_memory", lambda name: memory)
        return seen

    return found


def test_a_demanded_gpu_that_is_not_there_is_a_missing_component():
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    with pytest.raises(MissingComponentError, match="no GPU"):
        hardware.choose(Training(device="gpu"))


@pytest.mark.parametrize(
    ("device", "made_for_gpus", "warned"), [("auto", True, True), ("auto", False, False), ("cpu", True, False)]
)
def test_falling_back_to_the_cpu_is_warned_of_where_a_gpu_was_to_be_expected(cards, monkeypatch, device, made_for_gpus, warned):
    cards()
    monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: made_for_gpus)
    chosen = hardware.choose(Training(device=device))
    assert chosen.device == "cpu"
    assert ("finds none" in chosen.warning) is warned


def test_graphs_are_not_rewritten():
    """Without XLA, large ones would fail in the second call of a loop."""
    hardware.choose(Training(xla="off"))
    assert tf.config.optimizer.get_experimental_options()["disable_meta_optimizer"] is True


def test_of_several_gpus_a_process_uses_the_most_capable_one(cards):
    seen = cards(old=(7, 0), new=(9, 0), newer=(9, 0))
    chosen = hardware.choose(Training())
    assert seen == [["/physical_device:GPU:1"]]
    assert (chosen.names, chosen.precision) == (("new",), "mixed_bfloat16")
    assert not chosen.warning


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ["1", "2"]),
        ({"CUDA_VISIBLE_DEVICES": "5, GPU-8932f937,2"}, ["GPU-8932f937", "2"]),
        ({"TF_CONFIG": "{}"}, []),
    ],
)
def test_training_may_use_all_gpus_that_are_as_capable_as_the_best(cards, environment, expected):
    cards(old=(7, 0), new=(9, 0), newer=(9, 0))
    assert hardware.cards(Training(), environment) == expected
    assert hardware.cards(Training(device="cpu"), environment) == []


@pytest.mark.parametrize(("asked", "on_cpu", "on_gpu"), [("auto", True, False), ("on", True, True), ("off", False, False)])
def test_determinism_is_switched_on_where_it_costs_nothing_or_is_asked_for(cards, monkeypatch, asked, on_cpu, on_gpu):
    calls = []
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: calls.append(True))
    for capabilities, expected in (({}, on_cpu), ({"card": (9, 0)}, on_gpu)):
        cards(**capabilities)
        calls.clear()
        assert hardware.choose(Training(deterministic=asked)).deterministic is expected
        assert calls == [True] * expected


def test_blocks_follow_the_memory_of_the_gpu_and_never_that_of_a_cpu(cards):
    cards()
    assert hardware.choose(Training()).blocks == blocks.CPU
    cards(memory=78 << 30, card=(9, 0))
    chosen = hardware.choose(Training())
    assert (chosen.memory, chosen.blocks) == (78 << 30, blocks.of_gpu(78 << 30))


def test_where_no_gpu_is_its_memory_is_unknown():
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    assert hardware._free_memory("/physical_device:GPU:0") == 0


def test_the_probe_of_another_process_tells_the_same():
    assert hardware.probe({"deterministic": "off", "device": "cpu"}, Progress(quiet=True))["deterministic"] is False


def test_of_tensorflows_warnings_only_those_about_tracing_are_kept_from_the_user(caplog):
    tensorflow = hardware.import_tensorflow()
    hardware.import_tensorflow()  # again: nothing is filtered twice
    traced = tensorflow.function(lambda value: value + 1)
    for value in range(12):
        traced(value)  # a number of Python's is traced each time
    tensorflow.get_logger().warning("something else")
    assert [record.getMessage() for record in caplog.records if record.name == "tensorflow"] == ["something else"]
