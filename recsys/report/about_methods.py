"""What was measured, as tables and charts: all methods, their differences, and who is served how well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from recsys.measure.intervals import NORMAL_95
from recsys.report import cells, charts
from recsys.report.cells import Cell, Table
from recsys.report.charts import Panel, Points
from recsys.report.figures import HALF, Drawing
from recsys.report.gathering import Gathered

PER_USER: Final = ("precision", "recall", "f1", "ndcg", "hit_rate", "map", "mrr")
OF_LISTS: Final = ("coverage", "novelty", "popularity_share")
DRAWN: Final = {"ndcg@10": "NDCG@10", "recall@10": "Recall@10", "f1@10": "F1@10"}
_LISTED: Final = {"coverage@10": "coverage@10", "novelty@10": "novelty@10, bits", "popularity_share@10": "popularity share@10"}


def tables(found: Gathered) -> dict[str, Table]:
    """The tables by name, of what there is."""
    if not found.methods:
        return {}
    made = {f"methods_{k}": _methods(found, k) for k in found.metrics["protocol"]["ks"]}
    made |= {"comparison": _comparison(found), "tuning": _tuning(found), "slices": _slices(found)}
    made |= {"popularity": _popularity(found)}
    made |= {f"group_{place}": _group(found, name) for place, name in enumerate(features(found))}
    return made


def drawings(found: Gathered) -> dict[str, Drawing]:
    """The charts by name, of what there is."""
    if not found.methods:
        return {}
    made = {"methods": _draw_methods(found), "spread": _draw_spread(found), "slices": _draw_slices(found)}
    if found.metrics["comparison"]["minus"]:
        made["comparison"] = _draw_comparison(found)
    made["popularity"] = _draw_popularity(found)
    made |= {f"group_{place}": _draw_group(found, name, place) for place, name in enumerate(features(found))}
    return made


def features(found: Gathered) -> list[str]:
    """The features of users by which they are divided."""
    return list(found.methods[found.first]["user_groups"]) if found.methods else []


def shown(found: Gathered) -> list[str]:
    """The method that recommends and the best traditional one, if there is one."""
    return [name for name in (found.first, found.best_baseline) if name]


def group_name(one: Mapping[str, Any]) -> str:
    """A group of users in words."""
    if one["joined"]:
        return f"other groups ({one['joined']})"
    return "not known" if one["value"] is None else cells.words(one["value"])


def _methods(found: Gathered, k: int) -> Table:
    names = [f"{name}@{k}" for name in (*PER_USER, *OF_LISTS)]
    best = {name: max(round(one["metrics"][name], 4) for one in found.methods.values()) for name in names[:-1]}
    rows: list[list[Cell | str]] = []
    for method, one in found.methods.items():
        row: list[Cell | str] = [cells.words(method)]
        for name in names:
            value, error = one["metrics"][name], one["std_errors"].get(name)
            text = cells.metric(value) if error is None else cells.with_reach(value, error)
            row.append(Cell(text, "best" if round(value, 4) == best.get(name) else ""))
        rows.append(row)
    return cells.table(f"All methods, lists of {k}", ("method", *names), rows)


def _comparison(found: Gathered) -> Table:
    minus = found.metrics["comparison"]["minus"]
    rows: list[list[Cell | str]] = [
        [cells.words(name), *(cells.difference(one[metric]) for metric in DRAWN)] for name, one in minus.items()
    ]
    return cells.table(f"{cells.words(found.first)} minus each other method", ("minus", *DRAWN.values()), rows)


def _tuning(found: Gathered) -> Table:
    rows: list[list[Cell | str]] = []
    for name, one in found.methods.items():
        chosen = ", ".join(f"{key} {value:g}" for key, value in one.get("parameters", {}).items())
        seconds = ", ".join(f"{key} {value:.1f}" for key, value in one["seconds"].items())
        tried = str(len(one.get("trials", ()))) if one.get("trials") else "none"
        rows.append([cells.words(name), Cell(chosen or "none", "words"), tried, Cell(seconds, "words")])
    return cells.table("How each method was tuned", ("method", "chosen on validation", "points tried", "seconds"), rows)


def _slices(found: Gathered) -> Table:
    rows = []
    for name, groups in _cold(found).items():
        users = next(iter(groups.values()))["users"]
        means = (cells.with_reach(one["ndcg@10"], one["std_errors"]["ndcg@10"]) for one in groups.values())
        rows.append([name, cells.count(users), *means])
    return cells.table("NDCG@10 by history", ("users with", "users", *map(cells.words, found.methods)), rows)


def _popularity(found: Gathered) -> Table:
    rows = []
    for name, groups in _tiers(found).items():
        one = next(iter(groups.values()))
        means = (cells.with_reach(each["recall@10"], each["std_errors"]["recall@10"]) for each in groups.values())
        rows.append([name, cells.count(one["targets"]), cells.count(one["users"]), *means])
    head = ("test events on", "test events", "users", *map(cells.words, found.methods))
    return cells.table("Recall@10 by popularity of the item", head, rows)


def _group(found: Gathered, feature: str) -> Table:
    others = found.methods[found.best_baseline]["user_groups"][feature] if found.best_baseline else None
    rows: list[list[Cell | str]] = []
    for place, one in enumerate(found.methods[found.first]["user_groups"][feature]):
        beside = one["beside_others"]
        row: list[Cell | str] = [group_name(one), cells.count(one["users"])]
        row += [cells.with_reach(one[metric], one["std_errors"][metric]) for metric in ("ndcg@10", "recall@10")]
        row.append("-" if beside is None else cells.difference(beside["ndcg@10"]))
        if others is not None:
            row.append(cells.metric(others[place]["ndcg@10"]))
        rows.append(row)
    head = [cells.words(feature), "users", "NDCG@10", "Recall@10", "NDCG@10 minus that of all others"]
    if others is not None:
        head.append(f"{cells.words(found.best_baseline)} NDCG@10")
    return cells.table(f"Users by {cells.words(feature)}", head, rows)


def _draw_methods(found: Gathered) -> Drawing:
    panels = []
    for metric, title in DRAWN.items():
        values = [one["metrics"][metric] for one in found.methods.values()]
        errors = [one["std_errors"][metric] for one in found.methods.values()]
        panels.append(Panel(title, [_points("", values, errors)], None, [name == found.first for name in found.methods]))
    label = f"{', '.join(DRAWN.values())} of each method with 95 % intervals; {cells.words(found.first)} recommends"
    return charts.points("methods", label, list(map(cells.words, found.methods)), panels)


def _draw_comparison(found: Gathered) -> Drawing:
    minus = found.metrics["comparison"]["minus"]
    panels = []
    for metric, title in DRAWN.items():
        each = [one[metric] for one in minus.values()]
        series = Points("", *([one[key] for one in each] for key in ("difference", "low", "high")))
        panels.append(Panel(title, [series], 0.0, [one["significant"] for one in each]))
    label = f"{cells.words(found.first)} minus each other method with 95 % intervals; filled if significant"
    return charts.points("comparison", label, list(map(cells.words, minus)), panels)


def _draw_spread(found: Gathered) -> Drawing:
    panels = []
    for metric, title in _LISTED.items():
        values = [one["metrics"][metric] for one in found.methods.values()]
        panels.append(Panel(title, [_points("", values, [0.0] * len(values))], None, [n == found.first for n in found.methods]))
    label = "Coverage, novelty and share of popular items of each method's lists"
    return charts.points("spread", label, list(map(cells.words, found.methods)), panels)


def _draw_slices(found: Gathered) -> Drawing:
    groups = _cold(found)
    rows = [f"{name} ({next(iter(each.values()))['users']:,})" for name, each in groups.items()]
    panel = Panel("NDCG@10 by history (users)", [_series(found, name, groups, "ndcg@10") for name in shown(found)])
    return charts.points("slices", "NDCG@10 by the number of events before the cut, with 95 % intervals", rows, [panel], HALF)


def _draw_popularity(found: Gathered) -> Drawing:
    groups = _tiers(found)
    rows = [f"{name} ({next(iter(each.values()))['targets']:,})" for name, each in groups.items()]
    panel = Panel("Recall@10 by the item (test events)", [_series(found, name, groups, "recall@10") for name in shown(found)])
    label = "Recall@10 by the popularity of the item to find, with 95 % intervals"
    return charts.points("popularity", label, rows, [panel], HALF)


def _draw_group(found: Gathered, feature: str, place: int) -> Drawing:
    rows, series = [], []
    for name in shown(found):
        each = found.methods[name]["user_groups"][feature]
        rows = [f"{group_name(one)} ({one['users']:,})" for one in each]
        errors = [one["std_errors"]["ndcg@10"] for one in each]
        series.append(_points(cells.words(name), [one["ndcg@10"] for one in each], errors))
    line = found.methods[found.first]["metrics"]["ndcg@10"]
    label = f"NDCG@10 by {cells.words(feature)} with 95 % intervals; the dashed line is the mean of all users"
    title = f"NDCG@10 by {cells.words(feature)} (users)"
    return charts.points(f"group-{place}", label, rows, [Panel(title, series, line)], HALF)


def _cold(found: Gathered) -> dict[str, dict[str, Any]]:
    """By number of events before the cut, and the users without training events: what each method reaches."""
    first = found.methods[found.first]
    groups = {f"{name} events": {key: one["slices"][name] for key, one in found.methods.items()} for name in first["slices"]}
    if first["new_users"] is not None:
        groups["no training event"] = {key: one["new_users"] for key, one in found.methods.items()}
    return groups


def _tiers(found: Gathered) -> dict[str, dict[str, Any]]:
    """By popularity of the item, and the items that nobody had in training: what each method finds."""
    first = found.methods[found.first]
    groups = {
        f"{name} items": {key: one["item_popularity"][name] for key, one in found.methods.items()}
        for name in first["item_popularity"]
    }
    if first["new_items"] is not None:
        groups["new items"] = {key: one["new_items"] for key, one in found.methods.items()}
    return groups


def _series(found: Gathered, name: str, groups: Mapping[str, Mapping[str, Any]], metric: str) -> Points:
    each = [group[name] for group in groups.values()]
    return _points(cells.words(name), [one[metric] for one in each], [one["std_errors"][metric] for one in each])


def _points(name: str, values: Sequence[float], errors: Sequence[float]) -> Points:
    reach = [NORMAL_95 * error for error in errors]
    pairs = list(zip(values, reach, strict=True))
    return Points(name, values, [value - up for value, up in pairs], [value + up for value, up in pairs])
