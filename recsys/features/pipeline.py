"""The features stage: source tables in; histories, users, items, rejected rows and features.json out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from recsys import storage
from recsys.config import Config, Table
from recsys.contract import schema
from recsys.contract.features_info import Encoding, FeaturesInfo, SplitInfo, write_info
from recsys.contract.schema import ITEM_ID, USER_ID
from recsys.errors import DataError
from recsys.features import codes, events, rejected, split, tables
from recsys.features.clean import ARROW_NAMES, common_type, id_type
from recsys.features.read import Rows, read
from recsys.settings import from_dict
from recsys.sources.files import input_files
from recsys.spark import failures
from recsys.spark.session import spark_session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from recsys.sources import SourceTables


def run(arguments: Mapping[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
    """`build` for `features.process.call`.

    Args:
        arguments: `config` and `tables` as dataclasses.asdict gives them, and `features`, the folder's path or URI.
        progress: gets lines of progress.
    """
    from recsys.sources import SourceTables

    described = dict(arguments["tables"])
    for role in ("interactions", "users", "items"):
        if described[role] is not None:
            described[role] = from_dict(Table, described[role])
    info = build(from_dict(Config, arguments["config"]), SourceTables(**described), arguments["features"], progress)
    return dataclasses.asdict(info)


def build(config: Config, source: SourceTables, features: str, progress: Callable[[str], None]) -> FeaturesInfo:
    """Makes features/ from the source tables; what was in the folder is removed first, its marker of success comes last.

    Args:
        config: sections features, split and spark.
        source: the tables and how ids and times are to be read.
        features: path or URI of the folder.
        progress: gets lines of progress.

    Returns:
        What was written to features.json.

    Raises:
        DataError: the input cannot be used.
        ConfigError: a feature or option that cannot be.
        MissingComponentError: Java or Spark is missing.
    """
    for role in ("users", "items"):
        table = getattr(source, role)
        if table is not None:
            codes.check(table.features, role)
    storage.delete_folder(features)
    storage.create_folder(features)
    progress("starting Spark")
    with spark_session(config, "recsys features", _input_bytes(source)) as spark, failures.translated("features"):
        info = build_with(spark, config, source, features, progress)
    write_info(features, info)
    storage.mark_success(features)
    return info


def build_with(
    spark: SparkSession, config: Config, source: SourceTables, features: str, progress: Callable[[str], None]
) -> FeaturesInfo:
    """`build` in a session that is there already, without features.json and the marker of success."""
    progress("reading and cleaning the events")
    rows = read(spark, source.interactions, "interactions")
    user_rows = read(spark, source.users, "users") if source.users is not None else None
    item_rows = read(spark, source.items, "items") if source.items is not None else None
    user_type = _id_type(rows, user_rows, USER_ID, source.id_type)
    item_type = _id_type(rows, item_rows, ITEM_ID, source.id_type)
    found = events.prepare(rows, user_type, item_type, source.timestamp_unit, config)
    path = source.interactions.path
    if found.users < 2:
        raise DataError(f"{path} has the events of one user only; there is nothing to learn from what users have in common")
    cut = split.prepare(found.frame, config.split, config.features.min_user_events, found.earliest, found.latest)
    progress(f"{found.count} events of {found.users} users; making users and items")
    users = tables.users(found, cut, user_rows, user_type, config)
    items = tables.items(found, cut, item_rows, item_type, config)
    if items.facts["event_items"] < 2:
        raise DataError(f"{path} has events with one item only; there is nothing to choose from")
    if not items.facts["count"]:
        raise DataError(f"no user of {path} has features.min_user_events = {config.features.min_user_events} events; lower it")
    has_ratings = source.interactions.rating is not None
    mean, deviation = _rating_moments(items.facts)
    user_features = tables.write_users(users, config, features)
    item_features = tables.write_items(items, mean if has_ratings else None, config, features)
    progress("writing the histories")
    sizes = events.write_histories(found, cut, users, items, features)
    aside = [("interactions", found.aside), ("users", users.aside), ("items", items.aside)]
    rejected.write_rejected(aside, features)
    reasons = {"interactions": found.rejected, "users": users.rejected, "items": items.rejected}
    for frame in (found.frame, users.frame, items.frame):
        frame.unpersist()
    encoding = Encoding(
        schema.USERS_DIR, schema.ITEMS_DIR, tuple(user_features), tuple(item_features), rating_mean=mean, rating_std=deviation
    )
    return FeaturesInfo(
        users=users.rows,
        items=items.rows,
        events=found.count,
        **sizes,
        train_users=users.facts["train_users"],
        train_items=items.facts["train_items"],
        min_user_events=config.features.min_user_events,
        max_history=found.longest,
        user_id_type=ARROW_NAMES[user_type],
        item_id_type=ARROW_NAMES[item_type],
        has_ratings=has_ratings,
        latest_timestamp=found.latest,
        latest_train_timestamp=items.facts["last"],
        split=SplitInfo(
            config.split.method, config.split.test_fraction, config.split.valid_fraction, cut.valid_from, cut.test_from
        ),
        evaluated=encoding,
        published=encoding,
        rejected={role: counts for role, counts in reasons.items() if counts},
        options={
            "features": dataclasses.asdict(config.features),
            "id_type": source.id_type,
            "timestamp_unit": source.timestamp_unit,
        },
    )


def _input_bytes(source: SourceTables) -> int:
    """Size of all input files, compressed ones taken for four times as much."""
    total = 0
    for table in (source.interactions, source.users, source.items):
        for path in input_files(table) if table is not None else ():
            system, inner = storage.resolve(path)
            total += system.get_file_info(inner).size * (4 if path.endswith((".gz", ".bz2", ".parquet")) else 1)
    return total


def _id_type(rows: Rows, others: Rows | None, key: str, declared: str) -> str:
    kinds = []
    for table_rows in (rows, others):
        name = None if table_rows is None else getattr(table_rows.table, key)
        if table_rows is not None and name is not None:
            kinds.append(id_type(table_rows, name, declared))
    return common_type(kinds[0], kinds[-1])


def _rating_moments(facts: Mapping[str, Any]) -> tuple[float, float]:
    """Mean and population standard deviation of the ratings in the training part."""
    mean = facts["sum"] / facts["count"]
    variance = max(facts["squares"] / facts["count"] - mean * mean, 0.0)
    return codes.settle(mean), codes.settle(math.sqrt(variance))
