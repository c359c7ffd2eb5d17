"""MovieLens 1M as prepared by SASRec and its successors: leave-one-out, all items ranked, seen items excluded.

    python -m benchmarks.quality.published --data DATA --output out/published

Writes the published events, in their published order, as a folder in MovieLens 1M's own layout, with the original ratings,
times, users and movies, and runs the whole job on it once per seed. Prints mean and standard deviation.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import click
import numpy as np
import pandas as pd

from benchmarks.quality import job
from benchmarks.quality.job import Run

PUBLISHED = "published/ml-1m-sasrec"
ITEMS_ALONE = ("use_ratings", "use_time_gaps", "use_dates", "use_user_features", "use_item_features")
REPORTED = ("blend", "cnn")


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True, help=f"Has ml-1m.zip and {PUBLISHED}/.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("out/published"), show_default=True)
@click.option("--seeds", default="0,1,2", show_default=True, help="Comma-separated.")
@click.option("--items-alone", is_flag=True, help="The network sees no ratings, times or features.")
@click.argument("settings", nargs=-1, metavar="[SECTION.FIELD=VALUE]...")
def main(data: Path, output: Path, seeds: str, items_alone: bool, settings: tuple[str, ...]) -> None:
    """Measures the default settings, as changed by SETTINGS, on the published file."""
    folder = output / "data"
    if not folder.exists():
        prepare(data, folder)
    changes = [*settings, *(f"model.{name}=false" for name in ITEMS_ALONE if items_alone)]
    source = ["--dataset", "ml-1m", "--dataset-path", folder, "--split", "leave-one-out"]
    click.echo(table([job.run(output / f"seed-{seed}", source, changes, int(seed)) for seed in seeds.split(",")]))


def prepare(data: Path, folder: Path) -> None:
    """Writes ratings.dat, users.dat and movies.dat with only the published events, in the published order."""
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
        raise click.ClickException("the published events do not match ml-1m.zip")
    folder.mkdir(parents=True)
    lines = joined.astype(int).astype(str).agg("::".join, axis=1)
    (folder / "ratings.dat").write_text("\n".join(lines) + "\n")
    (folder / "users.dat").write_text(text["users.dat"], encoding="iso-8859-1")
    kept = set(events["item"].astype(str))
    movies = [line for line in text["movies.dat"].splitlines() if line.split("::")[0] in kept]
    (folder / "movies.dat").write_text("\n".join(movies) + "\n", encoding="iso-8859-1")


def table(runs: list[Run]) -> str:
    """One row per run, then mean ± standard deviation over all runs."""
    protocol = runs[0].metrics["protocol"]
    lines = [
        f"{protocol['users']:,} users, {protocol['items']:,} items; {runs[0].measured}.",
        "",
        "| seed | minutes | " + " | ".join(f"{name}: HR@10 | NDCG@10" for name in REPORTED) + " |",
        "|---" * (2 + 2 * len(REPORTED)) + "|",
    ]
    values = np.array([[run.value(name, key) for name in REPORTED for key in ("hit_rate@10", "ndcg@10")] for run in runs])
    for run, row in zip(runs, values, strict=True):
        cells = " | ".join(f"{value:.4f}" for value in row)
        lines.append(f"| {run.manifest['config']['seed']} | {run.minutes:.1f} | {cells} |")
    if len(runs) > 1:
        spread = values.std(axis=0, ddof=1)
        cells = " | ".join(f"**{mean:.4f}** ± {sd:.4f}" for mean, sd in zip(values.mean(axis=0), spread, strict=True))
        lines.append(f"| mean | {np.mean([run.minutes for run in runs]):.1f} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
