"""One Spark session for all tests of the features stage, and fixtures that build features from a few lines of text."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from recsys import config, settings, storage
from recsys.contract import histories, schema
from recsys.contract.features_info import FeaturesInfo, read_info, write_info
from recsys.features import pipeline
from recsys.sources import SourceTables
from recsys.spark.failures import translated
from recsys.spark.session import spark_session
from tests.command import BUILT_IN, Command, invoke, succeed
from tests.store import Store


@dataclasses.dataclass(frozen=True)
class Built:
    """What a build wrote; the tables as encoded for the evaluated and for the published network."""

    folder: str
    info: FeaturesInfo
    histories: histories.Histories
    users: pa.Table
    items: pa.Table
    published_users: pa.Table
    published_items: pa.Table
    rejected: pa.Table
    said: list[str]

    def history(self, user: Any) -> list[Any]:
        """Ids of a user's items in the order of the history."""
        index = dict(zip(self.users["user_id"].to_pylist(), self.users["user_index"].to_pylist(), strict=True))[user]
        ids = dict(zip(self.items["item_index"].to_pylist(), self.items["item_id"].to_pylist(), strict=True))
        row = list(self.histories.user_index).index(index)
        return [ids[item] for item in self.histories.items[self.histories.offsets[row] : self.histories.offsets[row + 1]]]

    def reasons(self) -> list[tuple[str, str, str]]:
        """Sorted (table, reason, row) of what was set aside."""
        return sorted((row["table"], row["reason"], row["row"]) for row in self.rejected.to_pylist())


def source(
    interactions: config.Table, users: config.Table | None = None, items: config.Table | None = None, **options: Any
) -> SourceTables:
    """Source tables as recsys.sources returns them."""
    given: dict[str, Any] = {"id_type": "auto", "timestamp_unit": "s", "name": "test", "inputs": (), **options}
    return SourceTables(interactions, users, items, **given)


def request(options: config.Config, tables: SourceTables, folder: str) -> dict[str, Any]:
    """What `recsys.features.pipeline:run` takes in a process of its own."""
    described = {field.name: getattr(tables, field.name) for field in dataclasses.fields(tables)}
    for role in ("interactions", "users", "items"):
        if described[role] is not None:
            described[role] = settings.to_dict(described[role])
    return {"config": settings.to_dict(options), "tables": described, "features": folder, "since": None, "base": None}


def load(folder: str, info: FeaturesInfo, said: list[str]) -> Built:
    """Reads a features folder through the contract."""
    return Built(
        folder,
        info,
        histories.read(folder),
        histories.read_table(folder, info.evaluated.users_dir),
        histories.read_table(folder, info.evaluated.items_dir),
        histories.read_table(folder, info.published.users_dir),
        histories.read_table(folder, info.published.items_dir),
        histories.read_table(folder, schema.REJECTED_DIR),
        said,
    )


@pytest.fixture(scope="session")
def spark(store: Store) -> Iterator[Any]:
    """A local session with two cores; its workers can reach the object store.

    ALS has its SQL interpreted, since compiling it would take longer than all that the tests compute. Jobs in processes of
    their own compile it as usual.
    """
    conf = {
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.shuffle.partitions": "1",
    }
    options = config.Config(spark=config.Spark(master="local[2]", memory="1g", conf=conf))
    with spark_session(options, "tests", 0) as session:
        yield session


@pytest.fixture(scope="session")
def with_spark(spark: Any) -> Command:
    """`with_spark(*words, home=…)` runs a command in this process and in the shared Spark session."""
    return functools.partial(invoke, session=spark)


@pytest.fixture(scope="session")
def built_in(with_spark: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Home of a run on the built-in data with every baseline. Output: `out`; what it printed: `said`. Do not modify.

    The processes of one pytest share it; the first that needs it makes it.
    """
    base = tmp_path_factory.getbasetemp()
    home = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "built-in"
    home.mkdir(exist_ok=True)
    with storage.lock(str(home), patience=600):
        if not (home / "said").exists():
            done = succeed("run", *BUILT_IN, "--output", home / "out", home=home, run=with_spark)
            (home / "said").write_text(done.stderr + done.stdout, encoding="utf-8")
    return home


@pytest.fixture
def build(spark: Any, tmp_path: Path) -> Callable[..., Built]:
    """`build(tables, config=…)` builds features in the shared Spark session."""
    count = 0

    def make(tables: SourceTables, options: config.Config | None = None) -> Built:
        nonlocal count
        count += 1
        folder = str(tmp_path / f"features{count}")
        said: list[str] = []
        with translated("features"):
            info = pipeline.build_with(spark.sparkContext, options or config.Config(), tables, folder, said.append)
        write_info(folder, info)
        return load(folder, read_info(folder), said)

    return make


@pytest.fixture
def csv(tmp_path: Path) -> Callable[..., config.Table]:
    """`csv(text)` writes events `user,item,rating,time` and describes them; `csv(text, name, **fields)` any table."""

    def write(text: str | bytes, name: str = "events.csv", **fields: Any) -> config.Table:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        if not fields:
            fields = {"user_id": "user", "item_id": "item", "rating": "rating", "timestamp": "time"}
        return config.Table(str(path), **fields)

    return write
