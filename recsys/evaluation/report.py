"""evaluation/report.html: a self-contained page made from the content of metrics.json."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from string import Template
from typing import Any, Final

METRICS: Final = (
    *("precision@10", "recall@10", "f1@10", "ndcg@10", "hit_rate@10", "map@10", "mrr@10"),
    *("coverage@10", "novelty@10", "popularity_share@10"),
)
CHARTED: Final = "ndcg@10"
SLICED: Final = "ndcg@10"

_PAGE: Final = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>recsys: evaluation</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1c2733; }
h1, h2 { font-weight: 600; line-height: 1.2; }
h2 { margin-top: 2.2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #d8dee6; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
td.words { text-align: left; white-space: normal; }
.best { font-weight: 700; color: #0b6e4f; }
.ahead { color: #0b6e4f; } .behind { color: #a4262c; }
.note { color: #51606f; max-width: 50rem; }
</style>
</head>
<body>
<h1>Evaluation</h1>
<p>$summary</p>
<p class="note">$protocol</p>
<h2>NDCG@10</h2>
$chart
<p class="note">Bars are means over users; error bars are two standard errors.</p>
<h2>All methods, lists of 10</h2>
$methods
<p class="note">The highest value in each column except popularity share is bold.</p>
<h2>$first minus each other method</h2>
$comparison
<p class="note">Mean difference over the same users with its $level % interval from $resamples paired bootstrap resamples;
coloured if the interval excludes zero.</p>
<h2>NDCG@10 by the number of events before the cut</h2>
$slices
$new_users
$new_items
<h2>How each method was tuned</h2>
$parameters
</body>
</html>
""")


def render(metrics: Mapping[str, Any]) -> str:
    """The page as text.

    Args:
        metrics: content of metrics.json, with at least one method.
    """
    protocol, methods, comparison = metrics["protocol"], metrics["methods"], metrics["comparison"]
    return _PAGE.substitute(
        summary=html.escape(
            f"{protocol['targets']:,} {protocol['part']} events of {protocol['users']:,} users, "
            f"{protocol['items']:,} items, split {protocol['split']}, seed {protocol['seed']}."
        ),
        protocol=html.escape(
            f"Held out {protocol['held_out']}. Candidates: {protocol['candidates']}. Fitted on {protocol['fitted_on']}. "
            f"Means: {protocol['means']}."
        ),
        chart=_chart(methods),
        methods=_methods(methods),
        first=html.escape(comparison["method"]),
        comparison=_comparison(comparison),
        level=f"{100 * comparison['level']:g}",
        resamples=f"{comparison['resamples']:,}",
        slices=_slices(methods),
        new_users=_new_users(methods),
        new_items=_new_items(methods),
        parameters=_parameters(methods),
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are already HTML, either `<td>` elements or text."""
    lines = ["<tr>" + "".join(f"<th>{html.escape(title)}</th>" for title in head) + "</tr>"]
    for row in rows:
        cells = "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in row)
        lines.append(f"<tr>{cells}</tr>")
    return '<div class="scroll"><table>\n' + "\n".join(lines) + "\n</table></div>"


def _methods(methods: Mapping[str, Any]) -> str:
    best = {metric: max(round(method["metrics"][metric], 4) for method in methods.values()) for metric in METRICS[:-1]}
    rows = []
    for name, method in methods.items():
        values = [(metric, round(method["metrics"][metric], 4)) for metric in METRICS]
        cells = [
            f'<td class="best">{value:.4f}</td>' if value == best.get(metric) else f"{value:.4f}" for metric, value in values
        ]
        rows.append([html.escape(name), *cells])
    return _table(["method", *METRICS], rows)


def _comparison(comparison: Mapping[str, Any]) -> str:
    names = sorted({metric for metrics in comparison["minus"].values() for metric in metrics}, reverse=True)
    rows = []
    for name, metrics in comparison["minus"].items():
        cells = []
        for metric in names:
            found = metrics[metric]
            style = "" if not found["significant"] else "ahead" if found["low"] > 0 else "behind"
            text = f"{found['difference']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}]"
            cells.append(f'<td class="{style}">{text}</td>')
        rows.append([html.escape(name), *cells])
    return _table(["method", *names], rows)


def _slices(methods: Mapping[str, Any]) -> str:
    first = next(iter(methods.values()))["slices"]
    head = ["method", *(f"{name} events ({part['users']:,} users)" for name, part in first.items())]
    return _table(
        head,
        ([html.escape(name), *(f"{method['slices'][part][SLICED]:.4f}" for part in first)] for name, method in methods.items()),
    )


def _new_users(methods: Mapping[str, Any]) -> str:
    first = next(iter(methods.values()))["new_users"]
    if first is None:
        return '<p class="note">Every user has training events.</p>'
    title = f"<h2>The {first['users']:,} users without training events</h2>"
    metrics = [metric for metric in METRICS if metric in first]
    rows = (
        [html.escape(name), *(f"{method['new_users'][metric]:.4f}" for metric in metrics)] for name, method in methods.items()
    )
    return title + _table(["method", *metrics], rows)


def _new_items(methods: Mapping[str, Any]) -> str:
    first = next(iter(methods.values()))["new_items"]
    if first is None:
        return '<p class="note">Every test event is on an item with training events.</p>'
    title = f"<h2>Recall@10 of the {first['targets']:,} test events on new items ({first['users']:,} users)</h2>"
    rows = ([html.escape(name), f"{method['new_items']['recall@10']:.4f}"] for name, method in methods.items())
    return title + _table(["method", "recall@10"], rows)


def _parameters(methods: Mapping[str, Any]) -> str:
    rows = []
    for name, method in methods.items():
        chosen = ", ".join(f"{key} {value:g}" for key, value in method.get("parameters", {}).items())
        seconds = ", ".join(f"{key} {value:.1f}" for key, value in method["seconds"].items())
        rows.append(
            [
                html.escape(name),
                f'<td class="words">{html.escape(chosen) or "none"}</td>',
                str(len(method.get("trials", [])) or "none"),
                html.escape(seconds),
            ]
        )
    return _table(["method", "chosen on validation", "points tried", "seconds"], rows)


def _chart(methods: Mapping[str, Any]) -> str:
    """Horizontal bars with error bars, as inline SVG."""
    label, bar, step = 190, 520, 30
    height = step * len(methods) + 6
    ends = [method["metrics"][CHARTED] + 2 * method["std_errors"][CHARTED] for method in methods.values()]
    scale = bar / (max(ends) or 1.0)
    parts = [
        f'<svg role="img" aria-label="{CHARTED} of each method" viewBox="0 0 {label + bar + 80} {height}" '
        'style="max-width:50rem;width:100%" font-size="14" font-family="system-ui, sans-serif">'
    ]
    for place, (name, method) in enumerate(methods.items()):
        mean, error = method["metrics"][CHARTED], 2 * method["std_errors"][CHARTED]
        top, middle = place * step + 5, place * step + 16
        left, right = label + max(mean - error, 0) * scale, label + (mean + error) * scale
        parts.append(f'<text x="{label - 10}" y="{middle + 5}" text-anchor="end">{html.escape(name)}</text>')
        colour = "#0b6e4f" if place == 0 else "#9fb3c8"
        parts.append(f'<rect x="{label}" y="{top}" width="{mean * scale:.1f}" height="22" fill="{colour}"/>')
        parts.append(f'<path d="M{left:.1f} {middle}H{right:.1f}" stroke="#1c2733" stroke-width="1.5"/>')
        parts.append(f'<text x="{right + 8:.1f}" y="{middle + 5}">{mean:.4f}</text>')
    return "\n".join([*parts, "</svg>"])
