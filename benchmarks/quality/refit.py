"""Do the refits pay? The published lists, with and without them, measured on later events.

    python -m benchmarks.quality.refit --data DATA --output out/refit

The test events of a split are removed before the job starts. The whole job then runs on the rest as it does every night, with
its own split, evaluation and refits, and the lists it publishes are measured on the removed events.
"""

from __future__ import annotations

import gzip
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import click
import numpy as np
import pyarrow.parquet as pq

from benchmarks.quality import job
from benchmarks.quality.temporal import SHOP, source
from recsys.contract import histories
from recsys.measure import metrics
from recsys.measure.intervals import paired_interval

FILES: Final = {
    "ml-100k": ("ml-100k/u.data", "\t", 0),
    "ml-latest-small": ("ml-latest-small/ratings.csv", ",", 1),
    "amazon": ("amazon/interactions.csv.gz", ",", 1),
}
"""Events of each data set: file, delimiter, number of header lines; user and item are the first columns."""
CASES: Final = [
    *(("ml-100k", split) for split in ("global-time", "per-user-ratio")),
    *(("amazon", split) for split in ("global-time", "per-user-ratio")),
    ("ml-latest-small", "global-time"),
]
VARIANTS: Final = {"no refits": ["training.refit_epochs=0"], "refits": []}


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True, help="Has the zips and amazon/.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("out/refit"), show_default=True)
@click.option("--seeds", default="0,1,2", show_default=True, help="Comma-separated.")
@click.argument("settings", nargs=-1, metavar="[SECTION.FIELD=VALUE]...")
def main(data: Path, output: Path, seeds: str, settings: tuple[str, ...]) -> None:
    """Measures the published lists with and without the refits, with the default settings as changed by SETTINGS."""
    output.mkdir(parents=True, exist_ok=True)
    click.echo(
        "| data, split | seed | users | " + " | ".join(f"{name}: NDCG@10" for name in VARIANTS) + " | refits - none, 95 % |"
    )
    click.echo("|---" * (4 + len(VARIANTS)) + "|")
    for name, split in CASES:
        future, arguments = take_away(name, split, data, output / f"{name}-{split}")
        for seed in map(int, seeds.split(",")):
            values = {}
            for variant, changes in VARIANTS.items():
                folder = output / f"{name}-{split}" / f"{variant.replace(' ', '-')}-{seed}"
                shared = ["evaluation.baselines=popularity", *settings, *changes]
                values[variant] = measure(job.run(folder, [*arguments, "--split", split], shared, seed).folder, future)
            found = paired_interval(values["refits"], values["no refits"])
            cells = " | ".join(f"{value.mean():.4f}" for value in values.values())
            users = len(values["refits"])
            click.echo(f"| {name}, {split} | {seed} | {users:,} | {cells} | {found.low:+.4f} … {found.high:+.4f} |")


def take_away(name: str, split: str, data: Path, folder: Path) -> tuple[dict[str, set[str]], list[object]]:
    """The items of each user's test events, with ids as text, and the options for a source without those events."""
    whole = folder / "whole"
    if not whole.exists():
        whole.mkdir(parents=True)
        job.recsys("features", *source(name, data, whole), "--split", split, "--output", whole, "--run-id", "whole")
    features = str(whole / "runs" / "whole" / "features")
    users, items = (histories.read_table(features, table, [key])[key].to_pylist() for table, key in _IDS)
    block = histories.read(features)
    future = {}
    for row, (start, end) in enumerate(zip(block.offsets[:-1] + block.valid_length, block.offsets[1:], strict=True)):
        if end > start:
            future[str(users[block.user_index[row] - 1])] = {str(items[item - 1]) for item in block.items[start:end]}
    return future, _rest(name, data, folder, future)


def measure(run: Path, future: dict[str, set[str]]) -> np.ndarray:
    """NDCG@10 of the lists published by a run, for each user with later events, in order of user id."""
    latest = pq.read_table(run / "recommendations", columns=["user_id", "item_id"])
    lists: dict[str, list[str]] = {}
    for user, item in zip(latest["user_id"].to_pylist(), latest["item_id"].to_pylist(), strict=True):
        lists.setdefault(str(user), []).append(str(item))
    known = {
        item: number for number, item in enumerate(sorted({i for one in (*lists.values(), *future.values()) for i in one}), 1)
    }
    users = sorted(user for user in future if user in lists)
    top = np.array([[known[item] for item in lists[user][:10]] for user in users], np.int32)
    relevant = [sorted(known[item] for item in future[user]) for user in users]
    offsets = np.concatenate(([0], np.cumsum([len(one) for one in relevant])))
    return metrics.per_user(top, offsets, np.concatenate(relevant).astype(np.int32), (10,))["ndcg@10"]


def _rest(name: str, data: Path, folder: Path, future: dict[str, set[str]]) -> list[object]:
    """Writes the source without the events of `future`; returns the options to read it."""
    file, delimiter, header = FILES[name]
    if name == "amazon":
        path = folder / "rest.csv.gz"
        with gzip.open(data / file, "rt") as lines, gzip.open(path, "wt") as kept:
            kept.writelines(_before(lines, delimiter, header, future))
        toml = folder / "rest.toml"
        toml.write_text(SHOP.format(data=data.resolve()).replace(f"{data.resolve()}/{file}", str(path.resolve())))
        return ["--config", toml]
    rest = folder / "rest"
    shutil.rmtree(rest, ignore_errors=True)
    with zipfile.ZipFile(data / f"{name}.zip") as archive:
        archive.extractall(rest)
    path = rest / file
    kept_lines = list(_before(path.read_text().splitlines(keepends=True), delimiter, header, future))
    path.write_text("".join(kept_lines))
    return ["--dataset", name, "--dataset-path", path.parent]


def _before(lines: Iterable[str], delimiter: str, header: int, future: dict[str, set[str]]) -> Iterator[str]:
    for number, line in enumerate(lines):
        user, item = line.split(delimiter)[:2]
        if number < header or item not in future.get(user, ()):
            yield line


_IDS: Final = (("users", "user_id"), ("items", "item_id"))

if __name__ == "__main__":
    main()
