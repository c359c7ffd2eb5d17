"""Temporal splits on MovieLens and a shop's ratings: the published method against the best of six tuned baselines.

    python -m benchmarks.quality.temporal --data DATA --output out/temporal

`global-time` holds out everything after one moment, `per-user-ratio` the last fifth of each user's events. Runs the whole job
on each, with default settings, and prints one table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from benchmarks.quality import job
from benchmarks.quality.job import Run

SHOP: Final = """\
[source]
dataset = "tabular"

[source.interactions]
path = "{data}/amazon/interactions.csv.gz"
user_id = "user"
item_id = "product"
timestamp = "time"
rating = "stars"

[source.items]
path = "{data}/amazon/products.csv"
item_id = "product"

[source.items.features]
brand = {{ kind = "categorical" }}
categories = {{ kind = "multi", separator = "|" }}
"""
CASES: Final = [
    *((name, split) for name in ("ml-100k", "ml-latest-small", "amazon") for split in ("global-time", "per-user-ratio")),
    ("ml-1m", "per-user-ratio"),
]
COMPARED: Final = {"NDCG@10": "ndcg@10", "R@10": "recall@10", "F1@10": "f1@10"}


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True, help="Has the zips and amazon/.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("out/temporal"), show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.argument("settings", nargs=-1, metavar="[SECTION.FIELD=VALUE]...")
def main(data: Path, output: Path, seed: int, settings: tuple[str, ...]) -> None:
    """Measures the default settings, as changed by SETTINGS, on every data set and split."""
    output.mkdir(parents=True, exist_ok=True)
    runs = {}
    for name, split in CASES:
        arguments = [*source(name, data, output), "--split", split]
        runs[name, split] = job.run(output / f"{name}-{split}", arguments, settings, seed)
    click.echo(table(runs))


def source(name: str, data: Path, folder: Path) -> list[object]:
    """The options that select the source; the shop's configuration is written into `folder`."""
    if name != "amazon":
        return ["--dataset", name, "--dataset-path", data / f"{name}.zip"]
    path = folder / "shop.toml"
    path.write_text(SHOP.format(data=data.resolve()))
    return ["--config", path]


def table(runs: dict[tuple[str, str], Run]) -> str:
    """One row per run: for each metric the published method, the best baseline, and the paired interval of their difference."""
    method = next(iter(runs.values())).method
    lines = [
        next(iter(runs.values())).measured + ".",
        "",
        "| data, split | users | "
        + " | ".join(f"{name}: `{method}` | best baseline | difference, 95 %" for name in COMPARED)
        + " | minutes |",
        "|---" * (3 + 3 * len(COMPARED)) + "|",
    ]
    for (name, split), run in runs.items():
        cells = [part for metric in COMPARED.values() for part in _beside_the_best(run, metric)]
        users = f"{run.metrics['protocol']['users']:,}"
        lines.append(f"| {name}, {split} | {users} | " + " | ".join(cells) + f" | {run.minutes:.1f} |")
    return "\n".join(lines)


def _beside_the_best(run: Run, metric: str) -> tuple[str, str, str]:
    value = run.value(run.method, metric)
    best = run.best_traditional(metric)
    minus = run.metrics["comparison"]["minus"][best][metric]
    difference = f"{minus['low']:+.4f} … {minus['high']:+.4f}" + ("*" if minus["significant"] else "")
    return f"{value:.4f}", f"{best} {run.value(best, metric):.4f}", difference


if __name__ == "__main__":
    main()
