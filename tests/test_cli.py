"""The command line as such: what it imports, what it obeys, what `recsys config` prints."""

import json
import subprocess
import sys
import tomllib

import pytest
from click.testing import CliRunner

from recsys import settings
from recsys.cli import main
from recsys.config import Config, Training
from recsys.run import runs
from tests.command import environment, invoke


@pytest.fixture
def recsys(tmp_path, monkeypatch):
    """Runs a command in this process; returns its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*words, **variables):
        done = CliRunner().invoke(main, [str(word) for word in words], env=variables)
        return done.exit_code, done.stdout, done.stderr

    return call


@pytest.fixture
def executed(monkeypatch):
    """The jobs that would have been executed, with their stages."""
    found = []
    monkeypatch.setattr("recsys.run.job.execute", lambda job, stages, redo=False: found.append((job, stages, redo)))
    monkeypatch.setattr("recsys.run.ending.Stop.install", lambda self: None)
    return found


def test_the_command_line_loads_nothing_heavy(tmp_path):
    heavy = ("tensorflow", "keras", "pyspark", "pyarrow.parquet", "matplotlib", "jinja2")
    code = f"import sys, recsys.cli; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], env=environment(tmp_path), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("stage", ["train", "evaluate", "recommend", "report", "publish"])
def test_a_stage_finds_the_output_of_the_environment(recsys, executed, tmp_path, stage):
    made = runs.create(Config(output=str(tmp_path / "there")), "r")
    code, _, said = recsys(stage, RECSYS__OUTPUT=str(tmp_path / "there"))
    assert (code, said) == (0, "")
    ((job, stages, redo),) = executed
    assert (job.run, job.config, stages, redo) == (made, made.config(), (stage,), False)
    code, _, said = recsys(stage, "--output", tmp_path / "else", RECSYS__OUTPUT=str(tmp_path / "there"))
    assert code == 2 and f"no run in {tmp_path / 'else'}" in said


@pytest.mark.parametrize("words", [("show", "--user", "1"), ("rollback",)])
def test_commands_without_settings_find_the_output_of_the_environment(recsys, words):
    code, _, said = recsys(*words, RECSYS__OUTPUT="there", RECSYS__TRAINING__EPOCHS="3")
    assert code == 2 and "in there" in said
    code, _, said = recsys(*words, RECSYS__OUTPUT="s3://key:secret@bucket/x")
    assert code == 2 and "key or password" in said and "secret" not in said


@pytest.mark.parametrize("stage", ["run", "features"])
def test_a_run_begins_with_the_settings_of_the_environment(recsys, executed, stage):
    code, _, _ = recsys(stage, "--quiet", "--k", "7", RECSYS__OUTPUT="there", RECSYS__RECOMMEND__K="5", RECSYS__SEED="3")
    ((job, stages, _),) = executed
    assert code == 0 and stages[0] == "features"
    assert (job.run.output, job.config.recommend.k, job.config.seed) == ("there", 7, 3)


def test_a_stage_obeys_the_variables_of_its_section_and_names_those_it_ignores(recsys, executed):
    runs.create(Config(output="out", training=Training(epochs=2)), "r")
    given = {"RECSYS__RECOMMEND__K": "5", "RECSYS__TRAINING__EPOCHS": "3", "RECSYS__SEED": "0"}
    code, _, said = recsys("recommend", **given)
    assert code == 0 and executed[-1][0].config.recommend.k == 5 and executed[-1][0].config.training.epochs == 2
    assert said == "recsys: ignored, because run r was made with other values: RECSYS__TRAINING__EPOCHS\n"
    recsys("recommend", "--set", "recommend.k=6", **given)
    assert executed[-1][0].config.recommend.k == 6


def test_a_shard_cannot_change_the_run_by_the_environment_either(recsys, executed):
    runs.create(Config(output="out"), "r")
    code, _, said = recsys("recommend", "--shard", "0/2", RECSYS__RECOMMEND__K="5")
    assert code == 2 and "--shard takes the run as it is" in said


def test_more_memory_than_there_is_ends_at_the_start(recsys, executed):
    code, _, said = recsys("run", "--set", "spark.memory=999999g")
    assert code == 2 and "'spark.memory' must be at most" in said and "'999999g'" in said
    assert executed == []


def test_config_as_toml_gives_the_same_configuration(recsys, tmp_path):
    code, text, _ = recsys("config", "--format", "toml", "--k", "7", "--spark-conf", "spark.a.b=c", RECSYS__SEED="3")
    assert code == 0
    tomllib.loads(text)
    (tmp_path / "again.toml").write_text(text)
    asked = settings.load(str(tmp_path / "again.toml"), {}, [])
    assert asked == settings.load(None, {}, [("recommend.k", 7), ("spark.conf.spark.a.b", "c"), ("seed", 3)])
    assert recsys("config", "--format", "toml", "--config", "again.toml")[1] == text


def test_config_names_where_each_value_came_from(recsys):
    _, text, _ = recsys("config", "--k", "7", RECSYS__SEED="3")
    lines = {line.split()[0]: line.split(maxsplit=2)[1:] for line in text.splitlines()}
    assert lines["recommend.k"] == ["7", "command line"]
    assert lines["seed"] == ["3", "RECSYS__SEED"]
    assert lines["model.kernel_size"] == ["3", "default"]


def test_config_of_a_run_is_what_it_was_made_with(recsys):
    runs.create(Config(output="out", training=Training(epochs=2)), "r")
    code, text, _ = recsys("config", "--run-id", "r", RECSYS__TRAINING__EPOCHS="9")
    assert code == 0
    (line,) = (line for line in text.splitlines() if line.startswith("training.epochs"))
    assert line.split(maxsplit=2)[1:] == ["2", "run r"]
    assert recsys("config", "--run-id", "r", "--k", "3")[0] == 2


def test_config_prints_the_schema(recsys):
    code, text, _ = recsys("config", "--schema")
    assert code == 0 and json.loads(text)["$defs"]["Training"]["properties"]["learning_rate"]["maximum"] == 1


@pytest.mark.parametrize("command", ["train", "show", "rollback", "run", "config"])
def test_help_shows_the_default_of_the_output(recsys, command):
    _, text, _ = recsys(command, "--help")
    assert "default: out" in " ".join(text.split()) and "RECSYS__OUTPUT" in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("recsys comp", ["compare"]),
        ("recsys run --dry", ["--dry-run"]),
        ("recsys run --dataset ml-2", ["ml-20m", "ml-25m"]),
        ("recsys compare --output there ni", ["night-1", "night-2"]),
        ("recsys show --output nowhere --run-id ni", []),
    ],
)
def test_the_shell_completes_commands_options_data_sets_and_runs(tmp_path, words, expected):
    for run_id in ("night-1", "night-2", "other"):
        runs.create(Config(output=str(tmp_path / "there")), run_id)
    asked = {"_RECSYS_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    done = invoke(home=tmp_path, changes=asked)
    assert [line.split(",")[1] for line in done.stdout.split()] == expected


@pytest.mark.parametrize(
    ("words", "variables", "meant"),
    [
        (("run", "--epoch", "3"), {}, "--epochs"),
        (("run", "--set", "model.epohcs=3"), {}, "'training.epochs'"),
        (("run",), {"RECSYS__TRAINIGN__EPOCHS": "3"}, "'training'? known here: "),
        (("train", "--output", "there", "--set", "trainign.epochs=3"), {}, "'training'"),
    ],
)
def test_a_name_that_is_nearly_right_is_corrected(recsys, tmp_path, words, variables, meant):
    runs.create(Config(output=str(tmp_path / "there")), "r")
    code, _, said = recsys(*words, **variables)
    assert code == 2 and "id you mean" in said and meant in said
    assert all(name in said for name in variables)
