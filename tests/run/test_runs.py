"""Which run a command resumes, and run.json."""

import multiprocessing

import pytest

from recsys.config import Config, Source, Table
from recsys.errors import ConfigError
from recsys.run import runs
from recsys.sources import open_source


@pytest.fixture
def asked(tmp_path):
    (tmp_path / "events.csv").write_text("u,i,t\n1,2,3\n")
    table = Table(str(tmp_path / "events.csv"), user_id="u", item_id="i", timestamp="t")
    return Config(output=str(tmp_path / "out"), source=Source("tabular", interactions=table))


def read_inputs(made, asked):
    made.update({"inputs": [dict(entry) for entry in open_source(asked, "", lambda line: None).inputs]})


def test_an_unfinished_run_goes_on_while_settings_and_files_are_the_same(asked, tmp_path):
    made = runs.open_or_create(asked, None)
    read_inputs(made, asked)
    assert runs.open_or_create(asked, None) == made
    (tmp_path / "events.csv").write_text("u,i,t\n1,2,3\n4,5,6\n")
    assert runs.open_or_create(asked, None) != made


def test_other_settings_or_a_finished_run_begin_a_new_one(asked):
    made = runs.open_or_create(asked, None)
    assert runs.open_or_create(Config(output=asked.output), None) != made
    again = runs.create(asked)
    again.update({"status": "published"})
    again.record_stage("publish", {})
    again.update({"created_at": "2999-01-01T00:00:00+00:00"})
    assert runs.open_or_create(asked, None) not in (made, again)


def test_a_named_run_belongs_to_its_settings(asked):
    made = runs.open_or_create(asked, "nightly")
    assert runs.open_or_create(asked, "nightly") == made
    with pytest.raises(ConfigError, match="another configuration"):
        runs.open_or_create(Config(output=asked.output, seed=1), "nightly")
    with pytest.raises(ConfigError, match="no such run"):
        runs.find(asked.output, "weekly")


def test_each_night_begins_its_own_run_and_goes_on_with_no_other(asked, tmp_path):
    """The CronJob names runs after its Jobs: a new Pod of a Job finds its run, though events have come in since."""
    first = runs.open_or_create(asked, "refresh-1")
    read_inputs(first, asked)
    (tmp_path / "events.csv").write_text("u,i,t\n1,2,3\n4,5,6\n")
    assert runs.open_or_create(asked, "refresh-1") == first
    assert runs.open_or_create(asked, "refresh-2") != first


def test_the_configuration_comes_back_as_it_was(asked):
    assert runs.create(asked).config() == asked


def record(output, stage):
    for number in range(20):
        runs.Run(output, "r").record_stage(f"{stage}-{number}", {"seconds": number})


@pytest.mark.parametrize("place", ["disk", "store"])
def test_processes_that_write_run_json_at_once_lose_nothing(asked, store, place):
    output = asked.output if place == "disk" else f"{store.bucket}/at-once"
    made = runs.create(Config(output=output), "r")
    writers = [multiprocessing.get_context("spawn").Process(target=record, args=(output, name)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert set(made.manifest()["stages"]) == {f"{name}-{number}" for name in "abc" for number in range(20)}
