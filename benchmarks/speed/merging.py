"""Incremental features: `recsys features` on a long history and one new file, all read anew beside what an earlier run has.

    python -m benchmarks.speed.merging --events 20000000 --new 200000

Both give the same features, which is checked. Runs them in turns and prints a table: medians of the repeats, the greatest peak
memory, and the share of the seconds.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import click

from benchmarks.speed import events, measure


@click.command()
@click.option("--events", "known", type=click.IntRange(1000), default=20_000_000, show_default=True)
@click.option("--new", type=click.IntRange(1), default=200_000, show_default=True)
@click.option("--format", "kind", type=click.Choice(["csv", "parquet"]), default="csv", show_default=True)
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("out/speed"), show_default=True)
def main(known: int, new: int, kind: str, repeats: int, output: Path) -> None:
    """Measures features of made-up events: zipf, 138,000 users, 27,000 items, 10 % repeats."""
    source = output.resolve() / f"nights-{known}-{new}-{kind}"
    (source / "events").mkdir(parents=True, exist_ok=True)
    night = source / f"second.{kind}"
    for path, size, seed in ((source / "events" / f"first.{kind}", known, 0), (night, new, 1)):
        if not path.exists():
            events.write(path, size, seed=seed)
    settings = source / "settings.toml"
    settings.write_text(events.settings(source / "events"))
    runs = source / "out"
    shutil.rmtree(runs, ignore_errors=True)
    there = source / "events" / night.name
    there.unlink(missing_ok=True)
    command = [sys.executable, "-c", _FEATURES, str(settings), str(runs)]
    measure.run([*command, "before", ""], source / "before.log")
    there.hardlink_to(night)
    costs = measure.in_turns({"all": [*command, "all", ""], "merged": [*command, "merged", "before"]}, repeats, source)
    found = {name: measure.median(several) for name, several in costs.items()}
    one, other = ((runs / "runs" / name / "features" / "features.json").read_text() for name in found)
    if one != other or "taken_over" not in (runs / "runs" / "merged" / "run.json").read_text():
        raise SystemExit("not the same features, or nothing was taken over")
    kept = json.loads(one)["events"]
    shutil.rmtree(runs)
    words = f"--events {known} --new {new} --format {kind} --repeats {repeats}"
    click.echo(f"`python -m benchmarks.speed.merging {words}`; {measure.described()}; {kept:,} events kept.\n")
    click.echo("| read | seconds | share | peak GiB |\n|---|---|---|---|")
    for name, cost in found.items():
        read = "all files" if name == "all" else "the new file"
        share = cost.seconds / found["all"].seconds
        click.echo(f"| {read} | {cost.seconds:.1f} | {share:.1%} | {cost.peak / 2**30:.2f} |")


_FEATURES = """
import shutil, subprocess, sys
settings, output, run_id, before = sys.argv[1:]
shutil.rmtree(f"{output}/runs/{run_id}", ignore_errors=True)
command = [sys.executable, "-m", "recsys.cli", "features", "--quiet", "--config", settings, "--output", output]
subprocess.run([*command, "--run-id", run_id, *(["--warm-start", before] if before else [])], check=True)
"""

if __name__ == "__main__":
    main()
