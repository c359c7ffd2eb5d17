"""What the machine has and what recsys would use of it: the report of `recsys doctor`."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

from recsys import settings, storage
from recsys.config import Config, Training
from recsys.errors import MissingComponentError, RecsysError
from recsys.run import local_workers, runs
from recsys.sources import movielens
from recsys.spark import child, java, memory, session

GIB = 1 << 30


def examine(output: str, config: Config) -> dict[str, Any]:
    """Checks every component that a run needs.

    Returns:
        For each component a dict with `ok` and what was found: versions, java, spark, tensorflow, memory, folders.
    """
    return {
        "versions": {"ok": True, "python": sys.version.split()[0], **runs.versions()},
        "java": _java(),
        "spark": _spark(config),
        "tensorflow": _tensorflow(config.training),
        "memory": _memory(config),
        "folders": _folders(output, config),
    }


def format_report(report: dict[str, Any]) -> str:
    """The report as text, a paragraph for each component."""
    lines = []
    for part, facts in report.items():
        lines.append(f"{'ok     ' if facts['ok'] else 'MISSING'}  {part}")
        lines += [f"           {name}: {value}" for name, value in facts.items() if name != "ok"]
    return "\n".join(lines)


def raise_if_unfit(report: dict[str, Any]) -> None:
    """Raises MissingComponentError if a component is missing."""
    missing = [part for part, facts in report.items() if not facts["ok"]]
    if missing:
        raise MissingComponentError(f"not fit to run: {', '.join(missing)}; see the report above")


def _java() -> dict[str, Any]:
    try:
        found = java.find()
    except RecsysError as error:
        return {"ok": False, "problem": str(error)}
    return {"ok": True, "will use": f"Java {found.version} from {found.origin}", "home": found.home}


def _spark(config: Config) -> dict[str, Any]:
    version = runs.versions().get("pyspark")
    heap = memory.heap(config.spark.memory, memory.limit())
    problems = session.obstacles(tempfile.gettempdir())
    return {
        "ok": version is not None and not problems,
        "version": version,
        "master": config.spark.master,
        "driver heap": f"{heap / GIB:.1f} GiB",
        **({"problem": "; ".join(problems)} if problems else {}),
    }


def _tensorflow(training: Training) -> dict[str, Any]:
    try:
        chosen = child.call("recsys.training.hardware:probe", settings.to_dict(training), lambda line: None).result
    except RecsysError as error:
        return {"ok": False, "problem": str(error)}
    return {
        "ok": True,
        "device": f"{chosen['device']}: {', '.join(chosen['names'])}",
        "precision": f"{chosen['precision']} ({chosen['reason']})",
        "xla": "on" if chosen["xla"] else "off",
        "deterministic": "yes" if chosen["deterministic"] else "no",
        **({"GPUs": _together(chosen["cards"])} if chosen["cards"] else {}),
        **({"free memory": f"{chosen['memory'] / GIB:.1f} GiB"} if chosen["memory"] else {}),
        **({"warning": chosen["warning"]} if chosen["warning"] else {}),
    }


def _together(cards: list[str]) -> str:
    """Which GPUs training uses."""
    if len(cards) < 2:
        return cards[0]
    least = f"{local_workers.LEAST_POSITIONS:,}"
    return f"{', '.join(cards)}; training starts a process for each if a step has {least} positions for it"


def _memory(config: Config) -> dict[str, Any]:
    limit = memory.limit()
    heap = memory.heap(config.spark.memory, limit)
    return {
        "ok": limit >= 2 * GIB,
        "limit of this container": f"{limit / GIB:.1f} GiB",
        "of which Spark's heap": f"{heap / GIB:.1f} GiB",
    }


def _folders(output: str, config: Config) -> dict[str, Any]:
    places = {"output": output, "cache": os.path.dirname(movielens.zip_path("ml-1m", config)), "scratch": tempfile.gettempdir()}
    facts: dict[str, Any] = {"ok": True}
    for name, place in places.items():
        writable = _writable(place)
        facts[name] = f"{place} ({'writable' if writable else 'NOT writable'})"
        facts["ok"] &= writable
    return facts


def _writable(place: str) -> bool:
    if not storage.is_local(place):
        probe = storage.join(place, f".doctor-{os.getpid()}")
        storage.write_json(probe, {})
        storage.delete_file(probe)
        return True
    folder = os.path.abspath(place)
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)
