"""The features stage: from source tables to histories, users, items, rejected rows and features.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys import settings, storage
from recsys.config import Config, Split, Table
from recsys.contract.features_info import FeaturesInfo, SplitInfo, write_info
from recsys.contract.schema import ITEM_ID, USER_ID
from recsys.errors import DataError
from recsys.features import clean, codes, encodings, events, in_process, moments, rejected, sequences, split, tables
from recsys.features.clean import common_type, id_type
from recsys.features.codes import TRAINS
from recsys.features.earlier_features import Base, fits
from recsys.features.entities import LAST, SEEN
from recsys.features.read import Rows, describe, heading
from recsys.progress import Log
from recsys.sources.files import expanded_size, input_files
from recsys.spark import failures
from recsys.spark.session import spark_context
from recsys.spark.tasks import Tell, counted

if TYPE_CHECKING:
    from pyspark import SparkContext

    from recsys.sources import SourceTables
    from recsys.spark.child import Parent


def run(arguments: Mapping[str, Any], parent: Parent) -> dict[str, Any]:
    """`build` for `recsys.spark.child.call`.

    Args:
        arguments: `config` and `tables` as plain JSON types, `features`, the folder's path or URI, `since`, see SplitInfo, and
            `base`, see earlier_features.Base, or None.
        parent: called with each line of progress, and told how many of Spark's tasks are done.

    Returns:
        The content of features.json.
    """
    from recsys.sources import SourceTables

    described = dict(arguments["tables"])
    for role in ("interactions", "users", "items"):
        if described[role] is not None:
            described[role] = settings.from_dict(Table, described[role])
    config = settings.from_dict(Config, arguments["config"])
    base = None if arguments["base"] is None else Base.from_dict(arguments["base"])
    info = build(config, SourceTables(**described), arguments["features"], parent, parent.update, arguments["since"], base)
    return dataclasses.asdict(info)


def build(
    config: Config,
    source: SourceTables,
    features: str,
    log: Log,
    tell: Tell,
    since: int | None = None,
    base: Base | None = None,
) -> FeaturesInfo:
    """Builds features/ from the source tables. Deletes the folder first and writes its success marker last.

    Args:
        config: the sections features, split, refresh and spark are read.
        source: the tables, and how to read ids and times.
        features: path or URI of the folder.
        log: called with each line of progress.
        tell: told now and then how many of Spark's tasks are done.
        since: see SplitInfo.
        base: features of an earlier run, whose histories are taken over.

    Returns:
        The content of features.json.

    Raises:
        DataError: the input cannot be used.
        ConfigError: a feature or an option is invalid.
        MissingComponentError: Java or Spark is missing.
    """
    for role in ("users", "items"):
        table = getattr(source, role)
        if table is not None:
            codes.check(table.features, role)
    storage.delete_folder(features)
    storage.create_folder(features)
    if base is not None and fits(base, source):
        info = build_with(in_process.context(), config, source, features, log, since, base)
    else:
        log("starting Spark")
        running = spark_context(config, "recsys features", _input_bytes(source))
        with running as context, failures.translated("features"), counted(context, tell):
            info = build_with(context, config, source, features, log, since, base)
    write_info(features, info)
    storage.mark_success(features)
    return info


def build_with(
    context: SparkContext,
    config: Config,
    source: SourceTables,
    features: str,
    log: Log,
    since: int | None = None,
    base: Base | None = None,
) -> FeaturesInfo:
    """`build` in an existing context of Spark, without features.json and the success marker."""
    log("reading and cleaning the events")
    cores = context.defaultParallelism
    rows = describe(source.interactions, "interactions", cores, source.files("interactions"))
    user_rows = describe(source.users, "users", cores, source.files("users")) if source.users is not None else None
    item_rows = describe(source.items, "items", cores, source.files("items")) if source.items is not None else None
    user_type, item_type = _id_types(rows, user_rows, item_rows, source.id_type)
    least = config.features.min_user_events
    layout = clean.layout(rows, user_type, item_type, source.timestamp_unit, config.source.forget)
    found = events.prepare(context, rows, layout, partitions_of(context), config.features, base)
    sums = found.sums
    histogram = moments.spans_of(found.histories, least, found.spans)
    cut = split.prepare(histogram, config.split, least, sums.earliest, sums.latest, since, config.refresh.max_new)
    log(f"{sums.count} events of {sums.users} users; encoding users and items")
    users, items = tables.users_and_items(found, cut, (user_rows, item_rows), (user_type, item_type), config)
    if np.count_nonzero(items.numbers(SEEN)) < 2:
        raise DataError(f"{source.interactions.path} has events with one item only; there is nothing to choose from")
    has_ratings = source.interactions.rating is not None
    evaluated, published = encodings.write(users, items, has_ratings, cut.holds_out, config, features)
    log("writing the histories")
    sizes = sequences.write(found, cut, users, items, features)
    events_aside = tables.Aside(found.aside, found.files) if sums.rejected else None
    rejected.write_rejected([("interactions", events_aside), ("users", users.aside), ("items", items.aside)], features)
    reasons = {"interactions": sums.rejected, "users": users.rejected, "items": items.rejected}
    for kept in (found, users, items):
        kept.parts.unpersist()
    warnings = _too_few(config.split, sizes, source.interactions.path) if cut.holds_out else ()
    for warning in warnings:
        log(f"warning: {warning}")
    return FeaturesInfo(
        users=users.rows,
        items=items.rows,
        events=sums.count,
        **sizes,
        train_users=int(np.count_nonzero(users.numbers(TRAINS))),
        train_items=int(np.count_nonzero(items.numbers(TRAINS))),
        skipped_users=sums.users - sums.learned_users,
        min_user_events=least,
        max_history=sums.longest,
        user_id_type=str(user_type),
        item_id_type=str(item_type),
        has_ratings=has_ratings,
        latest_timestamp=sums.latest,
        latest_train_timestamp=pc.max(items.keys[LAST]).as_py(),
        split=SplitInfo(
            config.split.method,
            config.split.test_fraction,
            config.split.valid_fraction,
            cut.valid_from,
            cut.test_from,
            cut.since,
        ),
        evaluated=evaluated,
        published=published,
        rejected={role: counts for role, counts in reasons.items() if counts},
        options={
            "features": settings.to_dict(config.features),
            "id_type": source.id_type,
            "timestamp_unit": source.timestamp_unit,
        },
        warnings=warnings,
    )


def partitions_of(context: SparkContext) -> int:
    """Into how many partitions users and items are divided; `spark.session.options` sets it by the size of the input."""
    return int(context.getConf().get("spark.sql.shuffle.partitions") or context.defaultParallelism)


def _too_few(split: Split, sizes: Mapping[str, int], path: str) -> tuple[str, ...]:
    """The warning that there are too few events to measure anything, if so and if that is allowed."""
    if min(sizes["valid_events"], sizes["test_events"]) >= split.min_events:
        return ()
    valid, test = sizes["valid_events"], sizes["test_events"]
    found = (
        f"{path}: split {split.method} leaves {valid} validation events and {test} test events, "
        f"fewer than split.min_events = {split.min_events}"
    )
    if split.allow_few:
        return (f"{found}: the metrics say little",)
    others = [f"--split {method}" for method in ("leave-one-out", "per-user-ratio") if method != split.method]
    raise DataError(
        f"{found}. Use another split ({', '.join(others)}), train on everything and measure nothing (--split none), "
        "or accept it (--set split.allow_few=true)"
    )


def _input_bytes(source: SourceTables) -> int:
    """Size of all input files, expanded."""
    tables = (source.interactions, source.users, source.items)
    return sum(expanded_size(path) for table in tables if table is not None for path in input_files(table))


def id_types(source: SourceTables) -> tuple[pa.DataType, pa.DataType]:
    """The types that ids of users and of items have in features/."""
    rows = heading(source.interactions, "interactions", source.files("interactions"))
    users = None if source.users is None else heading(source.users, "users", source.files("users"))
    items = None if source.items is None else heading(source.items, "items", source.files("items"))
    return _id_types(rows, users, items, source.id_type)


def _id_types(rows: Rows, users: Rows | None, items: Rows | None, declared: str) -> tuple[pa.DataType, pa.DataType]:
    return _id_type(rows, users, USER_ID, declared), _id_type(rows, items, ITEM_ID, declared)


def _id_type(rows: Rows, others: Rows | None, key: str, declared: str) -> pa.DataType:
    kinds = []
    for table_rows in (rows, others):
        name = None if table_rows is None else getattr(table_rows.table, key)
        if table_rows is not None and name is not None:
            kinds.append(id_type(table_rows, name, declared))
    return common_type(kinds[0], kinds[-1])
