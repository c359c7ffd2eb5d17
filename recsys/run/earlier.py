"""The earlier run whose network a run goes on from (refresh.warm_start): chosen once, and recorded in run.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import datetime
from typing import Any, Final

from recsys import storage
from recsys.config import Config, Feature, Table
from recsys.contract import matching, schema
from recsys.contract.earlier_run import EarlierRun
from recsys.contract.features_info import read_info
from recsys.errors import ConfigError, DamagedError
from recsys.progress import Log
from recsys.run import latest
from recsys.run.runs import WARM_START, Run, exists

LATEST: Final = "latest"
NOTHING_PUBLISHED: Final = "no run is published yet"


@dataclasses.dataclass(frozen=True)
class Found:
    """Which run to go on from.

    Attributes:
        run_id: its name; None if a new network must be trained.
        since: the last moment that its network has learned, seconds; None without such a run.
        why_not: why a new network must be trained, in words; empty if none must.
    """

    run_id: str | None = None
    since: int | None = None
    why_not: str = ""


def look_up(config: Config, output: str) -> Found | None:
    """The run to go on from as it is asked for (refresh.warm_start); None if nobody asks.

    Raises:
        ConfigError: the named run does not exist.
    """
    if config.refresh.warm_start is None:
        return None
    before = named(config, output)
    if before is None:
        return Found(why_not=NOTHING_PUBLISHED)
    try:
        why = _unfit(before, config)
        return Found(why_not=why) if why else Found(before.run_id, _known_until(before))
    except (ConfigError, DamagedError) as error:
        return Found(why_not=f"run {before.run_id} cannot be used: {error}")


def choose(config: Config, run: Run, log: Log) -> int | None:
    """Finds the run to go on from and records it in run.json.

    Args:
        config: the section refresh is read.
        run: the present run.
        log: takes the reason if a new network must be trained.

    Returns:
        The last moment that its network has learned, seconds; None without such a run.

    Raises:
        ConfigError: the named run does not exist.
    """
    found = look_up(config, run.output)
    if found is None:
        return None
    if found.why_not:
        log(f"  a new network will be trained: {found.why_not}")
    facts = {"run_id": found.run_id, "since": found.since, "why_not": found.why_not or None}
    run.update({WARM_START: {"asked": config.refresh.warm_start, **facts}})
    return found.since


def named(config: Config, output: str) -> Run | None:
    """The run that refresh.warm_start means; None if it means none, or if it is `latest` and nothing is published.

    Raises:
        ConfigError: the named run does not exist.
    """
    asked = config.refresh.warm_start
    name = latest.published_run(output) if asked == LATEST else asked
    if name is None:
        return None
    if asked != LATEST and not exists(Run(output, name)):
        raise ConfigError(f"refresh.warm_start: there is no run {name} in {output}")
    return Run(output, name)


def base_of(run: Run) -> EarlierRun | None:
    """The earlier run that was chosen, if any, and if it is still there."""
    found = run.manifest().get(WARM_START) or {}
    name = found.get("run_id")
    before = None if name is None else Run(run.output, name)
    if before is None or _missing(before):
        return None
    return EarlierRun(before.run_id, before.path(schema.FEATURES_DIR), before.path(schema.MODEL_DIR), found["since"])


def lists_of(run: Run) -> str | None:
    """The folder with the lists of the run that was chosen; None if there are none."""
    name = (run.manifest().get(WARM_START) or {}).get("run_id")
    folder = None if name is None else Run(run.output, name).path(schema.RECOMMENDATIONS_DIR)
    return folder if folder is not None and storage.is_whole(folder) else None


def weights_of(config: Config, run: Run, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What training does (see warm_start.describe), with the runs that the weights then come from."""
    before = None if facts["from"] is None else Run(run.output, facts["from"])
    return {
        **facts,
        "ancestry": [] if before is None else [before.run_id, *ancestors(before)],
        "learned_forgotten": before is not None and knows_forgotten(before, config),
    }


def record(run: Run, facts: Mapping[str, Any]) -> None:
    """Adds to the record what training has done: see `weights_of`."""
    run.update({WARM_START: {**run.manifest()[WARM_START], **facts}})


def differs(config: Config, run: Run) -> str:
    """What the network of the chosen run was made for that is not asked now, in words; empty if nothing."""
    name = run.manifest()[WARM_START]["run_id"]
    return _differs(Run(run.output, name).config(), config, name)


@contextmanager
def held(run: Run) -> Iterator[None]:
    """Keeps the chosen run, if any is there, from being deleted in the block (publish.keep_runs).

    Raises:
        RetryError: it is being changed or deleted right now.
    """
    base = base_of(run)
    with storage.lock(Run(run.output, base.run_id).folder, shared=True) if base is not None else nullcontext():
        yield


def knows_forgotten(before: Run, config: Config) -> bool:
    """Whether the weights of a run come from events of users to forget, its own or those of the runs it has gone on from.

    A run that is not there any more may have had them.
    """
    from recsys.features.forgetting import Forgotten

    if config.source.forget is None:
        return False
    for run in (before, *(Run(before.output, name) for name in ancestors(before))):
        users = run.path(schema.FEATURES_DIR)
        if not storage.is_whole(users):
            return True
        ids = matching.read_ids(users, schema.USER_ID)
        if Forgotten.read(config.source.forget, ids.type).are(ids).any():
            return True
    return False


def ancestors(run: Run) -> list[str]:
    """The runs that the weights of a run come from, the newest first; none if its network was trained anew."""
    found: list[str] = (run.manifest().get(WARM_START) or {}).get("ancestry", [])
    return found


def _unfit(before: Run, config: Config) -> str:
    """Why a run cannot be gone on from, in words; empty if it can."""
    if not exists(before):
        return f"run {before.run_id}, which is published, is not there any more"
    if missing := _missing(before):
        return f"run {before.run_id} has not finished '{missing}'"
    times, most = len(ancestors(before)), config.refresh.full_every
    if most and times >= most:
        return f"the network of run {before.run_id} has been refreshed {times} times in a row (refresh.full_every)"
    if config.refresh.exact_forgetting and knows_forgotten(before, config):
        return f"the weights of run {before.run_id} come from events of users to forget (refresh.exact_forgetting)"
    return _differs(before.config(), config, before.run_id)


def _known_until(before: Run) -> int:
    """The last moment that a run has learned, seconds: of its last event, unless that lies in what was the future then."""
    created = datetime.fromisoformat(before.manifest()["created_at"]).timestamp()
    return min(read_info(before.path(schema.FEATURES_DIR)).latest_timestamp, int(created))


def _missing(before: Run) -> str:
    """The stage of a run whose files are needed and not there; empty if all are."""
    stages = {"features": schema.FEATURES_DIR, "train": schema.MODEL_DIR}
    return next((stage for stage, folder in stages.items() if not storage.is_whole(before.path(folder))), "")


def _differs(made: Config, asked: Config, name: str) -> str:
    """What the network of another run was made for that is not asked now, in words; empty if nothing."""
    if made.source.dataset != asked.source.dataset:
        return f"run {name} is of other data ({made.source.dataset})"
    for role in ("users", "items"):
        before, now = (_declared(getattr(config.source, role)) for config in (made, asked))
        if before != now:
            return f"the features of {role} are declared otherwise than in run {name}"
    return "" if made.model == asked.model else f"the settings of [model] are others than in run {name}"


def _declared(table: Table | None) -> Mapping[str, Feature]:
    return {} if table is None else table.features
