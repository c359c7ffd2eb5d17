"""Users and items of one run found again in another: by their ids, whatever their indices and types."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.contract import matching, schema


def folder(place, ids, key=schema.ITEM_ID):
    name = place / matching.INDEX[key]
    name.mkdir(parents=True)
    pq.write_table(pa.table({key: ids}), name / "part-00000.parquet")
    return str(place)


def test_every_id_finds_its_index_and_a_new_one_none(tmp_path):
    before = folder(tmp_path / "a", pa.array(["x", "y", "z"]))
    after = folder(tmp_path / "b", pa.array(["z", "new", "x"]))
    assert matching.origins(before, after, schema.ITEM_ID).tolist() == [0, 3, 0, 1]


@pytest.mark.parametrize(
    ("ids", "found"),
    [(pa.array([7, 5], pa.int32()), [0, 0, 1]), (pa.array(["5", "7"]), [0, 0, 0]), (pa.array([], pa.int64()), [0])],
    ids=["narrower integers", "text", "none"],
)
def test_ids_of_another_type(tmp_path, ids, found):
    before = folder(tmp_path / "a", pa.array([5, 2**40], pa.int64()), schema.USER_ID)
    assert matching.origins_of(before, ids, schema.USER_ID).tolist() == found
