"""The Python API: its examples, which do one small job, and what a program that uses it relies on."""

from __future__ import annotations

import contextlib
import doctest
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints
from unittest import mock

import click
import numpy as np
import pyarrow.parquet as pq
import pytest

import recsys
from recsys import api, errors, results, settings
from recsys.cli import main
from recsys.shortcuts import SHORTCUTS
from tests.command import BUILT_IN, ONLY_POPULARITY, ROOT, children_here, environment
from tests.command import histories as histories_of

PAGE = ROOT / "docs" / "python.md"
TINY = {"RECSYS__TRAINING__EPOCHS": "1", "RECSYS__SPARK__MASTER": "local[2]"}
"""The data and the network of the other tests, as variables, so that the examples need not name them."""
TINY |= {
    f"RECSYS__{name.upper().replace('.', '__')}": value
    for name, _, value in (word.partition("=") for word in (*BUILT_IN, *ONLY_POPULARITY))
    if "." in name
}


@pytest.fixture(scope="module")
def small(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home in which calls do small jobs, in the shared Spark session."""
    home = tmp_path_factory.mktemp("api")
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.chdir(home))
        variables = environment(home, RECSYS__OUTPUT=str(home / "out"), **TINY)
        stack.enter_context(mock.patch.dict(os.environ, variables, clear=True))
        stack.enter_context(children_here(spark))
        yield home


@pytest.fixture(scope="module")
def examples(small: Path) -> dict[str, str]:
    """What was wrong with the examples of each module and of the page, which are run one after another."""
    found, names = {}, {**vars(recsys.api), "recsys": recsys}
    for module in (api, results):
        said: list[str] = []
        runner = doctest.DocTestRunner()
        for test in sorted(doctest.DocTestFinder().find(module, globs={}), key=lambda test: test.lineno or 0):
            test.globs = names
            runner.run(test, out=said.append, clear_globs=False)
        found[module.__name__] = "".join(said) if runner.failures else "" if runner.tries else "no examples"
    lines: list[str] = []
    page = {"lines": lines}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(block.replace("progress=print", "progress=lines.append"), page)
    found[PAGE.name] = "" if lines[-1].startswith("publish: already done") else f"other lines of progress: {lines}"
    return found


@pytest.mark.slow
@pytest.mark.parametrize("place", ["recsys.api", "recsys.results", "python.md"])
def test_examples(examples: dict[str, str], place: str) -> None:
    assert examples[place] == ""


@pytest.fixture(scope="module")
def run(examples: dict[str, str]) -> recsys.Run:
    """The run that the examples have made. Do not modify."""
    return recsys.open_run(run_id="first")


def test_importing_the_package_or_its_functions_loads_no_engine(tmp_path: Path) -> None:
    heavy = ("tensorflow", "keras", "pyspark", "pandas", "matplotlib")
    code = f"import sys, recsys; from recsys import configure; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], env=environment(tmp_path), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there_typed_and_no_folder_of_the_package() -> None:
    """`from recsys import run` would give the folder run/ or a function, by what was imported before."""
    assert set(recsys.__all__) - {"__version__"} == set(api.__all__)
    assert set(recsys.__all__) <= set(dir(recsys)) and (ROOT / "recsys" / "py.typed").exists()
    for name in recsys.__all__:
        assert not (ROOT / "recsys" / name).exists() and not (ROOT / "recsys" / f"{name}.py").exists(), name
        value = getattr(recsys, name)
        if inspect.isfunction(value):
            assert "return" in get_type_hints(value) and value.__doc__
    with pytest.raises(AttributeError, match="no attribute 'runs'"):
        recsys.runs  # noqa: B018


def test_settings_have_the_names_of_the_options() -> None:
    """What `recsys run` takes, besides --config, --set and --spark-conf, and what belongs to a call of the command."""
    options = {option.name for option in main.commands["run"].params if isinstance(option, click.Option)}
    given = set(inspect.signature(recsys.configure).parameters)
    of_the_command = {"file", "changes", "spark_conf", "run_id", "quiet", "wait", "dry_run", "voice"}
    assert given - {"file", "set"} == set(SHORTCUTS) == options - of_the_command


def test_arguments_win_over_the_environment_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "shop.toml"
    file.write_text("seed = 1\n[training]\nepochs = 2\nlearning_rate = 0.5\n[spark.conf]\na = 'b'\n", encoding="utf-8")
    for name in settings.variables(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.setenv("RECSYS__SEED", "3")
    monkeypatch.setenv("RECSYS__TRAINING__EPOCHS", "4")
    found = recsys.configure(file, epochs=5, output=tmp_path, set={"model.dilations": (1, 2), "spark.conf.c.d": "e"})
    assert found == settings.load(
        str(file),
        {"RECSYS__SEED": "3"},
        [("training.epochs", "5"), ("output", str(tmp_path)), ("model.dilations", "1,2"), ("spark.conf.c.d", "e")],
    )
    with pytest.raises(
        recsys.ConfigError, match=r"(?s)2 settings are wrong.*'seed'.*\(RECSYS__SEED\).*'recommend.k'.*\(Python\)"
    ):
        monkeypatch.setenv("RECSYS__SEED", "x")
        recsys.configure(k=0)


@pytest.mark.slow
def test_errors_are_raised_with_what_to_call(small: Path, run: recsys.Run) -> None:
    begun = recsys.build_features(recsys.configure(seed=run.config.seed), run_id="begun")
    for wanted in ("train_model", "evaluate_model", "recommend_items"):
        attribute = {"train_model": "history", "evaluate_model": "metrics", "recommend_items": "recommendations"}[wanted]
        with pytest.raises(recsys.ConfigError, match=rf"has not finished; call recsys\.{wanted}\(run\) first"):
            value = getattr(begun, attribute)
            value()
    with pytest.raises(recsys.ConfigError, match="'evaluate' needs 'train' first"):
        recsys.evaluate_model(begun)
    with pytest.raises(recsys.ConfigError, match="this stage only reads"):
        recsys.train_model(begun, set={"recommend.k": 3})
    with pytest.raises(recsys.ConfigError, match="has another configuration"):
        recsys.run_job(recsys.configure(seed=9), run_id="first")
    with pytest.raises(recsys.ConfigError, match=r"user_id 'x' is not in run first; ids look like: 1, 2, 3"):
        run.recommendations("x")
    with pytest.raises(recsys.ConfigError, match="item_id 0 is not in run first"):
        run.similar_items(0)


@pytest.mark.slow
def test_a_damaged_file_is_an_error_that_says_how_to_make_it_again(small: Path, run: recsys.Run) -> None:
    (small / "out" / "runs" / "broken").mkdir()
    (small / "out" / "runs" / "broken" / "run.json").write_text("{", encoding="utf-8")
    with pytest.raises(recsys.DamagedError, match="start a new run"):
        recsys.train_model(recsys.open_run(run_id="broken"))


@pytest.mark.slow
def test_what_a_library_raises_for_a_full_disk_is_an_error_to_act_on(run: recsys.Run) -> None:
    full = OSError(28, "No space left on device", "/somewhere")
    with (
        mock.patch("recsys.run.job.execute", side_effect=full),
        pytest.raises(recsys.RetryError, match="No space left") as raised,
    ):
        recsys.publish_run(run)
    assert raised.value.__cause__ is full and isinstance(raised.value, errors.RecsysError)


@pytest.mark.slow
def test_a_table_of_a_run_is_what_its_files_say(run: recsys.Run) -> None:
    events, users, items = run.histories(), run.users(), run.items()
    assert events.groupby("user_id")["item_id"].agg(set).to_dict() == histories_of(Path(run.folder))
    assert all(times.is_monotonic_increasing for _, times in events.groupby("user_id")["timestamp"])
    counts = events["part"].value_counts()
    info = run.features
    assert [counts[part] for part in results.PARTS] == [info.train_events, info.valid_events, info.test_events, 0]
    seen = events[events["part"] == "train"]
    counts = items.set_index("item_id")["train_count"]
    assert counts[counts > 0].to_dict() == seen["item_id"].value_counts().to_dict()
    first = seen.groupby("item_id")["timestamp"].min()
    assert items.set_index("item_id")["first_seen"].dropna().to_dict() == first.to_dict()
    assert set(users["gender"]) <= {"F", "M", None} and len(users) == info.users
    for title, words in zip(items["title"], items["title_words"], strict=True):
        assert words and all(word in re.split(r"\W+", title.lower()) for word in words)
    years = items["title"].str.extract(r"\((\d{4})\)$")[0].astype(float)
    (year,) = (feature for feature in info.evaluated.item_features if feature.name == "year")
    np.testing.assert_allclose(items["year"] * year.std + year.mean, years, atol=1e-3)


@pytest.mark.slow
def test_lists_of_a_run_are_those_that_were_published(run: recsys.Run) -> None:
    lists = run.recommendations()
    written = pq.read_table(Path(run.folder) / "recommendations").to_pandas()
    assert lists[list(written.columns)].equals(written)
    titles = run.items().set_index("item_id")["title"]
    assert (titles[lists["item_id"]].to_numpy() == lists["title"].to_numpy()).all()
    one = lists["user_id"].iloc[-1]
    assert run.recommendations(one).equals(lists[lists["user_id"] == one].reset_index(drop=True))


@pytest.mark.slow
def test_items_nearest_to_an_item_are_so_by_the_vectors(run: recsys.Run) -> None:
    vectors, ids = run.item_vectors(), run.items()["item_id"]
    assert vectors.index.tolist() == ids.tolist()
    unit = vectors.div(np.linalg.norm(vectors, axis=1), axis=0)
    cosines = (unit @ unit.loc[7]).drop(7).nlargest(5)
    near = run.similar_items(7, k=5)
    assert near["item_id"].tolist() == cosines.index.tolist() and near["rank"].tolist() == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(near["similarity"], cosines, rtol=1e-5)
    assert near["title"].tolist() == run.items().set_index("item_id")["title"][near["item_id"]].tolist()


@pytest.mark.slow
def test_figures_of_a_run_are_those_of_its_evaluation(run: recsys.Run) -> None:
    per_user = pq.read_table(Path(run.folder) / "evaluation" / "per_user.parquet").to_pandas()
    by_method = per_user.groupby("method", observed=True)[["recall@10", "ndcg@10"]]
    np.testing.assert_allclose(run.metrics.loc["blend", "ndcg@10"], by_method.mean().loc["blend", "ndcg@10"], rtol=1e-5)
    np.testing.assert_allclose(run.std_errors.loc["cnn", "recall@10"], by_method.sem().loc["cnn", "recall@10"], rtol=1e-4)
    difference = run.metrics.loc["blend"] - run.metrics.loc["popularity"]
    compared = run.comparison.set_index(["method", "metric"])
    np.testing.assert_allclose(compared.loc[("popularity", "f1@10"), "difference"], difference["f1@10"], atol=1e-9)
    assert (compared["low"] <= compared["difference"]).all() and (compared["difference"] <= compared["high"]).all()
