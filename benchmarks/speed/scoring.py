"""Scoring: the published lists of `recsys recommend` beside factors of width 64, from a fitted method to Parquet.

    python -m benchmarks.speed.scoring --items 3000 --items 27000 --items 300000 --output out/speed

For each size of the catalogue it makes events, features and a network (one epoch; how good it is changes no time), then ranks
all items for every user, seen items filtered, in turns with the peers. Each is timed in its own process from the first user to
the last file; reading model and histories is not in it, compiling is. recsys scores with the blend: the network, transitions,
EASE and recent popularity. The peers have virtual environments of their own: implicit multiplies two factors of width 64, with
OPENBLAS_NUM_THREADS=1 as it asks for; Spark does too, without a filter for what was seen; RecTools encodes histories with a
SASRec of width 128 and multiplies its states.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

import click

from benchmarks.speed import events, measure, training

PEERS = {
    "implicit": ("implicit", "pyarrow"),
    "rectools": (*training.TORCH, *training.RECTOOLS, "pyarrow==20.0.0"),
    "spark": (),
}
"""What is installed for each; Spark is there."""
TRAINING = ("training.epochs=1", "training.refit_epochs=0", "training.negatives=1024")


@click.command()
@click.option("--items", "sizes", type=click.IntRange(1000), multiple=True, default=(3_000, 27_000, 300_000), show_default=True)
@click.option("--k", "lengths", type=click.IntRange(1), multiple=True, default=(10, 100), show_default=True)
@click.option("--users", type=click.IntRange(1000), default=34_000, show_default=True)
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
@click.option("--peer", "peers", type=click.Choice(list(PEERS)), multiple=True, default=["implicit"], show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("out/speed"), show_default=True)
def main(
    sizes: tuple[int, ...], lengths: tuple[int, ...], users: int, repeats: int, peers: tuple[str, ...], output: Path
) -> None:
    """Measures users per second; each user has about 36 events, drawn by Zipf's law."""
    output = output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    programs: dict[str, list[str | Path]] = {"recsys": [sys.executable, "-c", _RECOMMEND]}
    versions, rows = "", []
    for name in peers:
        python = Path(sys.executable)
        if PEERS[name]:
            python = measure.environment(output / "environments" / f"scoring-{name}", *PEERS[name])
            versions += f"; {name} {measure.version_in(python, name)}"
        variables = [f"PYTHONPATH={measure.ROOT}", *(["OPENBLAS_NUM_THREADS=1"] if name == "implicit" else [])]
        programs[name] = ["env", *variables, python, "-m", f"benchmarks.speed.scoring_{name}"]
    for items in sizes:
        home = _trained(output / f"scoring-{items}-{users}", items, users)
        for k in lengths:
            commands = {name: [*programs[name], home, str(k), output / name] for name in ("recsys", *peers)}
            found = measure.in_turns(commands, repeats, output)
            rates = {name: users / statistics.median(float(cost.told) for cost in costs) for name, costs in found.items()}
            for name, costs in found.items():
                cells = (
                    f"{items:,}",
                    str(k),
                    name,
                    f"{rates[name]:,.0f}",
                    f"{rates[name] / rates[peers[0]]:.2f}" if peers else "",
                )
                rows.append(f"| {' | '.join(cells)} | {measure.median(costs).peak / 2**30:.2f} |")
    options = [*(f"--items {size}" for size in sizes), *(f"--k {k}" for k in lengths), f"--users {users} --repeats {repeats}"]
    options += [f"--peer {name}" for name in peers]
    click.echo(f"`python -m benchmarks.speed.scoring {' '.join(options)}`; {measure.described()}{versions}.\n")
    click.echo(f"| items | K | | users/s | {f'of {peers[0]}' if peers else ''} | peak GiB |\n|---|---|---|---|---|---|")
    click.echo("\n".join(rows))


def _trained(home: Path, items: int, users: int) -> Path:
    """The folder of a run with features and a model, which are made if they are not there."""
    run = home / "out" / "runs" / "speed"
    if not (run / "model" / "_SUCCESS").exists():
        home.mkdir(exist_ok=True)
        source, settings = home / "events.parquet", home / "settings.toml"
        events.write(source, 40 * users, users, items)
        settings.write_text(events.settings(source))
        shared = ["--output", home / "out", "--run-id", "speed", "--quiet"]
        chosen = [word for setting in TRAINING for word in ("--set", setting)]
        for words in (["features", "--config", settings, *chosen], ["train"]):
            subprocess.run([sys.executable, "-m", "recsys.cli", *words, *shared], check=True)
    return run


_RECOMMEND = """
import dataclasses, sys, time
from recsys.config import Config
from recsys.contract import model_files, schema
from recsys.progress import Progress
from recsys.recommend.lists import recommend
from recsys.run import runs
from recsys.run.ending import Stop
from recsys.run.stages import Job, load_blend
run, k, folder = sys.argv[1:]
output, _, name = run.rpartition("/runs/")
job = Job(Config(output=output), runs.find(output, name), Progress(quiet=True), Stop())
blend = load_blend(job, model_files.PUBLISHED, model_files.PUBLISHED_BLEND)
settings = dataclasses.replace(job.config.recommend, k=int(k))
started = time.monotonic()
recommend(settings, job.run.path(schema.FEATURES_DIR), folder, name, blend, Progress(quiet=True))
print(time.monotonic() - started)
"""

if __name__ == "__main__":
    main()
