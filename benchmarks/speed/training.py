"""Training: recsys' network beside RecTools' SASRec, a SASRec in plain Keras, and RecBole's NextItNet, on MovieLens 1M.

    python -m benchmarks.speed.training --data DATA --output out/speed

The events are the file on which SASRec and its successors publish, split by leave-one-out: the last event of each user is left
aside, the last but one is the validation event. Each library trains one after the other in a process and with the settings of
its own, see `training_*.py`, until NDCG@10 on the validation events of all users, all items ranked and seen ones filtered,
reaches .17, or until --limit. The others run in virtual environments, which this command makes; all use all cores.

Seconds of training are those of the epochs: making batches and taking steps, compiling included. Nothing else is in them: no
features, no reading, no start of Python. "With validation" adds the ranking after each epoch, which each does in its own way.
Predictions are targets with a loss: recsys trains on all events of a user, SASRec on the last 200; RecBole makes a row of each.
The rate and the seconds of an epoch are medians of whole epochs; if there is none (≈), what follows from the first part of one.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import statistics
import sys
from pathlib import Path
from typing import Any, Final

import click

from benchmarks.quality import job, published
from benchmarks.speed import measure
from benchmarks.speed.training_peer import GOAL, Events

TORCH: Final = ("torch==2.13.0", "numpy==1.26.4", "pandas==2.3.3", "scipy==1.17.1", "scikit-learn==1.9.1")
RECTOOLS: Final = ("rectools[torch]==0.19.0", "pytorch-lightning==2.5.2")
RECBOLE: Final = "recbole==1.2.1"
ALSO: Final = ("tensorboard==2.21.0", "colorlog==4.7.2", "colorama==0.4.4", "texttable==1.7.2")
"""What RecBole's training needs of what it asks for; it asks for a Ray that is not made for newer versions of Python, too."""
ENVIRONMENTS: Final = {"torch": (*TORCH, *RECTOOLS, *ALSO), "keras": ("keras==3.15.1", "tensorflow-cpu==2.21.0")}


@dataclasses.dataclass(frozen=True)
class Peer:
    """What is compared.

    Attributes:
        script: module that trains.
        environment: the virtual environment it needs; "" is that of recsys.
        package: whose version is told.
        options: further arguments of the script.
    """

    script: str
    environment: str = ""
    package: str = "recsys"
    options: tuple[str, ...] = ()


PEERS: Final = {
    "recsys": Peer("training_recsys"),
    "recsys-items-alone": Peer("training_recsys", options=("--items-alone",)),
    "rectools-sasrec": Peer("training_rectools", "torch", "rectools"),
    "rectools-sasrec-128": Peer("training_rectools", "torch", "rectools", ("128",)),
    "keras-sasrec": Peer("training_keras", "keras", "keras"),
    "recbole-nextitnet": Peer("training_recbole", "torch", "recbole"),
}


@click.command()
@click.option(
    "--data", type=click.Path(exists=True, path_type=Path), required=True, help="As for benchmarks.quality.published."
)
@click.option("--peer", "peers", type=click.Choice(list(PEERS)), multiple=True, default=list(PEERS), show_default=True)
@click.option("--limit", type=click.IntRange(1), default=1200, show_default=True, help="Seconds of training, for each.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("out/speed"), show_default=True)
def main(data: Path, peers: tuple[str, ...], limit: int, output: Path) -> None:
    """Measures how fast each trains, and how long it takes to train a network that is worth something."""
    data, output = data.resolve(), output.resolve()
    home = output / "training"
    home.mkdir(parents=True, exist_ok=True)
    events = data / published.PUBLISHED / "ml-1m.txt.gz"
    chosen = {name: PEERS[name] for name in peers}
    pythons = {name: _environment(output / "environments", peer.environment) for name, peer in chosen.items()}
    learned = Events.read(events).learned
    rows = []
    for name, peer in chosen.items():
        log = home / f"{name}.log"
        words: list[str | Path] = ["env", f"PYTHONPATH={measure.ROOT}", pythons[name], "-m", f"benchmarks.speed.{peer.script}"]
        source = events if peer.environment else features(data, home)
        cost = measure.run([*words, source, str(limit), home / name, *peer.options], log)
        rows.append(f"| {name} | {' | '.join(cells(lines(log)))} | {cost.peak / 2**30:.1f} |")
        click.echo(rows[-1], err=True)
    options = [*(f"--peer {name}" for name in peers if peers != tuple(PEERS)), f"--limit {limit}"]
    others = {peer.package: pythons[name] for name, peer in chosen.items() if peer.environment}
    versions = "".join(f"; {package} {measure.version_in(python, package)}" for package, python in others.items())
    click.echo(f"`python -m benchmarks.speed.training --data DATA {' '.join(options)}`; {measure.described()}{versions};")
    click.echo(f"{len(learned):,} users, {sum(map(len, learned)):,} events to learn from.\n")
    goal = f"s of training to NDCG@10 of {GOAL}"
    columns = ("", "predictions an epoch", "predictions/s", "s an epoch", goal, "with validation", "peak GiB")
    click.echo(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    click.echo("\n".join(rows))


def features(data: Path, home: Path) -> Path:
    """The features of the published file, which are made if they are not there."""
    found = home / "out" / "runs" / "speed" / "features"
    if not (found / "_SUCCESS").exists():
        events = home / "data"
        if not events.exists():
            published.prepare(data, events)
        source = ["--dataset", "ml-1m", "--dataset-path", events, "--split", "leave-one-out"]
        job.recsys("features", *source, "--output", home / "out", "--run-id", "speed", "--quiet")
    return found


def lines(log: Path) -> list[dict[str, Any]]:
    """The lines of a training, see training_peer."""
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if line.startswith('{"epoch"')]


def cells(told: list[dict[str, Any]]) -> tuple[str, ...]:
    """What a row says of a training: predictions, rate and seconds of an epoch, and the two times to GOAL."""
    if not told:
        return "", "", "", "no epoch in the limit", ""
    an_epoch, last = told[0]["an_epoch"], told[-1]
    pairs = itertools.pairwise([{"trained": 0, "seconds": 0.0}, *told])
    parts = [(now["trained"] - before["trained"], now["seconds"] - before["seconds"]) for before, now in pairs]
    whole = [part for part in parts if part[0] == an_epoch]
    rate = statistics.median(trained / seconds for trained, seconds in whole or parts)
    about = "" if whole else "≈ "
    if last["ndcg@10"] >= GOAL:
        reached = f"{last['seconds']:,.0f}", f"{last['whole']:,.0f}"
    else:
        best = max(line["ndcg@10"] for line in told)
        reached = f"not in {last['seconds']:,.0f} (best {best:.3f})", f"not in {last['whole']:,.0f}"
    return f"{an_epoch:,}", f"{about}{rate:,.0f}", f"{about}{an_epoch / rate:,.1f}", *reached


def _environment(folder: Path, name: str) -> Path:
    if not name:
        return Path(sys.executable)
    return measure.environment(folder / name, *ENVIRONMENTS[name], alone=(RECBOLE,) if name == "torch" else ())


if __name__ == "__main__":
    main()
