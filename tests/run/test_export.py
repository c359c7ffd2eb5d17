"""`recsys export`: the SavedModel of the blend answers with the lists that were published, without this package's scoring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from recsys.contract import histories
from recsys.contract.features_info import read_info
from recsys.methods.cnn import read_encoder
from tests.command import USERS, USERS_WITHOUT_EVENTS, invoke, recommendations, run_folder, succeed


def test_the_exported_blend_answers_with_the_published_lists(built_in: Path, tmp_path: Path) -> None:
    """For users with events and for the one without; also where an earlier export was killed."""
    place = tmp_path / "blend"
    (place / "variables").mkdir(parents=True)
    (place / "variables" / "variables.index").write_text("half")
    said = succeed("export", "--output", built_in / "out", "--to", place, home=tmp_path, run=invoke).stderr
    assert "exporting the blend of run" in said
    assert [path.name for path in tmp_path.iterdir()] == ["blend"]
    features = str(run_folder(built_in / "out") / "features")
    items = pq.read_table(f"{features}/items").to_pydict()
    ids = dict(zip(items["item_index"], items["item_id"], strict=True))
    users = pq.read_table(f"{features}/users").to_pydict()
    index = dict(zip(users["user_id"], users["user_index"], strict=True))
    lists = recommendations(built_in / "out").to_pandas().groupby("user_id")
    known = histories.read(features)
    bags = read_encoder(features, read_info(features).published).users
    length = int(known.lengths.max())
    asked = {name: np.zeros((len(USERS), length), kind) for name, kind in HISTORY.items()}
    for row, user in enumerate(USERS):
        if user not in USERS_WITHOUT_EVENTS:
            one = known.rows(np.flatnonzero(known.user_index == index[user]))
            for name, values in asked.items():
                values[row, : len(one.items)] = getattr(one, name)
    order = np.array([index[user] for user in USERS])
    serve = tf.saved_model.load(str(place)).signatures["serving_default"]
    features_of_users = {"user_codes": bags.codes[order], "user_numbers": bags.numbers[order]}
    answer = serve(**{name: tf.constant(value) for name, value in (asked | features_of_users).items()})
    found, scores = answer["item_index"].numpy(), answer["score"].numpy()
    for row, user in enumerate(USERS):
        published = lists.get_group(user).sort_values("rank")
        np.testing.assert_allclose(scores[row, :10], published["score"], atol=1e-3)
        apart = np.diff(published["score"], prepend=np.inf) < -2e-3  # where rounding decides no order
        here = apart & np.append(apart[1:], True)
        served = np.array([ids[item] for item in found[row, :10]])
        np.testing.assert_array_equal(served[here][:-1], published["item_id"].to_numpy()[here][:-1])


HISTORY = {"items": "int32", "ratings": "float32", "timestamps": "int64"}


@pytest.mark.parametrize("beside", [[], ["saved_model.pb"]])
def test_a_folder_with_something_else_is_left_alone(built_in: Path, tmp_path: Path, beside: list[str]) -> None:
    """Whether there is a SavedModel too or not."""
    for name in (*beside, "thesis.txt"):
        (tmp_path / name).write_text("all of it")
    done = invoke("export", "--output", built_in / "out", "--to", tmp_path, home=tmp_path)
    assert done.returncode == 2 and "other files in it, such as thesis.txt" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [*beside, "thesis.txt"]


def test_a_file_is_left_alone(built_in: Path, tmp_path: Path) -> None:
    place = tmp_path / "thesis.txt"
    place.write_text("all of it")
    done = invoke("export", "--output", built_in / "out", "--to", place, home=tmp_path)
    assert done.returncode == 2 and f"--to {place}: it is a file; name a new folder" in done.stderr
    assert place.read_text() == "all of it"


def test_a_run_is_left_alone(built_in: Path, tmp_path: Path) -> None:
    """Also by way of a link."""
    (tmp_path / "link").symlink_to(built_in / "out" / "runs")
    for runs in (built_in / "out" / "runs", tmp_path / "link"):
        place = runs / run_folder(built_in / "out").name / "model" / "saved_model"
        done = invoke("export", "--output", built_in / "out", "--to", place, home=tmp_path)
        assert done.returncode == 2 and "it is among the runs of" in done.stderr
