"""Prints the results of finished runs as one Markdown table each: python -m benchmarks.quality.results OUTPUT [OUTPUT …]"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.quality import job
from benchmarks.quality.job import Run

COLUMNS = {"P@10": "precision@10", "R@10": "recall@10", "F1@10": "f1@10", "NDCG@10": "ndcg@10", "HR@10": "hit_rate@10"}


def table(run: Run) -> str:
    """A run as a Markdown table, below a line that describes it."""
    methods = run.metrics["methods"]
    best = {name: max(method["metrics"][key] for method in methods.values()) for name, key in COLUMNS.items()}
    lines = [_heading(run), "", "| method | " + " | ".join(COLUMNS) + f" | NDCG@10 of `{run.method}` minus this, 95 % |"]
    lines.append("|---" * (len(COLUMNS) + 2) + "|")
    for name, method in methods.items():
        cells = []
        for column, key in COLUMNS.items():
            value = method["metrics"][key]
            cells.append(f"**{value:.4f}**" if value == best[column] else f"{value:.4f}")
        minus = run.metrics["comparison"]["minus"].get(name, {}).get("ndcg@10")
        cells.append(f"{minus['low']:+.4f} … {minus['high']:+.4f}" if minus else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _heading(run: Run) -> str:
    stages, protocol = run.manifest["stages"], run.metrics["protocol"]
    peak = max(max(stage.get("peak_bytes", 0), stage.get("spark_peak_bytes", 0)) for stage in stages.values())
    features, training = stages["features"], stages["train"]
    took = f"{run.minutes:.1f} minutes in all (training {training['seconds'] / 60:.1f}), peak memory {peak / 2**30:.1f} GiB"
    return (
        f"**{run.manifest['config']['source']['dataset']}**, split `{protocol['split']}`: {features['events']:,} events, "
        f"{features['users']:,} users, {features['items']:,} items; {protocol['users']:,} users tested. {took}; {run.measured}."
    )


if __name__ == "__main__":
    sys.stdout.write("\n\n".join(table(job.published(Path(folder))) for folder in sys.argv[1:]) + "\n")
