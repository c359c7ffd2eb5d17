"""The first words of the report: what recommends, how far ahead it is, and what to beware of."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

from recsys.measure.intervals import LEAST_USERS
from recsys.measure.metrics import COLLAPSED
from recsys.report import about_methods, cells
from recsys.report.gathering import Gathered

FEW_USERS: Final = 100
"""Fewer test users than that are worth a warning."""
METRICS: Final = about_methods.DRAWN


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What to say first.

    Attributes:
        headline: one sentence.
        sentences: how good the method is that recommends, beside which other one.
        beside: how far it is from that one, by metric.
        worse: groups of users who are served clearly worse than all others, in words.
        compared: how many groups were looked at.
        warnings: what to beware of.
    """

    headline: str
    sentences: Sequence[str]
    beside: Sequence[str]
    worse: Sequence[str]
    compared: int
    warnings: Sequence[str]


def judge(found: Gathered) -> Verdict:
    """The verdict on what was gathered."""
    worse, compared = _worse(found)
    return Verdict(_headline(found), _sentences(found), _beside(found), worse, compared, _warnings(found))


def _headline(found: Gathered) -> str:
    what = cells.words(found.first) if found.first else "This run"
    if found.gate.status == "published":
        return f"{what} is published."
    if found.gate.status == "refused":
        return f"{what} would not be published: the quality gate refuses it."
    if found.methods:
        return f"{what} passes the quality gate and would be published."
    return f"{what} passes the quality gate, which asks for no measurement here, and would be published."


def _sentences(found: Gathered) -> list[str]:
    if not found.metrics:
        return ["The run was not evaluated, so nothing is known of its quality."]
    if not found.methods:
        note = str(found.metrics["note"])
        return [f"{note[:1].upper()}{note[1:]}."]
    first, protocol = found.methods[found.first], found.metrics["protocol"]
    reached = cells.with_reach(first["metrics"]["ndcg@10"], first["std_errors"]["ndcg@10"])
    said = [
        f"On {protocol['targets']:,} {protocol['part']} events of {protocol['users']:,} users (split {protocol['split']}) it "
        f"reaches NDCG@10 {reached}."
    ]
    best = found.best_baseline
    if not best:
        return [*said, "No traditional method was measured beside it."]
    known = cells.metric(found.methods[best]["metrics"]["ndcg@10"])
    return [*said, f"Of the traditional methods, {cells.words(best)} has the highest NDCG@10, {known}. Differences from it:"]


def _beside(found: Gathered) -> list[str]:
    if not found.best_baseline:
        return []
    minus, users = found.metrics["comparison"]["minus"][found.best_baseline], found.metrics["protocol"]["users"]
    return [f"{title}: {_judged(minus[metric], users)}" for metric, title in METRICS.items()]


def _judged(one: Mapping[str, Any], users: int) -> str:
    if users < LEAST_USERS:
        judged = "too few users to tell"
    elif not one["significant"]:
        judged = "no difference beyond chance"
    else:
        judged = "ahead" if one["difference"] > 0 else "behind"
    return f"{one['difference']:+.4f}, 95 % interval {one['low']:+.4f} to {one['high']:+.4f}: {judged}."


def _worse(found: Gathered) -> tuple[list[str], int]:
    """Groups of users whose NDCG@10 is below that of all others by more than chance, and how many could have been."""
    worse, compared = [], 0
    for feature in about_methods.features(found):
        for one in found.methods[found.first]["user_groups"][feature]:
            beside = one["beside_others"]
            if one["joined"] or beside is None:
                continue
            compared += 1
            if beside["ndcg@10"]["significant"] and beside["ndcg@10"]["difference"] < 0:
                told = cells.difference(beside["ndcg@10"]).text
                worse.append(f"{cells.words(feature)} {about_methods.group_name(one)} ({one['users']:,} users): {told}")
    return worse, compared


def _warnings(found: Gathered) -> list[str]:
    said = [f"The quality gate: {cells.words(reason)}" for reason in found.gate.reasons]
    said += [cells.words(warning) for warning in found.manifest.get("warnings", ())]
    if hardware := found.manifest["stages"].get("train", {}).get("hardware", {}).get("warning"):
        said.append(cells.words(hardware))
    if found.methods and found.metrics["protocol"]["users"] < FEW_USERS:
        said.append(_few(found.metrics["protocol"]["users"]))
    if found.lists is None:
        said.append("There are no recommendations yet.")
    elif found.lists.same_list >= COLLAPSED and found.lists.users > 1:
        said.append(f"Lists have collapsed: {found.lists.same_list:.0%} of the users have the very same list.")
    if (found.manifest.get("warm_start") or {}).get("learned_forgotten"):
        said.append("The weights come from events of users who are to be forgotten.")
    return said


def _few(users: int) -> str:
    told = "1 user was" if users == 1 else f"{users:,} users were"
    so = "too few to tell one method from another" if users < LEAST_USERS else "the intervals are wide"
    return f"Only {told} measured: {so}."
