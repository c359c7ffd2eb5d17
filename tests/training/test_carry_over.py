"""Features encoded anew for the network that recommends: what was known stays as it was, what is new begins with nothing."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.config import Config, Model
from recsys.contract import histories
from recsys.contract.features_info import EncodedFeature, read_info, write_info
from recsys.methods.cnn import Network, read_encoder
from recsys.model.encoding import code_origins
from recsys.training import hardware
from recsys.training.carrying import carry_over
from recsys.training.phase import Setting, build
from tests.methods.matrices import logits_of
from tests.support import chains, write_features

ITEMS = 40
NEW_ITEM, NEW_USER = 7, 3


@pytest.fixture
def setting(tmp_path):
    """Published features: a fifth genre that item 7 alone has, a third gender that user 3 alone has."""
    features = write_features(tmp_path, chains(), ITEMS)
    info = read_info(features)
    for name, column, row, value in (("items", "genres", NEW_ITEM, [5]), ("users", "gender", NEW_USER, 3)):
        table = pq.read_table(tmp_path / name)
        values = table[column].to_pylist()
        values[row - 1] = value
        table = table.set_column(
            table.schema.get_field_index(column), column, pa.array(values, table.schema.field(column).type)
        )
        (tmp_path / "published" / name).mkdir(parents=True)
        pq.write_table(table, tmp_path / "published" / name / "part-00000.parquet")
    published = dataclasses.replace(
        info.evaluated,
        users_dir="published/users",
        items_dir="published/items",
        user_features=(EncodedFeature("gender", "categorical", 4, values=("F", "M", "X")),),
        item_features=(
            EncodedFeature("genres", "multi", 6, 2, ("Action", "Comedy", "Crime", "Drama", "War")),
            EncodedFeature("year", "numeric", 1),
        ),
    )
    write_info(features, dataclasses.replace(info, published=published))
    config = Config(model=Model(width=16, dilations=(1, 2)))
    return Setting(config, features, read_info(features), hardware.choose(config.training))


def test_users_and_items_whose_features_were_known_score_as_before(setting):
    info, data = setting.info, histories.read(setting.features)
    encoders = [read_encoder(setting.features, fitted) for fitted in (info.evaluated, info.published)]
    old, new = (build(setting, *pair) for pair in zip((info.evaluated, info.published), encoders, strict=True))
    random = np.random.default_rng(0)
    for variable in old.trainable_variables:
        variable.assign(random.normal(size=variable.shape) * 0.2)
    old.item_known.assign(np.ones(ITEMS + 1, np.float32))
    carry_over(old, new, info.evaluated, info.published)
    before, after = (logits_of(Network(model, encoder), data) for model, encoder in zip((old, new), encoders, strict=True))
    without = [user for user in range(len(data)) if NEW_ITEM not in data.items[data.offsets[user] : data.offsets[user + 1]]]
    without.remove(NEW_USER - 1)
    items = np.delete(np.arange(1, ITEMS + 1), NEW_ITEM - 1)
    np.testing.assert_allclose(after[without][:, items], before[without][:, items], atol=1e-5)
    assert np.abs(after[:, 1:] - before[:, 1:]).max() > 1e-3  # those with new values have lost the old ones


def test_codes_keep_their_vectors_where_offsets_move():
    before = (
        EncodedFeature("brand", "categorical", 3, values=("b1", "b2")),
        EncodedFeature("price", "numeric", 1),
        EncodedFeature("tags", "multi", 4, values=("t1", "t2", "t3")),
    )
    after = (
        EncodedFeature("brand", "categorical", 5, values=("b1", "b2", "b3", "b4")),
        EncodedFeature("price", "numeric", 1),
        EncodedFeature("tags", "multi", 5, values=("t1", "t2", "t3", "t4")),
    )
    assert code_origins(before, after).tolist() == [0, 1, 2, 0, 0, 3, 4, 5, 0]


def test_a_value_keeps_its_vector_whatever_its_code():
    before = (EncodedFeature("brand", "categorical", 4, values=("b1", "b2", "b3")),)
    after = (EncodedFeature("brand", "categorical", 4, values=("b3", "new", "b1")),)
    assert code_origins(before, after).tolist() == [0, 3, 0, 1]


def test_a_network_of_another_shape_gives_nothing_away(setting):
    info = setting.info
    encoder = read_encoder(setting.features, info.evaluated)
    other = dataclasses.replace(setting, config=Config(model=Model(width=16, dilations=(1, 2), kernel_size=5)))
    old, new = build(setting, info.evaluated, encoder), build(other, info.evaluated, encoder)
    with pytest.raises(ValueError, match="shape"):
        carry_over(old, new, info.evaluated, info.evaluated)
