"""The run itself: what was run on what, training, the lists, what each stage took, and what is new since an earlier run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from recsys.contract import schema
from recsys.contract.features_info import FeaturesInfo
from recsys.measure import metrics
from recsys.report import cells, charts
from recsys.report.cells import Cell, Table
from recsys.report.figures import WIDE, Drawing
from recsys.report.gathering import Gathered
from recsys.report.list_profile import ListProfile

MOST_INPUTS: Final = 12
_FOLDERS: Final = {
    "features": schema.FEATURES_DIR,
    "train": schema.MODEL_DIR,
    "evaluate": schema.EVALUATION_DIR,
    "recommend": schema.RECOMMENDATIONS_DIR,
}
_NEWS: Final = {
    "events": "new events",
    "share": "new events, share of all",
    "new_items": "new events on items that were not known",
    "new_users": "users who had no event before",
    "shift": "shift of popularity (total variation, 0 to 1)",
}
"""What warm_start.news of run.json says, in words."""


def tables(found: Gathered) -> dict[str, Table]:
    """The tables by name, of what there is."""
    made = {
        "run": _run(found),
        "machine": _machine(found.manifest),
        "inputs": _inputs(found.manifest),
        "curves": _curves(found),
        "stages": _stages(found),
        "shift": _shift(found),
    }
    if found.lists is not None:
        made |= {"lists": _lists(found.lists), "most_shown": _most_shown(found, found.lists)}
    if (news := _freshness(found.manifest)) is not None:
        made["freshness"] = news
    return made


def drawings(found: Gathered) -> dict[str, Drawing]:
    """The charts by name, of what there is."""
    label = "Shares of the head, middle and tail of the catalogue"
    made = {"shift": charts.shares("shift", label, _tiers(found), list(metrics.TIERS)), "stages": _draw_stages(found)}
    if panels := _curve_panels(found):
        made["curves"] = charts.curves("curves", "Loss and validation NDCG@10 by epoch", panels)
    return made


def split(info: FeaturesInfo) -> str:
    """The split and the events of each part."""
    parts = f"{info.train_events:,} training, {info.valid_events:,} validation and {info.test_events:,} test events"
    return f"{info.split.method}: {parts}" if info.split.holds_out else "none: nothing is held out"


def _run(found: Gathered) -> Table:
    manifest, info = found.manifest, found.info
    training = manifest["stages"].get("train", {})
    hardware = training.get("hardware", {})
    network = f"{training['parameters']:,} parameters, {training['epochs']} epochs in all" if "parameters" in training else ""
    return _told(
        "What was run",
        {
            "run": manifest["run_id"],
            "begun": manifest["created_at"],
            "data": manifest["config"]["source"]["dataset"],
            "size": f"{info.users:,} users, {info.items:,} items, {info.events:,} events",
            "split": split(info),
            "seed": manifest["config"]["seed"],
            "network": network,
            "hardware": ", ".join((*hardware.get("names", ()), hardware.get("precision", ""))),
        },
    )


def _machine(manifest: Mapping[str, Any]) -> Table:
    host = manifest.get("host", {})
    return _told(
        "Machine and versions",
        {
            "machine": f"{host['cores']} cores, {host['platform']}, Python {host['python']}" if host else "",
            "image": manifest.get("image") or "",
            "revision": manifest.get("revision") or "",
            "versions": ", ".join(f"{name} {version}" for name, version in manifest.get("versions", {}).items()),
        },
    )


def _told(label: str, facts: Mapping[str, Any]) -> Table:
    """What is known of the facts."""
    return cells.pairs(label, {name: cells.words(text) for name, text in facts.items() if text not in ("", None)})


def _inputs(manifest: Mapping[str, Any]) -> Table:
    inputs = manifest.get("inputs", ())
    rows = [
        [
            cells.words(one["table"]),
            Cell(cells.words(one["path"]), "words"),
            cells.amount(one["bytes"]),
            (one.get("sha256") or "-")[:12],
        ]
        for one in inputs[:MOST_INPUTS]
    ]
    left = inputs[MOST_INPUTS:]
    if left:
        rows.append(
            ["", Cell(f"and {len(left):,} more files (run.json)", "words"), cells.amount(sum(one["bytes"] for one in left)), ""]
        )
    return cells.table("Files that were read", ("table", "file", "size", "SHA-256"), rows)


def _curves(found: Gathered) -> Table:
    rows = [
        [one["phase"], one["epoch"], one["loss"], one.get("ndcg@10") or "-", one.get("seconds") or "-"] for one in found.curves
    ]
    return cells.table("Epochs", ("phase", "epoch", "loss", "validation NDCG@10", "seconds"), rows)


def _curve_panels(found: Gathered) -> list[tuple[str, dict[str, list[tuple[float, float]]]]]:
    panels = []
    for title, column in (("Loss", "loss"), ("NDCG@10 on validation", "ndcg@10")):
        lines: dict[str, list[tuple[float, float]]] = {}
        for row in found.curves:
            if row.get(column):
                lines.setdefault(row["phase"], []).append((float(row["epoch"]), float(row[column])))
        scored = lines.get("fit", ()) if column == "ndcg@10" else ()
        best = f", highest in epoch {max(scored, key=lambda one: one[1])[0]:.0f}" if scored else ""
        if lines:
            panels.append((f"{title}{best}", lines))
    return panels


def _tiers(found: Gathered) -> dict[str, tuple[float, ...]]:
    """Shares of the head, middle and tail in what people had, in what they did next, and in what is recommended."""
    tier = metrics.tiers(found.events.train_counts)
    rows = {"items": _shares(tier, (tier >= 0).astype(np.int64)), "training events": _shares(tier, found.events.train_counts)}
    if found.methods:
        targets = found.methods[found.first]["item_popularity"]
        counts = np.array([targets.get(name, {"targets": 0})["targets"] for name in metrics.TIERS])
        rows["test events"] = tuple((counts / max(1, counts.sum())).tolist())
    if found.lists is not None:
        rows["recommendations"] = _shares(tier, found.lists.shown)
    return rows


def _shares(tier: Any, counts: Any) -> tuple[float, ...]:
    sums = np.bincount(tier[1:], weights=counts[1:], minlength=len(metrics.TIERS))
    return tuple((sums / max(1.0, sums.sum())).tolist())


def _shift(found: Gathered) -> Table:
    rows = [[name, *map(cells.share, parts)] for name, parts in _tiers(found).items()]
    return cells.table("Popularity", ("share of", *metrics.TIERS), rows)


def _lists(lists: ListProfile) -> Table:
    facts = {
        "users with a list": cells.count(lists.users),
        "rows": cells.count(lists.rows),
        "items that stand in a list": f"{lists.items:,} of {len(lists.shown) - 1:,} ({cells.share(lists.coverage)})",
        "different lists": cells.count(lists.different),
        "most users with the very same list": cells.share(lists.same_list),
    }
    return cells.pairs("The lists", facts)


def _most_shown(found: Gathered, lists: ListProfile) -> Table:
    rows = [[title, cells.count(number), cells.share(number / max(1, lists.users))] for title, number in found.most_shown]
    return cells.table("Items in the most lists", ("item", "lists", "share of the users"), rows)


def _in_order(found: Gathered) -> dict[str, Any]:
    """What run.json says of each stage that writes what is reported, in the order of the work: one may have been repeated."""
    return {name: found.manifest["stages"][name] for name in _FOLDERS if name in found.manifest["stages"]}


def _stages(found: Gathered) -> Table:
    rows = []
    for name, facts in _in_order(found).items():
        size = found.sizes.get(_FOLDERS[name])
        spark = facts.get("spark_peak_bytes", facts.get("workers_peak_bytes"))
        row = [name, f"{facts['seconds']:,.1f}", cells.amount(facts["peak_bytes"])]
        rows.append([*row, "-" if spark is None else cells.amount(spark), "-" if size is None else cells.amount(size)])
    return cells.table("Stages", ("stage", "seconds", "peak memory", "of its child processes", "storage"), rows)


def _draw_stages(found: Gathered) -> Drawing:
    stages = _in_order(found)
    memory = [max(one["peak_bytes"], one.get("spark_peak_bytes", 0)) / 2**30 for one in stages.values()]
    storage = [found.sizes.get(_FOLDERS[name], 0) / 2**20 for name in stages]
    panels = [
        ("Seconds", [one["seconds"] for one in stages.values()], ",.1f"),
        ("Peak memory of a process, GiB", memory, ".1f"),
        ("Storage, MiB", storage, ",.1f"),
    ]
    return charts.bars("stages", "Seconds, memory and storage of each stage", list(stages), panels, WIDE)


def _freshness(manifest: Mapping[str, Any]) -> Table | None:
    """What the run goes on from, what is new, and what has changed in the lists; None if it began with nothing."""
    warm, changes = manifest.get("warm_start"), manifest["stages"].get("recommend", {}).get("changes")
    if warm is None and changes is None:
        return None
    told: dict[str, str] = {}
    if warm is not None:
        told["asked to go on from"] = cells.words(warm["asked"])
        told["weights come from"] = cells.words(warm.get("from") or f"nothing earlier: {warm.get('why_not')}")
        if warm.get("ancestry"):
            told["refreshed in a row"] = f"{len(warm['ancestry'])} times"
        for key, value in (warm.get("news") or {}).items():
            told[_NEWS.get(key, key)] = _number(key, value)
    if changes is not None:
        told["users with a list in both runs"] = cells.count(changes["users"])
        told["items in both of a user's lists (Jaccard)"] = cells.share(changes["jaccard"])
        told["rows of items that were in no list before"] = cells.share(changes["new_items"])
        told["most users with the very same list"] = cells.share(changes["same_list"])
    return cells.pairs("Beside the earlier run", told)


def _number(key: str, value: Any) -> str:
    if not isinstance(value, int | float):
        return cells.words(value)
    return cells.share(value) if key in ("share", "new_items") else f"{value:,.4g}" if key == "shift" else cells.count(value)
