"""What the features stage takes over from an earlier run instead of reading it again (refresh.merge)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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


def candidate(config: Config, output: str) -> Run | None:
    """The run whose histories may be taken over; None if there is none, or none is asked for.

    Raises:
        ConfigError: refresh.warm_start names a run that does not exist.
    """
    before = earlier.named(config, output) if config.refresh.merge else None
    return before if before is not None and exists(before) else None


def inputs(before: Run | None) -> Inputs:
    """The files that a run has read, as run.json lists them."""
    try:
        found: Inputs = () if before is None else before.manifest().get("inputs", ())
        return found
    except DamagedError:
        return ()


@contextmanager
def chosen(
    config: Config, before: Run | None, source: SourceTables, log: Log, patience: float
) -> Iterator[tuple[Base | None, dict[str, Any]]]:
    """What to build on, None if all files have to be read; and what run.json records of that, nothing unless it was asked for.

    In the block the run that is built on is kept from being deleted.

    Args:
        config: the configuration.
        before: the run whose histories may be taken over.
        source: the tables, with their inputs.
        log: takes what is done.
        patience: seconds to wait for a process that has the run for itself.

    Raises:
        RetryError: the run is being changed or deleted right now.
    """
    with ExitStack() as held:
        if before is not None:
            held.enter_context(storage.lock(before.folder, shared=True, patience=patience))
        found = choose(config, before, source)
        if found is None:
            yield None, {}
            return
        log(f"  {in_words(found, before, source)}")
        if isinstance(found, str) or before is None:
            held.close()
            yield None, {"run_id": None, "why_not": found}
            return
        known, now = len(found.unchanged), len(source.files("interactions"))
        gone = len(found.files) - known
        facts = {"run_id": before.run_id, "files": known, "files_read": now - known, "files_gone_or_changed": gone}
        yield found, facts


def in_words(found: Base | str, before: Run | None, source: SourceTables) -> str:
    """What `choose` has found, for people."""
    if isinstance(found, str) or before is None:
        return f"all files are read: {found}"
    known, now = len(found.unchanged), len(source.files("interactions"))
    return f"takes over {known:,} of {now:,} files of events from run {before.run_id}, and reads the others"


def choose(config: Config, before: Run | None, source: SourceTables) -> Base | str | None:
    """What to build on, or why all files have to be read; None if nobody asks for anything else.

    Args: see `chosen`.
    """
    if config.refresh.warm_start is None or not config.refresh.merge:
        return None
    if before is None:
        return earlier.NOTHING_PUBLISHED
    try:
        return _base(config, before, source)
    except DamagedError as error:
        return f"run {before.run_id} cannot be used: {error}"


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
    same = tuple(entry["path"] for entry in known if entry["path"] in files and _same(entry, files[entry["path"]]))
    if 2 * sum(files[path]["bytes"] for path in same) < sum(entry["bytes"] for entry in files.values()):
        return f"less than half of the bytes are in files that are as run {before.run_id} has read them"
    return Base(features, tuple(entry["path"] for entry in known), same)


def _differs(config: Config, before: Run, source: SourceTables, info: FeaturesInfo) -> str:
    """What a run was made by that is not the same now, in words; empty if nothing."""
    from recsys.features.pipeline import id_types

    name, manifest, made = before.run_id, before.manifest(), before.config()
    read = {"features": settings.to_dict(config.features), "id_type": source.id_type, "timestamp_unit": source.timestamp_unit}
    declared = [(one.source.dataset, one.source.interactions) for one in (made, config)]
    forgotten = [_of(found, "forget") for found in (manifest["inputs"], source.inputs)]
    code = (manifest["versions"]["recsys"], manifest["revision"]) != (versions()["recsys"], revision())
    found = {
        f"run {name} was made by another version of recsys": code,
        "features.min_item_events is more than 1, and which items are rare depends on all events": (
            config.features.min_item_events > 1
        ),
        f"the events are declared otherwise than in run {name}": declared[0] != declared[1],
        f"the settings of [features] or [source] are others than in run {name}": info.options != read,
        f"the ids are of other types than in run {name}": (
            tuple(map(str, id_types(source))) != (info.user_id_type, info.item_id_type)
        ),
        f"the list of users to forget is another than in run {name}": (
            len(forgotten[0]) != len(forgotten[1]) or not all(map(_same, *forgotten))
        ),
    }
    return next((why for why, differs in found.items() if differs), "")


def _of(found: Inputs, table: str) -> list[Mapping[str, Any]]:
    return [entry for entry in found if entry["table"] == table]


def _same(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a file is as it was: it has the same hash, or the same size and time of change."""
    from recsys.sources.files import unchanged

    return unchanged(before, now) or ("sha256" in before and before["sha256"] == now.get("sha256"))
