"""What a run would do, told without doing any of it: `recsys run --dry-run`. Nothing is written or downloaded."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from recsys import settings, storage
from recsys.config import Config
from recsys.contract import schema
from recsys.contract.model_files import CHECKPOINTS
from recsys.progress import Log, Progress
from recsys.run import earlier, gate, job, latest, runs, taking_over
from recsys.run.runs import FOLDERS, WARM_START, Run
from recsys.sources.preview import preview
from recsys.spark import child, java, memory
from recsys.text_table import table

_SHOWN_FILES: Final = 5
_GIB: Final = 1 << 30
_SHORT: Final = {"report", "publish"}
"""Stages of about a second."""


def describe(asked: Config, run_id: str | None, progress: Progress, warn: Log, width: int) -> str:
    """What `recsys run` would do, in lines of that width.

    Args:
        asked: the configuration.
        run_id: name of the run, or None.
        progress: told what is being looked at.
        warn: receives which runs were passed over because their run.json is damaged.
        width: columns.

    Raises:
        RecsysError: whatever would end the run before it begins.
    """
    job.worker_of(job.STAGES)
    run = runs.to_resume(asked, run_id, warn)
    if run is None and run_id is not None:
        runs.check_name(run_id)
    _check_writable(asked.output)
    left = [stage for stage in job.STAGES if run is None or not job.is_done(run, stage)]
    if run is not None:
        for stage in left:
            if stage != "publish":
                job.check_changeable(run, stage)
    reads, spark = _reads(asked) if "features" in left else (["the run's folder"], False)
    rows = [("reads", line) for line in reads]
    rows.append(("run", f"goes on with {run.run_id}" if run is not None else f"a new one, {run_id or 'named by its time'}"))
    rows += [("stages", f"{stage}: {_state(run, stage, stage in left)}") for stage in job.STAGES]
    rows += _means(asked, run, left, spark, progress)
    rows += [("writes", line) for line in _writes(asked, run, left)]
    rows.append(("takes", _seconds(asked, left, warn) if left else "no time: everything is done"))
    cells = [(name if not number or rows[number - 1][0] != name else "", told) for number, (name, told) in enumerate(rows)]
    lines = [line for row in table(cells, "lw", width) for line in row]
    return "\n".join(["This is what would be done; nothing is written or downloaded.", "", *lines])


def _reads(asked: Config) -> tuple[list[str], bool]:
    """What is read, and whether Spark does it."""
    from recsys.features.earlier_features import fits

    before = taking_over.candidate(asked, asked.output)
    found, spark = preview(asked, taking_over.inputs(before)), True
    lines = [found.told] if found.told else []
    if found.opened is not None and (base := taking_over.choose(asked, before, found.opened)) is not None:
        lines.append(taking_over.in_words(base, before, found.opened))
        spark = isinstance(base, str) or not fits(base, found.opened)
    by_table: dict[str, list[Mapping[str, Any]]] = {}
    for entry in found.inputs:
        by_table.setdefault(entry["table"], []).append(entry)
    for name, files in by_table.items():
        paths = ", ".join(file["path"] for file in files[:_SHOWN_FILES])
        more = f" and {len(files) - _SHOWN_FILES:,} more files" if len(files) > _SHOWN_FILES else ""
        lines.append(f"{name}: {sum(file['bytes'] for file in files):,} bytes, {paths}{more}")
    return lines, spark


def _state(run: Run | None, stage: str, left: bool) -> str:
    if not left:
        return "done already"
    if run is not None and stage == "train" and storage.exists(run.path(schema.MODEL_DIR, CHECKPOINTS)):
        return "was begun, goes on from a checkpoint"
    if run is not None and stage in FOLDERS and storage.exists(run.path(FOLDERS[stage])):
        return "was begun, begins anew"
    return "to do"


def _means(asked: Config, run: Run | None, left: list[str], spark: bool, progress: Progress) -> list[tuple[str, str]]:
    """What the work is done with: Spark, the device, the network, the methods."""
    rows = []
    if spark:
        found, heap = java.find(), memory.heap(asked.spark.memory, memory.limit())
        rows.append(("Spark", f"{asked.spark.master}, Java {found.version}, heap {heap / _GIB:.1f} GiB"))
    if "train" in left:
        progress("looking for devices")
        device = _probe(asked, progress)
        rows.append(("device", f"{device['device']}: {', '.join(device['names'])}; {device['precision']}"))
        rows.append(("network", _network(asked, run)))
    if "evaluate" in left:
        beside = ", ".join(("cnn", *asked.evaluation.baselines))
        rows.append(("measures", f"blend, beside {beside}" if asked.split.method != "none" else "nothing: nothing is held out"))
    return rows


def _probe(asked: Config, progress: Progress) -> dict[str, Any]:
    """The device, see hardware.probe. What Keras and Matplotlib write into the home when first imported goes elsewhere."""
    with storage.scratch("home") as home:
        homes = {"KERAS_HOME": home, "MPLCONFIGDIR": home}
        found: dict[str, Any] = child.call(
            "recsys.training.hardware:probe", settings.to_dict(asked.training), progress, homes
        ).result
        return found


def _network(asked: Config, run: Run | None) -> str:
    known = None if run is None else run.manifest().get(WARM_START)
    found = earlier.look_up(asked, asked.output) if known is None else earlier.Found(*_known(known))
    if found is None:
        return "a new one"
    if found.run_id is None or found.since is None:
        return f"a new one: {found.why_not}"
    moment = datetime.fromtimestamp(found.since, UTC)
    return (
        f"that of run {found.run_id} goes on with the events after {moment:%Y-%m-%d %H:%M:%S} UTC, or a new one if too much or "
        "too little of them is new"
    )


def _known(record: Mapping[str, Any]) -> tuple[str | None, int | None, str]:
    return record.get("run_id"), record.get("since"), record.get("why_not") or ""


def _writes(asked: Config, run: Run | None, left: list[str]) -> list[str]:
    folder = storage.join(asked.output, runs.RUNS_DIR, "…") if run is None else run.folder
    names = [FOLDERS[stage] for stage in left if stage in FOLDERS]
    files = [*(f"{name}/" for name in names), schema.RUN_FILE, schema.LINEAGE_FILE]
    lines = [f"{folder}: {', '.join(files)}"] if left else ["nothing"]
    if "recommend" in left:
        lines.append(f"lists of {asked.recommend.k} items for every user")
    if "publish" in left:
        before = latest.read(asked.output)
        present = f", now run {before['run_id']}" if "run_id" in before else ""
        lines.append(f"{latest.path(asked.output)}{present}, if the run passes the gate: {_gate(asked, before)}")
        if asked.publish.keep_runs:
            lines.append(f"old runs beyond {asked.publish.keep_runs} are deleted (publish.keep_runs)")
    return lines


def _gate(asked: Config, before: Mapping[str, Any]) -> str:
    if asked.split.method == "none":
        return "it is complete; nothing is measured"
    wanted = [f"{gate.GATE_METRIC} at least {asked.publish.min_ndcg:g}"]
    wanted += [f"no less than {name}" for name in asked.publish.must_beat]
    known = before.get(gate.GATE_METRIC)
    if known is not None:
        wanted.append(
            f"at most {asked.publish.max_drop:.0%} below the published run's {known:.4f}, where the two can be compared"
        )
    return "; ".join(wanted)


def _seconds(asked: Config, left: list[str], warn: Log) -> str:
    """How long the same stages took the last time in this output; nothing else would be an honest guess."""
    before = [
        (_other_settings(asked, manifest["config"]), run.run_id, manifest["stages"])
        for run, manifest in runs.newest_first(asked.output, warn)
        if _timed(manifest["stages"], left) and _same_data(asked, manifest["config"])
    ]
    if not before:
        return "not known: no run in this output has done the same with the same data"
    others, run_id, facts = next((one for one in before if not one[0]), before[0])
    seconds = {stage: facts[stage]["seconds"] for stage in left if "seconds" in facts.get(stage, {})}
    each = ", ".join(f"{stage} {took:,.0f}" for stage, took in seconds.items())
    other = f"with other settings: {', '.join(others)}" if others else "with the same settings"
    return f"run {run_id} took {sum(seconds.values()):,.0f} seconds ({each}), {other}"


def _timed(facts: Mapping[str, Mapping[str, Any]], left: list[str]) -> bool:
    """Whether it is known how long the stages took; short ones may be missing, as in a run that was refused."""
    known = [stage for stage in left if "seconds" in facts.get(stage, {})]
    return bool(known) and {*left} - {*known} <= _SHORT


def _same_data(asked: Config, config: Mapping[str, Any]) -> bool:
    """Whether a run has read the same source, though the files may have grown since."""
    mine = settings.to_record(asked)["source"]
    names = ("dataset", "interactions") if asked.source.dataset == "tabular" else ("dataset", "synthetic")
    return _as_json({name: mine[name] for name in names}) == {name: config["source"].get(name) for name in names}


def _other_settings(asked: Config, config: Mapping[str, Any]) -> list[str]:
    mine, other = (settings.leaves(tree) for tree in (_as_json(settings.to_record(asked)), config))
    return [".".join(place) for place in mine if place[0] not in ("output", "source") and mine[place] != other.get(place)]


def _as_json(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as run.json has it, with lists for tuples."""
    found: dict[str, Any] = json.loads(json.dumps(tree))
    return found


def _check_writable(output: str) -> None:
    """Refuses a folder on a disk that could not be created.

    Raises:
        ConfigError: this user may not write there, or a file is in the way.
    """
    if not storage.is_local(output):
        return
    folder = os.path.abspath(storage.resolve(output)[1])
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        reason = errno.ENOTDIR
    elif not os.access(folder, os.W_OK | os.X_OK):
        reason = errno.EACCES
    else:
        return
    raise storage.of_disk(OSError(reason, folder), f"folder {output} cannot be created", folder)
