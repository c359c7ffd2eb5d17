"""Where settings come from, and what is said of those that do not exist."""

import pytest

from recsys import settings
from recsys.config import Config
from recsys.errors import ConfigError


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[training]\nepoch = 1", "unknown key 'training.epoch'; known here: epochs"),
        ("colour = 1", "unknown key 'colour'"),
        ("[training]\nepochs = 'many'", "'training.epochs' must be of type int, not 'many'"),
        ("training = 3", "'training' is a section"),
        ("[split]\nmethod = 'random'", "'split.method' must be one of leave-one-out"),
        ("[split]\ntest_fraction = 1.5", "'split.test_fraction' must lie between 0 and 1"),
        ("[recommend]\nk = 0", "'recommend.k' must be greater than 0"),
        ("[training]\nnegatives = -1", "'training.negatives' must be 0"),
        ("[training]\ncold_starts = 2", "'training.cold_starts' must lie between 0 and 1"),
        ("[features]\nmax_rejected = -0.5", "'features.max_rejected' must lie between 0 and 1"),
        ("[model]\ndilations = 3", "'model.dilations' must be a list"),
        ("[source]\ndataset = 'tabular'", r"a tabular source needs \[source.interactions\]"),
        ("[source.interactions]\nformat = 'csv'", "missing key 'source.interactions.path'"),
        ("[[broken", "cannot be read"),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_expected(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="is not there"):
        settings.load(str(tmp_path / "none.toml"), {}, [])


def test_paths_are_relative_to_the_file(tmp_path):
    text = "[source]\ndataset='tabular'\n[source.interactions]\npath='a/*.csv'\n[source.items]\npath='s3://b/items.csv'"
    found = load(tmp_path, text)
    assert found.source.interactions.path == str(tmp_path / "a" / "*.csv")
    assert found.source.items.path == "s3://b/items.csv"


def test_text_becomes_the_type_of_the_setting(tmp_path):
    options = [("model.dilations", "1, 2,4"), ("model.use_ratings", "no"), ("training.epochs", "auto"), ("source.path", "auto")]
    found = load(tmp_path, "", {}, options)
    assert found.model.dilations == (1, 2, 4)
    assert found.model.use_ratings is False
    assert found.training.epochs is None


def test_json_and_back_is_the_same_configuration(tmp_path):
    text = "[source]\ndataset='tabular'\n[source.interactions]\npath='a.csv'\n[source.interactions.features.x]\nkind='numeric'"
    found = load(tmp_path, text, {}, [("spark.conf", {"a.b": "c"})])
    assert settings.from_dict(Config, settings.to_dict(found)) == found


def test_a_later_stage_changes_its_own_sections_alone():
    changed = settings.change(Config(), [("recommend.k", "3")], ("recommend",))
    assert changed.recommend.k == 3
    with pytest.raises(ConfigError, match="begin a new run"):
        settings.change(Config(), [("split.method", "none")], ("recommend",))
