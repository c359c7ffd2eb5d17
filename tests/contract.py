"""Checks an output against the contract. Imports nothing from recsys, so it knows the promises and not the code.

As a command, for an operator:

    python tests/contract.py OUTPUT --events FILE --user COLUMN --item COLUMN [--k 10] [--users FILE] [--items FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Collection, Iterable, Mapping, Set
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

COLUMNS = ("user_id", "item_id", "rank", "score")
PART = re.compile(r"part-\d{5}\.parquet")
LEFTOVER = re.compile(r"^\..*|.*\.(tmp|temp|partial|crc|inprogress)$|^_temporary.*|^checkpoint.*")
RUN_KEYS = ("run_id", "config", "versions", "image", "revision", "host", "inputs", "rejected", "stages")
STAGES = ("features", "train", "evaluate", "recommend", "publish")
ROWS_PER_GROUP = 1_000_000
"""A reader of one user must not have to read more rows than this."""

Had = pd.DataFrame | Mapping[Any, Set[Any]]


def check_output(
    output: Path,
    had: Had,
    users: Collection[Any],
    items: Collection[Any],
    k: int,
    user_type: pa.DataType | None = None,
    item_type: pa.DataType | None = None,
) -> dict[str, Any]:
    """Checks the published run of an output folder.

    Args:
        output: folder of the output.
        had: the items of each user, or a frame with user_id and item_id.
        users: ids of all users that must be served.
        items: ids of all items of the catalogue.
        k: rows a user.
        user_type: Arrow type of the users' ids; by the ids given when left out.
        item_type: that of the items' ids.

    Returns:
        latest.json.

    Raises:
        AssertionError: says what does not hold.
    """
    latest = check_latest(output)
    manifest = _json(output / latest["run"])
    check_manifest(manifest, latest["run_id"])
    folder = output / latest["recommendations"]
    check_leftovers((output / latest["run"]).parent)
    types = (user_type or _type_of(users), item_type or _type_of(items))
    check_recommendations(folder, latest["run_id"], as_sets(had), users, items, k, types)
    check_checksums(folder, manifest)
    return latest


def check_latest(output: Path) -> dict[str, Any]:
    """latest.json points at a run that is there and whole."""
    path = output / "latest.json"
    assert path.is_file(), f"{path} is missing: nothing is published"
    latest = _json(path)
    for key in ("run_id", "recommendations", "run", "published_at"):
        assert isinstance(latest.get(key), str), f"{path} lacks '{key}'"
    for key in ("recommendations", "run"):
        assert not Path(latest[key]).is_absolute(), f"{path}: '{key}' is absolute, so the output cannot be moved: {latest[key]}"
        assert (output / latest[key]).exists(), f"{path}: '{key}' points at {latest[key]}, which is not there"
    assert isinstance(latest.get("measured"), bool), f"{path} does not say whether the run was measured"
    _check_time(latest["published_at"], f"{path}: published_at")
    return latest


def check_manifest(manifest: Mapping[str, Any], run_id: str) -> None:
    """run.json says all that the contract asks for."""
    missing = [key for key in RUN_KEYS if key not in manifest]
    assert not missing, f"run.json lacks {', '.join(missing)}"
    assert manifest["run_id"] == run_id, f"run.json is of run {manifest['run_id']}, latest.json of {run_id}"
    assert manifest["config"], "run.json: config is empty"
    assert {"recsys", "pyarrow"} <= set(manifest["versions"]), f"run.json: versions are {manifest['versions']}"
    assert manifest["host"], "run.json: host is empty"
    assert manifest["inputs"], "run.json: inputs are empty"
    for entry in manifest["inputs"]:
        assert entry.get("path") and isinstance(entry.get("bytes"), int), f"run.json: an input lacks path or bytes: {entry}"
        assert entry.get("sha256") or entry.get("modified"), f"run.json: an input has no fingerprint: {entry}"
    for table, reasons in manifest["rejected"].items():
        counted = all(isinstance(number, int) and number > 0 for number in reasons.values())
        assert counted, f"run.json: rejected rows of {table} are not counted by reason: {reasons}"
    for stage in STAGES:
        facts = manifest["stages"].get(stage)
        assert facts, f"run.json: stage '{stage}' is missing"
        for key in ("seconds", "peak_bytes"):
            assert isinstance(facts.get(key), int | float), f"run.json: stage '{stage}' has no {key}"
    for key in ("users", "items", "events"):
        assert isinstance(manifest["stages"]["features"].get(key), int), f"run.json: the features stage does not count {key}"
    assert manifest["stages"]["train"].get("hardware"), "run.json: the train stage does not name its hardware"
    if manifest["config"]["split"]["method"] != "none":
        assert manifest.get("metrics"), "run.json: metrics are missing"


def check_leftovers(run_folder: Path) -> None:
    """Nothing temporary is left in the folder of a finished run; a lock file may be."""
    left = [path for path in sorted(run_folder.rglob("*")) if LEFTOVER.match(path.name) and not path.name.startswith(".lock")]
    assert not left, f"left over: {left[0]}" + (f" and {len(left) - 1} more" if len(left) > 1 else "")


def check_recommendations(
    folder: Path,
    run_id: str,
    had: Mapping[Any, Set[Any]],
    users: Collection[Any],
    items: Collection[Any],
    k: int,
    types: tuple[pa.DataType, pa.DataType],
) -> None:
    """The folder is whole, its files are as they must be, and so is every row."""
    assert (folder / "_SUCCESS").is_file(), f"{folder} has no _SUCCESS: it is not whole"
    names = sorted(path.name for path in folder.iterdir() if path.name != "_SUCCESS")
    odd = [name for name in names if not PART.fullmatch(name)]
    assert not odd, f"{folder} holds {odd[0]}; expected part-NNNNN.parquet alone"
    assert names == [f"part-{number:05d}.parquet" for number in range(len(names))], f"{folder}: a part is missing: {names}"
    assert names, f"{folder} holds no Parquet file"
    frames = [check_file(folder / name, run_id, types) for name in names]
    check_rows(pd.concat(frames, ignore_index=True), had, users, items, k, types)


def check_checksums(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Every file is the one that was written, to the byte."""
    written = {entry["file"]: entry for entry in manifest["stages"]["recommend"].get("written", [])}
    for path in sorted(folder.glob("*.parquet")):
        assert path.name in written, f"run.json: stage 'recommend' has no checksum of {path.name}"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert digest == written[path.name]["sha256"], f"{path} is not what was written: its SHA-256 is {digest}"


def check_file(path: Path, run_id: str, types: tuple[pa.DataType, pa.DataType]) -> pd.DataFrame:
    """Schema, metadata and row groups of one file; returns its rows."""
    file = pq.ParquetFile(path)
    schema = file.schema_arrow
    assert tuple(schema.names) == COLUMNS, f"{path}: columns are {schema.names}, expected {list(COLUMNS)}"
    for name, expected in zip(COLUMNS, (*types, pa.int32(), pa.float32()), strict=True):
        field = schema.field(name)
        assert field.type == expected, f"{path}: {name} is {field.type}, expected {expected}"
        assert not field.nullable, f"{path}: {name} may be null by its schema"
    metadata = {key.decode(): value.decode(errors="replace") for key, value in (schema.metadata or {}).items()}
    for key in ("run_id", "generated_at"):
        assert metadata.get(key), f"{path}: '{key}' is missing in the file's metadata"
    assert metadata["run_id"] == run_id, f"{path} is of run {metadata['run_id']}, latest.json points at {run_id}"
    _check_time(metadata["generated_at"], f"{path}: generated_at")
    table = file.read()
    for name in COLUMNS:
        assert table.column(name).null_count == 0, f"{path}: {name} is null in {table.column(name).null_count} rows"
    _check_groups(path, file, table)
    frame: pd.DataFrame = table.to_pandas()
    return frame


def check_rows(
    rows: pd.DataFrame,
    had: Mapping[Any, Set[Any]],
    users: Collection[Any],
    items: Collection[Any],
    k: int,
    types: tuple[pa.DataType, pa.DataType],
) -> None:
    """What must hold for every row of all files together, in the order of their names."""
    wanted, catalogue = _ids(users, types[0]), _ids(items, types[1])
    users_of, items_of = rows["user_id"].to_numpy(), rows["item_id"].to_numpy()
    _nothing(rows, ~rows["user_id"].isin(wanted), "a user id that is not in the source")
    _nothing(rows, ~rows["item_id"].isin(catalogue), "an item id that is not in the source")
    _nothing(rows, ~np.isfinite(rows["score"]), "a score that is not a finite number")
    same = users_of[1:] == users_of[:-1]
    disorder = np.concatenate(([False], ~same & (users_of[1:] < users_of[:-1])))
    _nothing(rows, disorder, "users are not in order: this one comes after a greater id")
    starts = np.flatnonzero(np.concatenate(([True], ~same))) if len(rows) else np.zeros(0, int)
    place = np.arange(len(rows)) - np.repeat(starts, np.diff(np.append(starts, len(rows)))) + 1
    _nothing(rows, rows["rank"].to_numpy() != place, "ranks of a user are not 1, 2, 3, … in order")
    rising = np.concatenate(([False], same & (np.diff(rows["score"].to_numpy()) > 0)))
    _nothing(rows, rising, "a score above that of the rank before")
    _nothing(rows, rows.duplicated(["user_id", "item_id"]), "an item twice for one user")
    seen = [item in had.get(user, ()) for user, item in zip(users_of, items_of, strict=True)]
    _nothing(rows, np.array(seen, bool), "an item that the user has already had")
    counts = dict(zip(users_of[starts], np.diff(np.append(starts, len(rows))), strict=True))
    for user in wanted:
        expected = min(k, len(catalogue) - len(catalogue.intersection(had.get(user, ()))))
        found = counts.get(user, 0)
        assert found == expected, f"user {user!r} has {found} rows, expected {expected} (K is {k})"


def as_sets(had: Had) -> Mapping[Any, Set[Any]]:
    """The items of each user, from a frame or as they are."""
    if not isinstance(had, pd.DataFrame):
        return had
    return {user: set(group) for user, group in had.groupby("user_id")["item_id"]}


def _check_groups(path: Path, file: pq.ParquetFile, table: pa.Table) -> None:
    """Row groups are small, say which users they hold, and none divides a user."""
    first, users = 0, table.column("user_id")
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        assert group.num_rows <= ROWS_PER_GROUP, (
            f"{path}: row group {number} has {group.num_rows} rows, too many to read one user"
        )
        statistics = group.column(0).statistics
        assert statistics is not None and statistics.has_min_max, (
            f"{path}: row group {number} does not say which users it holds"
        )
        divided = first > 0 and users[first - 1] == users[first]
        assert not divided, f"{path}: user {users[first]} is divided between two row groups"
        first += group.num_rows


def _ids(values: Iterable[Any], kind: pa.DataType) -> set[Any]:
    """The ids as Python values of the expected type: an int for an integer column, a str for text."""
    expected = int if pa.types.is_integer(kind) else str
    result = {value.item() if isinstance(value, np.generic) else value for value in values}
    wrong = [value for value in result if not isinstance(value, expected)]
    assert not wrong, f"the ids to check against must be {expected.__name__}, such as {kind} has, not {wrong[0]!r}"
    return result


def _type_of(values: Collection[Any]) -> pa.DataType:
    return pa.string() if isinstance(next(iter(values)), str) else pa.int64()


def _nothing(rows: pd.DataFrame, wrong: Any, what: str) -> None:
    places = np.flatnonzero(wrong)
    if len(places):
        raise AssertionError(f"{len(places)} rows: {what}; the first is row {places[0]}: {rows.iloc[places[0]].to_dict()}")


def _check_time(text: str, what: str) -> None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise AssertionError(f"{what} is {text!r}, no time in ISO 8601") from None
    assert moment.tzinfo is not None, f"{what} has no time zone: {text}"


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise AssertionError(f"{path} is no JSON: {error}") from None


def _read(paths: list[str], column: str, options: argparse.Namespace) -> pd.Series:
    """One column of some files: by its name or, in text without a header, by its place from 0."""
    parts = []
    for path in paths:
        if path.endswith(".parquet"):
            parts.append(pq.read_table(path, columns=[column]).column(0).to_pandas())
            continue
        place: Any = {"header": None, "usecols": [int(column)]} if column.isdigit() else {"usecols": [column]}
        place |= {"engine": "c" if len(options.delimiter) == 1 else "python", "encoding": options.encoding}
        values = pd.read_csv(path, sep=options.delimiter, dtype=str, keep_default_na=False, **place).iloc[:, 0]
        parts.append(values.astype(np.int64) if options.integer_ids else values)
    return pd.concat(parts, ignore_index=True)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Checks an output of recsys against its contract.",
        epilog="A column is a name or, in a file without a header, a place from 0.",
    )
    parser.add_argument("output", type=Path)
    parser.add_argument("--events", action="append", required=True, help="CSV or Parquet file of the events; may be repeated")
    parser.add_argument("--user", default="user_id", help="column of the events with the users' ids")
    parser.add_argument("--item", default="item_id", help="column of the events with the items' ids")
    parser.add_argument("--users", action="append", default=[], help="file of the users, where the source has one")
    parser.add_argument("--users-id", help="its column; --user when left out")
    parser.add_argument("--items", action="append", default=[], help="file of the items, where the source has one")
    parser.add_argument("--items-id", help="its column; --item when left out")
    parser.add_argument("--k", type=int, default=10, help="recommendations a user")
    parser.add_argument("--delimiter", default=",")
    parser.add_argument("--encoding", default="utf-8")
    parser.add_argument("--integer-ids", action="store_true", help="ids of CSV files are integers in the output")
    options = parser.parse_args(arguments)
    had = pd.DataFrame({"user_id": _read(options.events, options.user, options)})
    had["item_id"] = _read(options.events, options.item, options)
    users, items = set(had["user_id"]), set(had["item_id"])
    users.update(_read(options.users, options.users_id or options.user, options) if options.users else ())
    items.update(_read(options.items, options.items_id or options.item, options) if options.items else ())
    try:
        latest = check_output(options.output, had, users, items, options.k)
    except AssertionError as error:
        sys.exit(f"the contract is broken: {error}")
    print(f"run {latest['run_id']} keeps the contract: {len(users):,} users, {len(items):,} items")


if __name__ == "__main__":
    main()
