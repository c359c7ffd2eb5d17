"""`recsys bench`: what it prints and what it refuses. No time is asserted."""

import json

import pytest

from recsys.bench import operations
from tests.command import assert_refused, invoke, recsys, succeed

TINY = ("--items", 30, "--events", 1_000, "--repeats", 1, "--width", 8, "--batch-tokens", 64, "--device", "cpu")
TINY += ("--set", "model.dilations=1", "--set", "model.kernel_size=2")


@pytest.fixture(autouse=True)
def small_products(monkeypatch):
    monkeypatch.setattr(operations, "SIZES", (32,))


def test_every_combination_is_a_record_with_numbers_that_fit_together(tmp_path):
    done = succeed("bench", *TINY, "--width", 4, "--xla", "off", home=tmp_path, run=invoke)
    report = json.loads(done.stdout)
    assert (report["device"], report["is_gpu"], report["items"], report["events"]) == ("cpu", False, 30, 1_000)
    assert report["names"] and report["versions"]["keras"] and report["date"].endswith("+00:00")
    assert report["versions"]["recsys"] and report["matmul_operations_per_second"]["float32"] > 0
    assert [(run["width"], run["xla"]) for run in report["runs"]] == [(8, "off"), (4, "off")]
    for run in report["runs"]:
        width = run["width"]
        assert run["positions_per_step"] == 64 and run["ran_on"] == "CPU:0" and run["program"] is None
        assert run["positions_per_second"] == pytest.approx(64 * run["steps_per_second"], rel=1e-3)
        assert run["ms_per_step"] == pytest.approx(1000 / run["steps_per_second"], rel=1e-3)
        assert 0 <= run["host_ms_per_step"] <= run["ms_per_step"] and run["page_faults_per_step"] >= 0
        assert run["operations_per_step"] == 3 * 64 * 2 * (2 * width * 2 * width + width * width + width * 31)
        assert run["share_of_matmul_peak"] > 0 and 0 < run["input_stall"] < 1 and run["users_per_second"] > 0
    assert "width 4, float32, XLA off, 64 positions a step" in done.stderr


@pytest.mark.slow
def test_the_compiled_loop_copies_nothing_from_or_to_the_host(tmp_path):
    done = succeed("bench", *TINY, "--xla", "on", home=tmp_path, run=invoke)
    (run,) = json.loads(done.stdout)["runs"]
    program = run["program"]
    assert run["xla"] == "on" and program["compiled_for"] == "cpu" and program["host_transfers_per_step"] == 0
    assert program["launches_per_step"] == sum(program["launches_by_instruction"].values()) > 10


def test_a_sampled_softmax_is_timed_as_such(tmp_path):
    done = succeed("bench", *TINY, "--xla", "off", "--quiet", "--set", "training.negatives=5", home=tmp_path, run=invoke)
    (run,) = json.loads(done.stdout)["runs"]
    assert run["negatives"] == 5 and run["operations_per_step"] == 3 * 64 * 2 * (2 * 8 * 16 + 8 * 8 + 8 * 5)
    assert not done.stderr


def test_settings_hold_where_no_option_is_given(tmp_path):
    options = [word for word in TINY if word not in ("--width", 8, "--device", "cpu")]
    changes = {"RECSYS__MODEL__WIDTH": "4", "RECSYS__TRAINING__XLA": "off", "RECSYS__TRAINING__DEVICE": "cpu"}
    done = invoke("bench", *options, home=tmp_path, changes=changes)
    (run,) = json.loads(done.stdout)["runs"]
    assert (run["width"], run["xla"]) == (4, "off")


def test_a_cpu_is_not_called_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda kind: [])
    assert_refused(invoke("bench", "--device", "gpu", home=tmp_path), 69, "--device gpu", "finds no GPU")


def test_without_tensorflow_it_says_what_to_install(tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise ImportError('not here')")
    done = recsys("bench", home=tmp_path, changes={"PYTHONPATH": str(tmp_path)})
    assert_refused(done, 69, "TensorFlow cannot be imported", "pip install")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--width", "0"), "'model.width'"),
        (("--precision", "float8"), "'training.precision'"),
        (("--xla", "maybe"), "'training.xla'"),
        (("--batch-tokens", "many"), "'training.batch_tokens'"),
        (("--items", "0"), "--items"),
        (("--set", "model.wide=8"), "'model.wide'"),
    ],
)
def test_a_bad_option_is_named(tmp_path, words, said):
    assert_refused(invoke("bench", *words, home=tmp_path), 2, said)
