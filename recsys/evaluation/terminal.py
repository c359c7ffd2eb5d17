"""The table printed on the terminal at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

COLUMNS: Final = {
    "P@10": "precision@10",
    "R@10": "recall@10",
    "F1@10": "f1@10",
    "NDCG@10": "ndcg@10",
    "HR@10": "hit_rate@10",
    "coverage": "coverage@10",
}
BEST: Final = "*"


def format_table(metrics: Mapping[str, Any]) -> str:
    """Methods by metrics as plain text, at most 100 columns wide; the best of each column, as printed, has a star.

    Args:
        metrics: content of metrics.json.

    Returns:
        Lines without a trailing newline; if nothing was measured, the note that says why.
    """
    if "methods" not in metrics:
        return str(metrics["note"])
    protocol, methods = metrics["protocol"], metrics["methods"]
    rows = {name: [round(method["metrics"][metric], 4) for metric in COLUMNS.values()] for name, method in methods.items()}
    best = [max(column) for column in zip(*rows.values(), strict=True)]
    width = min(max(len(name) for name in (*rows, "method")), 28)
    lines = [
        f"{protocol['part']} events of {protocol['users']:,} users, all {protocol['items']:,} items ranked, seen excluded; "
        f"split {protocol['split']}",
        f"{'method':<{width}}" + "".join(f"  {title:>9} " for title in COLUMNS),
    ]
    for name, values in rows.items():
        cells = [f"  {value:9.4f}{BEST if value == top else ' '}" for value, top in zip(values, best, strict=True)]
        lines.append(f"{name[:width]:<{width}}" + "".join(cells))
    return "\n".join(line.rstrip() for line in lines)
