"""Features: `recsys features` beside Polars and DuckDB, from a file of events to histories, users and items in Parquet.

    python -m benchmarks.speed.features --events 1000000 --events 5000000 --output out/speed

Runs them in turns, each peer in a virtual environment of its own, which this command makes. Prints a table: medians of the
repeats, the greatest peak memory. recsys does more than the peers: it checks and counts every row, splits, encodes twice, and
starts Spark.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from benchmarks.speed import events, measure

PEERS = ("polars", "duckdb")
HERE = Path(__file__).parent


@click.command()
@click.option("--events", "sizes", type=click.IntRange(1000), multiple=True, default=(1_000_000, 5_000_000), show_default=True)
@click.option("--format", "kind", type=click.Choice(["csv", "parquet"]), default="csv", show_default=True)
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
@click.option("--peer", "peers", type=click.Choice(PEERS), multiple=True, default=PEERS, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("out/speed"), show_default=True)
def main(sizes: tuple[int, ...], kind: str, repeats: int, peers: tuple[str, ...], output: Path) -> None:
    """Measures features of made-up events: zipf, 138,000 users, 27,000 items, 10 % repeats."""
    output = output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    pythons = {name: measure.environment(output / "environments" / name, name) for name in peers}
    rows = []
    for size in sizes:
        source = output / f"events-{size}.{kind}"
        if not source.exists():
            events.write(source, size)
        settings = output / f"events-{size}-{kind}.toml"
        settings.write_text(events.settings(source))
        commands = {"recsys": [sys.executable, "-c", _FEATURES, str(settings), str(output / "recsys")]}
        for name, python in pythons.items():
            (output / name).mkdir(exist_ok=True)
            commands[name] = [python, HERE / f"features_{name}.py", source, output / name]
        costs = measure.in_turns(commands, repeats, output)
        found = {name: measure.median(several) for name, several in costs.items()}
        kept = {one.told.split()[-1].replace(",", "") for several in costs.values() for one in several}
        if len(kept) != 1:
            raise SystemExit(f"not the same work: {kept} events kept")
        for name, cost in found.items():
            ratio = cost.seconds / found[peers[0]].seconds if peers else 1.0
            rows.append(f"| {size:,} | {name} | {cost.seconds:.1f} | {ratio:.1f} | {cost.peak / 2**30:.2f} |")
        shutil.rmtree(output / "recsys")
    words = " ".join([*(f"--events {size}" for size in sizes), f"--format {kind} --repeats {repeats}"])
    words += "".join(f" --peer {name}" for name in peers if peers != PEERS)
    versions = "".join(f"; {name} {measure.version_in(python, name)}" for name, python in pythons.items())
    click.echo(f"`python -m benchmarks.speed.features {words}`; {measure.described()}{versions}.\n")
    compared = f"times {peers[0]}" if peers else ""
    click.echo(f"| events | | seconds | {compared} | peak GiB |\n|---|---|---|---|---|")
    click.echo("\n".join(rows))


_FEATURES = """
import json, shutil, subprocess, sys
from pathlib import Path
settings, output = sys.argv[1:]
shutil.rmtree(output, ignore_errors=True)
command = [sys.executable, "-m", "recsys.cli", "features", "--quiet"]
subprocess.run([*command, "--config", settings, "--output", output, "--run-id", "speed"], check=True)
print(json.loads(Path(output, "runs", "speed", "features", "features.json").read_text())["events"])
"""

if __name__ == "__main__":
    main()
