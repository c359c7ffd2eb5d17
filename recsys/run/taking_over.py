"""What the features stage takes over from an earlier run instead of reading it again (refresh.merge)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from recsys import settings, storage
from recsys.config import Config
from recsys.contract import schema
from recsys.contract.features_info import FeaturesInfo, read_info
from recsys.errors import DamagedError
from recsys.progress import Log
from recsys.run import earlier
from recsys.run.runs import Run, exists, revision, versions

if TYPE_CHECKING:
    from recsys.features.earlier_features import Base
    from recsys.sources import SourceTables

Inputs = Sequence[Mapping[str, Any]]


@contextmanager
def held(config: Config, output: str) -> Iterator[Run | None]:
    """The run whose histories may be taken over, kept from being deleted in the block; None if there is none.

    Raises:
        ConfigError: refresh.warm_start names a run that does not exist.
        RetryError: it is being changed or deleted right now.
    """
    before = earlier.named(config, output)
    if before is None or not exists(before):
        yield None
        return
    with storage.lock(before.folder, shared=True):
        yield before


def inputs(before: Run | None) -> Inputs:
    """The files that a run has read, as run.json lists them."""
    try:
        found: Inputs = () if before is None else before.manifest().get("inputs", ())
        return found
    except DamagedError:
        return ()


def choose(config: Config, before: Run | None, source: SourceTables, log: Log) -> tuple[Base | None, dict[str, Any]]:
    """What to build on, None if all files have to be read; and what run.json records of that, nothing unless it was asked for.

    Args:
        config: the configuration.
        before: the run whose histories may be taken over.
        source: the tables, with their inputs.
        log: takes what is done.
    """
    if config.refresh.warm_start is None or not config.refresh.merge:
        return None, {}
    try:
        found = earlier.NOTHING_PUBLISHED if before is None else _base(config, before, source)
    except DamagedError as error:
        found = f"run {before.run_id if before else ''} cannot be used: {error}"
    if isinstance(found, str) or before is None:
        log(f"  all files are read: {found}")
        return None, {"run_id": None, "why_not": found}
    known, now = len(found.unchanged), len(_of(source.inputs, "interactions"))
    log(f"  takes over {known:,} of {now:,} files of events from run {before.run_id}, and reads the others")
    gone = len(found.files) - known
    return found, {"run_id": before.run_id, "files": known, "files_read": now - known, "files_gone_or_changed": gone}


def _base(config: Config, before: Run, source: SourceTables) -> Base | str:
    """What to build on, or why that cannot be done."""
    from recsys.features.earlier_features import Base

    features = before.path(schema.FEATURES_DIR)
    if not storage.is_whole(features):
        return f"run {before.run_id} has not finished 'features'"
    manifest, info = before.manifest(), read_info(features)
    if why := _differs(config, before, source, info):
        return why
    files = {entry["path"]: entry for entry in _of(source.inputs, "interactions")}
    known = _of(manifest["inputs"], "interactions")
    same = tuple(entry["path"] for entry in known if _content([entry]) == _content([files.get(entry["path"], {})]))
    if not same:
        return f"none of the files is as run {before.run_id} has read it"
    return Base(features, tuple(entry["path"] for entry in known), same)


def _differs(config: Config, before: Run, source: SourceTables, info: FeaturesInfo) -> str:
    """What a run was made by that is not the same now, in words; empty if nothing."""
    name, manifest, made = before.run_id, before.manifest(), before.config()
    if manifest["versions"]["recsys"] != versions()["recsys"] or manifest["revision"] != revision():
        return f"run {name} was made by another version of recsys"
    if config.features.min_item_events > 1:
        return "features.min_item_events is more than 1, and which items are rare depends on all events"
    read = {"features": settings.to_dict(config.features), "id_type": source.id_type, "timestamp_unit": source.timestamp_unit}
    if made.source.dataset != config.source.dataset or made.source.interactions != config.source.interactions:
        return f"the events are declared otherwise than in run {name}"
    if info.options != read:
        return f"the settings of [features] or [source] are others than in run {name}"
    if _content(_of(manifest["inputs"], "forget")) != _content(_of(source.inputs, "forget")):
        return f"the list of users to forget is another than in run {name}"
    return ""


def _of(found: Inputs, table: str) -> list[Mapping[str, Any]]:
    return [entry for entry in found if entry["table"] == table]


def _content(found: Inputs) -> list[Any]:
    """What the files hold: their hashes or, where they have none, what stands for them."""
    return [entry.get("sha256") or (entry.get("bytes"), entry.get("modified")) for entry in found]
