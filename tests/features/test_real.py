"""MovieLens 100K from the archive to features, in a child process."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys import config, sources, storage
from recsys.contract import histories
from recsys.contract.features_info import read_info
from recsys.spark import child
from tests.building import request


@pytest.mark.slow
@pytest.mark.data
def test_movielens_100k(data_dir: Path, tmp_path: Path) -> None:
    source = config.Source(dataset="ml-100k", path=str(data_dir / "ml-100k.zip"), cache_dir=str(tmp_path / "cache"))
    options = config.Config(source=source, split=config.Split(method="leave-one-out"), spark=config.Spark(memory="1g"))
    said: list[str] = []
    tables = sources.open_source(options, str(tmp_path / "work"), said.append)
    folder = str(tmp_path / "features")
    outcome = child.call("recsys.features.pipeline:run", request(options, tables, folder), said.append)
    info = read_info(folder)
    assert (info.users, info.items, info.events, info.test_events) == (943, 1682, 100_000, 943)
    assert info.rejected == {}
    assert outcome.bytes_left == 0
    assert outcome.peak_bytes < 2 << 30
    assert storage.is_whole(folder)
    items = histories.read_table(folder, "items").to_pylist()
    assert items[0]["train_count"] == max(item["train_count"] for item in items)
    assert sum(item["train_count"] for item in items) == info.train_events == 100_000 - 2 * 943
    read = histories.read(folder)
    assert len(read.items) == 100_000
    assert all(
        (part[1:] >= part[:-1]).all()
        for part in (read.timestamps[a:b] for a, b in zip(read.offsets, read.offsets[1:], strict=False))
    )
