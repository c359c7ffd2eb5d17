"""MovieLens 1M in the preparation that SASRec and its successors publish on: leave-one-out, all items ranked, seen left out.

    python benchmarks/published.py --data ../shared/data --output out/published

Writes the published events, in their published order, as a folder in MovieLens 1M's own layout, with the ratings, times, users
and movies of the original, and runs the whole job on it once for each seed. Prints the mean and standard deviation.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

PUBLISHED = "published/ml-1m-sasrec"
ITEMS_ALONE = ("use_ratings", "use_time_gaps", "use_user_features", "use_item_features")
REPORTED = ("cnn", "cnn-alone")


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True, help=f"Holds ml-1m.zip and {PUBLISHED}/.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("out/published"), show_default=True)
@click.option("--seeds", default="0,1,2", show_default=True, help="Separated by commas.")
@click.option("--items-alone", is_flag=True, help="The network sees no rating, time or feature.")
@click.argument("settings", nargs=-1, metavar="[SECTION.FIELD=VALUE]...")
def main(data: Path, output: Path, seeds: str, items_alone: bool, settings: tuple[str, ...]) -> None:
    """Measures the defaults, changed by SETTINGS, on the published file."""
    folder = output / "data"
    if not folder.exists():
        prepare(data, folder)
    changes = [*settings, "training.refit_epochs=0"]  # what would be published is not measured
    if items_alone:
        changes += [f"model.{name}=false" for name in ITEMS_ALONE]
    runs = [run(folder, output / f"seed-{seed}", int(seed), changes) for seed in seeds.split(",")]
    click.echo(table(runs))


def prepare(data: Path, folder: Path) -> None:
    """Writes ratings.dat, users.dat and movies.dat with the published events alone, in the published order."""
    published = data / PUBLISHED
    events = pd.read_csv(published / "ml-1m.txt.gz", sep=" ", names=["user", "item"])
    users = pd.read_csv(published / "sas_to_original_users.txt", sep=" ", names=["user", "original"])
    items = pd.read_csv(published / "sas_to_original_items.txt", sep=" ", names=["item", "original"])
    events = pd.DataFrame(
        {
            "user": users.set_index("user")["original"].loc[events["user"]].to_numpy(),
            "item": items.set_index("item")["original"].loc[events["item"]].to_numpy(),
        }
    )
    with zipfile.ZipFile(data / "ml-1m.zip") as archive:
        text = {name: archive.read(f"ml-1m/{name}").decode("iso-8859-1") for name in ("ratings.dat", "users.dat", "movies.dat")}
    names = ["user", "item", "rating", "timestamp"]
    ratings = pd.read_csv(io.StringIO(text["ratings.dat"]), sep="::", engine="python", names=names)
    joined = events.merge(ratings, on=["user", "item"], how="left", validate="one_to_one")
    if joined.isna().any(axis=None) or (joined.groupby("user")["timestamp"].diff() < 0).any():
        raise click.ClickException("the published events do not agree with ml-1m.zip")
    folder.mkdir(parents=True)
    lines = joined.astype(int).astype(str).agg("::".join, axis=1)
    (folder / "ratings.dat").write_text("\n".join(lines) + "\n")
    (folder / "users.dat").write_text(text["users.dat"], encoding="iso-8859-1")
    kept = set(events["item"].astype(str))
    movies = [line for line in text["movies.dat"].splitlines() if line.split("::")[0] in kept]
    (folder / "movies.dat").write_text("\n".join(movies) + "\n", encoding="iso-8859-1")


def run(folder: Path, output: Path, seed: int, changes: list[str]) -> dict[str, Any]:
    """The job with one seed, unless it is done: its metrics.json, and run.json as "manifest"."""
    if not (output / "latest.json").exists():
        command = ["run", "--dataset", "ml-1m", "--dataset-path", folder, "--split", "leave-one-out"]
        command += ["--seed", seed, "--output", output, *(part for change in changes for part in ("--set", change))]
        subprocess.run([sys.executable, "-m", "recsys.cli", *map(str, command)], check=True)
    path = output / json.loads((output / "latest.json").read_text())["run"]
    metrics: dict[str, Any] = json.loads((path.parent / "evaluation" / "metrics.json").read_text())
    return {**metrics, "manifest": json.loads(path.read_text())}


def table(runs: list[dict[str, Any]]) -> str:
    """One row for each of the runs, then mean ± standard deviation over them."""
    stages = [run["manifest"]["stages"] for run in runs]
    protocol, hardware = runs[0]["protocol"], stages[0]["train"]["hardware"]["names"][0]
    lines = [
        f"{protocol['users']:,} users, {protocol['items']:,} items; {hardware}, {runs[0]['manifest']['created_at'][:10]}.",
        "",
        "| seed | minutes | " + " | ".join(f"{name}: HR@10 | NDCG@10" for name in REPORTED) + " |",
        "|---" * (2 + 2 * len(REPORTED)) + "|",
    ]
    values = np.array(
        [[run["methods"][name]["metrics"][key] for name in REPORTED for key in ("hit_rate@10", "ndcg@10")] for run in runs]
    )
    minutes = [sum(stage["seconds"] for stage in stage.values()) / 60 for stage in stages]
    for run, took, row in zip(runs, minutes, values, strict=True):
        lines.append(f"| {run['manifest']['config']['seed']} | {took:.1f} | " + " | ".join(f"{v:.4f}" for v in row) + " |")
    if len(runs) > 1:
        spread = values.std(axis=0, ddof=1)
        cells = [f"**{mean:.4f}** ± {deviation:.4f}" for mean, deviation in zip(values.mean(axis=0), spread, strict=True)]
        lines.append(f"| mean | {np.mean(minutes):.1f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
