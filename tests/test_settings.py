"""Where settings come from, what is refused, and how it is said."""

import dataclasses
import json
import re
import tomllib

import jsonschema
import psutil
import pytest

from recsys import settings, settings_text
from recsys.config import Config, Model, Split
from recsys.errors import ConfigError
from recsys.run import runs
from tests.command import ROOT

EVENTS = "[source]\ndataset='tabular'\n[source.interactions]\npath='a.csv'\n"


def load(tmp_path, text="", environment=None, options=()):
    path = tmp_path / "c.toml"
    path.write_text(text)
    return settings.load(str(path), environment or {}, options)


def test_the_command_line_wins_over_the_environment_over_the_file_over_the_default(tmp_path):
    text = "seed = 1\n[training]\nepochs = 1\nlabel_smoothing = 0.1\n"
    environment = {"RECSYS__TRAINING__EPOCHS": "2", "RECSYS__SEED": "2", "PATH": "/bin"}
    found = load(tmp_path, text, environment, [("training.epochs", "3"), ("recommend.k", None)])
    assert (found.training.epochs, found.seed, found.training.label_smoothing) == (3, 2, 0.1)
    assert found.recommend == Config().recommend


def test_each_value_knows_where_it_came_from(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("[training]\nepochs = 1\nlabel_smoothing = 0.1\nrow_length = 64")
    environment = {"RECSYS__TRAINING__EPOCHS": "2", "RECSYS__TRAINING__ROW_LENGTH": "32"}
    shown = settings_text.table(settings.resolve(str(path), environment, [("training.epochs", "3")]))
    lines = {line.split()[0]: line.split(maxsplit=2)[1:] for line in shown.splitlines()}
    assert lines["training.epochs"] == ["3", "command line"]
    assert lines["training.row_length"] == ["32", "RECSYS__TRAINING__ROW_LENGTH"]
    assert lines["training.label_smoothing"] == ["0.1", f"file {path}"]
    assert lines["training.patience"] == ["-", "default"]


# Key and value of a setting that would end a run later, or train nonsense, and what is said of it.
REFUSED = [
    ("training.refit_epochs", -1, "at least 0"),
    ("training.epochs", 0, "at least 1"),
    ("training.epochs", True, "a whole number"),
    ("training.epochs", "many", "a whole number"),
    ("training.negatives", 10**9, "at most 1,000,000"),
    ("training.learning_rate", "inf", "at most 1"),
    ("training.learning_rate", 0, "greater than 0"),
    ("training.label_smoothing", 2, "less than 1"),
    ("training.weight_decay", -1, "at least 0"),
    ("training.weight_decay", "nan", "at least 0"),
    ("training.cold_starts", 2, "at most 1"),
    ("training.batch_tokens", 10**9, "at most 1,048,576"),
    ("training.row_length", 0, "at least 1"),
    ("training.patience", 0, "at least 1"),
    ("training.device", "tpu", "one of auto, cpu, gpu"),
    ("model.dropout", 1.5, "less than 1"),
    ("model.dropout", -1, "at least 0"),
    ("model.feed_forward", -1, "at least 0"),
    ("model.width", 10**6, "at most 4,096"),
    ("model.kernel_size", 100_000, "at most 64"),
    ("model.dilations", "0", "at least 1"),
    ("model.dilations", [], "not be empty"),
    ("model.dilations", 3, "a list"),
    ("evaluation.bootstrap", 0, "at least 1"),
    ("evaluation.bootstrap", -5, "at least 1"),
    ("evaluation.max_users", 0, "at least 1"),
    ("evaluation.baselines", "ease,ease", "only once"),
    ("evaluation.baselines", "magic", "popularity"),
    ("publish.min_ndcg", "nan", "at least 0 and at most 1"),
    ("publish.max_drop", "-inf", "at least 0"),
    ("publish.keep_runs", -1, "at least 0"),
    ("publish.must_beat", ["als", "als"], "only once"),
    ("recommend.k", 0, "at least 1"),
    ("recommend.block_users", 0, "at least 1"),
    ("recommend.rows_per_file", 0, "at least 1"),
    ("split.test_fraction", 1.5, "greater than 0 and less than 1"),
    ("split.valid_fraction", 0, "greater than 0"),
    ("split.min_events", -1, "at least 0"),
    ("split.method", "random", "one of leave-one-out"),
    ("features.max_rejected", -0.5, "at least 0"),
    ("features.max_vocabulary", 0, "at least 1"),
    ("features.min_user_events", 0, "at least 1"),
    ("seed", -1, "at least 0"),
    ("seed", 2**64, "at most 2,147,483,646"),
    ("output", "", "not empty"),
    ("source", "x", "is a section"),
    ("source.interactions", "x", "is a section"),
    ("source.interactions.path", "", "not empty"),
    ("source.interactions.encoding", "base64", "text encoding"),
    ("source.interactions.encoding", "mac-roman", "such as utf-8"),
    ("source.interactions.delimiter", "", "1 to 20 characters"),
    ("source.interactions.delimiter", "\\", "backslash"),
    ("source.items.features.year", {"kind": "numeric", "pattern": r"\d{4}"}, "a group"),
    ("source.items.features.year", {"kind": "numeric", "pattern": "("}, "regular expression"),
    ("source.items.features.tags", {"kind": "multi", "separator": ""}, "not empty"),
    ("source.items.features.tags", {"kind": "text", "flags": ["a"]}, "flags need kind multi"),
    ("source.mirror", "here", "URL"),
    ("source.synthetic.users", 10**12, "at most 10,000,000"),
    ("spark.memory", "10m", "at least 512m"),
    ("spark.memory", "much", "a size"),
    ("spark.master", "foo", "local[N]"),
    ("spark.master", "local[0]", "local[N]"),
]


@pytest.mark.parametrize(("key", "value", "words"), REFUSED)
def test_what_would_fail_later_is_refused_with_key_bound_and_value(key, value, words):
    options = [("source.items.path", "i.csv"), (key, value)] if key.startswith("source.items") else [(key, value)]
    with pytest.raises(ConfigError, match=re.escape(words)) as caught:
        settings.load(None, {}, options)
    assert key in str(caught.value) and "(command line)" in str(caught.value)
    if not isinstance(value, dict):
        assert (repr(value) if not isinstance(value, list) else "") in str(caught.value) or key.endswith("baselines")


@pytest.mark.parametrize(
    "master", ["local", "local[4]", "local[*]", "local[2, 3]", "spark://host:7077", "k8s://https://host:6443", "yarn"]
)
def test_masters_of_spark(master):
    assert settings.load(None, {}, [("spark.master", master)]).spark.master == master


def test_bounds_between_fields():
    with pytest.raises(ConfigError, match="sees 8065 positions; at most 4096"):
        settings.load(None, {}, [("model.kernel_size", 64), ("model.dilations", "64,64")])


def test_a_changed_configuration_is_checked_as_well():
    with pytest.raises(ValueError, match="less than 1"):
        dataclasses.replace(Model(), dropout=1.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[training]\nepoch = 1",
            r"unknown key 'training.epoch'; did you mean 'epochs'\? known here: epochs.* \(file .*c.toml\)",
        ),
        ("colour = 1", "unknown key 'colour'; known here: output"),
        ("epochs = 1", "unknown key 'epochs'; did you mean 'training.epochs'"),
        ("[source]\ndataset = 'tabular'", r"tabular needs \[source.interactions\]"),
        ("[source.interactions]\nformat = 'csv'", "missing key 'source.interactions.path'"),
        ("[[broken", "cannot be read"),
    ],
)
def test_a_wrong_file_is_explained(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


def test_all_that_is_wrong_is_told_at_once_and_from_where(tmp_path):
    with pytest.raises(ConfigError, match="3 settings are wrong") as caught:
        load(tmp_path, "[model]\nwidth = 0", {"RECSYS__COLOUR": "red"}, [("recommend.k", "none")])
    told = str(caught.value)
    assert re.search(r"'model.width' must be .* not 0 \(file .*c.toml\)", told)
    assert "unknown key 'colour'" in told and "(RECSYS__COLOUR)" in told
    assert re.search(r"'recommend.k' must be .* not 'none' \(command line\)", told)


def test_a_password_in_a_uri_is_refused_and_not_repeated(tmp_path):
    with pytest.raises(ConfigError, match="key or password") as caught:
        load(tmp_path, "[source.interactions]\npath = 's3://key:secret@bucket/x'")
    assert "secret" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        settings.load(str(tmp_path / "none.toml"), {}, [])


def test_paths_are_relative_to_the_file(tmp_path):
    text = "[source]\ndataset='tabular'\n[source.interactions]\npath='a/*.csv'\n[source.items]\npath='s3://b/items.csv'"
    found = load(tmp_path, "output = 'o'\n" + text)
    assert found.source.interactions.path == str(tmp_path / "a" / "*.csv")
    assert found.source.items.path == "s3://b/items.csv"
    assert found.output == "o"


def test_text_becomes_the_type_of_the_setting(tmp_path):
    options = [("model.dilations", "1, 2,4"), ("model.use_ratings", "no"), ("training.epochs", "auto"), ("source.path", "none")]
    environment = {
        "RECSYS__RECOMMEND__ROWS_PER_FILE": "1_000",
        "RECSYS__PUBLISH__MUST_BEAT": "",
        "RECSYS__TRAINING__XLA": "auto",
    }
    found = load(tmp_path, "", environment, options)
    assert found.model.dilations == (1, 2, 4)
    assert found.model.use_ratings is False
    assert found.training.epochs is None and found.source.path is None
    assert found.recommend.rows_per_file == 1000
    assert found.publish.must_beat == () and found.training.xla == "auto"


def test_the_environment_reaches_tables_and_properties_keep_their_dots(tmp_path):
    environment = {"RECSYS__SOURCE__INTERACTIONS__DELIMITER": "\\t", "RECSYS__SOURCE__INTERACTIONS__FEATURES__X__KIND": "text"}
    found = load(tmp_path, EVENTS + "[spark.conf]\n'spark.a.b' = '1'", environment, [("spark.conf.spark.c.d", "2")])
    assert found.source.interactions.delimiter == "\t"
    assert found.source.interactions.features["x"].kind == "text"
    assert found.spark.conf == {"spark.a.b": "1", "spark.c.d": "2"}


def test_json_and_back_is_the_same_configuration(tmp_path):
    text = EVENTS + "[source.interactions.features.x]\nkind='numeric'"
    found = load(tmp_path, text, {}, [("spark.conf", {"a.b": "c"})])
    assert settings.from_dict(Config, json.loads(json.dumps(settings.to_dict(found)))) == found


def test_toml_and_back_is_the_same_configuration(tmp_path):
    text = EVENTS + "delimiter = \"\\u0001\"\n[source.interactions.features.'a \"b\" é.c']\nkind='text'\npattern='(\\d+)\\s'"
    found = load(tmp_path, text, {}, [("spark.conf.spark.x.y", 'a"b\\'), ("model.dilations", "1,2"), ("training.epochs", 3)])
    again = tmp_path / "again" / "shop.toml"
    again.parent.mkdir()
    again.write_text(settings_text.toml(found), encoding="utf-8")
    assert settings.load(str(again), {}, []) == found


def test_the_schema_accepts_the_files_of_the_pages_and_refuses_a_wrong_one():
    pages = [page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md"))]
    blocks = [block for page in pages for block in re.findall(r"```toml\n(.*?)```", page, re.DOTALL)]
    files = [tomllib.loads(block) for block in blocks]
    assert any("interactions" in file.get("source", {}) for file in files)
    check = jsonschema.Draft202012Validator(json.loads(settings_text.schema()))
    for file in files:
        check.validate(file)
    for wrong in ({"training": {"epochs": 0}}, {"training": {"epoch": 1}}, {"split": {"method": "random"}}, {"source": "x"}):
        assert not check.is_valid(wrong)


def test_the_schema_explains_every_setting():
    schema = json.loads(settings_text.schema())
    silent = [
        f"{name}.{field}"
        for name, section in schema["$defs"].items()
        for field, described in section["properties"].items()
        if not described.get("description") and "$ref" not in described
    ]
    assert silent == []


def test_a_later_stage_changes_its_own_sections_alone():
    changed = settings.change(Config(), [("recommend.k", "3")], ("recommend",))
    assert changed.recommend.k == 3
    with pytest.raises(ConfigError, match="start a new run"):
        settings.change(Config(), [("split.method", "none")], ("recommend",))


def test_a_later_stage_obeys_its_variables_and_names_the_others():
    environment = {
        "RECSYS__RECOMMEND__K": "4",
        "RECSYS__RECOMMEND__BLOCK_USERS": "8",
        "RECSYS__TRAINING__EPOCHS": "7",
        "RECSYS__SEED": "0",
        "RECSYS__OUTPUT": "elsewhere",
    }
    changed = settings.change(Config(), [("recommend.k", "3")], ("recommend",), environment)
    assert (changed.recommend.k, changed.recommend.block_users, changed.training.epochs) == (3, 8, None)
    assert settings.ignored(Config(), ("recommend",), environment) == ["RECSYS__TRAINING__EPOCHS"]
    with pytest.raises(ConfigError, match="RECSYS__RECOMMEND__K"):
        settings.change(Config(), [], ("recommend",), {"RECSYS__RECOMMEND__K": "0"})


def test_a_run_made_before_a_setting_existed_is_read_and_resumed(tmp_path):
    asked = Config(output=str(tmp_path))
    made = runs.create(asked, "old")
    stored = made.manifest()["config"]
    del stored["split"]["min_events"], stored["split"]["allow_few"], stored["publish"]
    made.update({"config": stored})
    assert made.config() == asked
    assert runs.open_or_create(asked, "old") == made
    assert runs.open_or_create(asked, None) == made
    assert runs.open_or_create(Config(output=str(tmp_path), split=Split(min_events=1)), None) != made


def test_a_stored_run_from_a_larger_machine_is_still_read(tmp_path):
    asked = settings.load(None, {}, [("output", str(tmp_path)), ("spark.memory", f"{2 * psutil.virtual_memory().total}")])
    assert runs.create(asked, "big").config() == asked
