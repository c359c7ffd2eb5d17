"""Everything that the report shows, read from the run's folder; what is not there yet is left out."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np

from recsys import storage
from recsys.contract import item_names, model_files, schema
from recsys.contract.features_info import FeaturesInfo, read_info
from recsys.report import event_profile, examples, list_profile
from recsys.report.event_profile import EventProfile
from recsys.report.examples import Example
from recsys.report.list_profile import ListProfile

MOST_SHOWN: Final = 10
"""So many of the items that stand in the most lists are named."""


@dataclasses.dataclass(frozen=True)
class Gate:
    """What the quality gate says of the run.

    Attributes:
        status: whether the run is or was published, would be, or is refused.
        reasons: why it is refused.
    """

    status: Literal["published", "passes", "refused"]
    reasons: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Gathered:
    """What is known of a run.

    Attributes:
        manifest: run.json.
        info: features.json.
        gate: see Gate.
        metrics: metrics.json, see evaluation.summary; empty if the run is not evaluated, without "methods" if nothing was
            measured.
        curves: rows of history.csv, one for each epoch; a value that was not measured is "".
        sizes: bytes by folder or file directly in the run's folder.
        events: see EventProfile.
        lists: see ListProfile; None if there are no lists.
        most_shown: titles of the items in the most lists and the numbers of these lists, the most first.
        examples: ten users.
    """

    manifest: Mapping[str, Any]
    info: FeaturesInfo
    gate: Gate
    metrics: Mapping[str, Any]
    curves: Sequence[Mapping[str, str]]
    sizes: Mapping[str, int]
    events: EventProfile
    lists: ListProfile | None
    most_shown: Sequence[tuple[str, int]]
    examples: Sequence[Example]

    @property
    def methods(self) -> Mapping[str, Any]:
        """The measured methods by name, the published one first; empty if nothing was measured."""
        found: Mapping[str, Any] = self.metrics.get("methods", {})
        return found

    @property
    def first(self) -> str:
        """Name of the method that recommends; empty if nothing was measured."""
        return next(iter(self.methods), "")

    @property
    def best_baseline(self) -> str:
        """The traditional method with the highest NDCG@10; empty if none was measured."""
        tuned = [name for name, method in self.methods.items() if "trials" in method]
        return max(tuned, key=lambda name: self.methods[name]["metrics"]["ndcg@10"], default="")


def gather(folder: str, manifest: Mapping[str, Any], gate: Gate, seed: int) -> Gathered:
    """Reads what a run has; of the events and lists only counts are kept, so that memory does not grow with them.

    Args:
        folder: of the run; features and model are finished.
        manifest: run.json.
        gate: what the quality gate says.
        seed: draws the example users.

    Raises:
        DamagedError: a file is missing, or not what was written.
    """
    features, evaluation = storage.join(folder, schema.FEATURES_DIR), storage.join(folder, schema.EVALUATION_DIR)
    recommendations = storage.join(folder, schema.RECOMMENDATIONS_DIR)
    info = read_info(features)
    events = event_profile.profile(features, info)
    there = storage.is_whole(recommendations)
    lists = list_profile.profile(features, recommendations) if there else None
    chosen = examples.choose(events.lengths, seed)
    measured = storage.is_whole(evaluation)
    return Gathered(
        manifest=manifest,
        info=info,
        gate=gate,
        metrics=storage.read_record(storage.join(evaluation, schema.METRICS_FILE), _metrics) if measured else {},
        curves=_curves(storage.join(folder, schema.MODEL_DIR, model_files.HISTORY)),
        sizes=_sizes(folder),
        events=events,
        lists=lists,
        most_shown=[] if lists is None else _most_shown(features, lists),
        examples=examples.read(features, recommendations if there else None, chosen),
    )


def _metrics(found: dict[str, Any]) -> dict[str, Any]:
    """metrics.json as it is.

    Raises:
        KeyError: it is of an earlier version, which did not divide users and items, or did not judge the groups.
    """
    for method in found.get("methods", {}).values():
        for name in ("user_groups", "item_popularity"):
            if name not in method:
                raise KeyError(name)
    for method in list(found.get("methods", {}).values())[:1]:
        for one in itertools.chain(*method["user_groups"].values()):
            if one["beside_others"] is not None and "significant" not in one["beside_others"]["ndcg@10"]:
                raise KeyError("significant")
    return found


def _most_shown(features: str, lists: ListProfile) -> list[tuple[str, int]]:
    most = [int(item) for item in np.argsort(-lists.shown, kind="stable")[:MOST_SHOWN] if lists.shown[item]]
    names = item_names.by_index(features, most)
    return [(examples.name(names[item]), int(lists.shown[item])) for item in most]


def _curves(uri: str) -> list[dict[str, str]]:
    with storage.undamaged(uri), storage.open_input(uri) as stream:
        return list(csv.DictReader(io.StringIO(stream.read().decode())))


def _sizes(folder: str) -> dict[str, int]:
    """Without the report itself and locks."""
    found: dict[str, int] = {}
    for path, size in storage.file_sizes(folder).items():
        top = path.split("/")[0]
        if top != schema.REPORT_DIR and not top.startswith("."):
            found[top] = found.get(top, 0) + size
    return found
