"""The whole job by stage: `recsys run`, several times; medians of what run.json says of each stage.

    python -m benchmarks.speed.job --repeats 3 --output out/speed

Arguments after `--` go to `recsys run`, such as `-- --dataset ml-1m`. Without any it is the job on built-in data.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from pathlib import Path

import click

from benchmarks.speed import measure


@click.command()
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("out/speed"), show_default=True)
@click.argument("arguments", nargs=-1)
def main(repeats: int, output: Path, arguments: tuple[str, ...]) -> None:
    """Measures seconds and peak memory of each stage, and of the whole process."""
    output = output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    home, costs, stages = output / "job", [], []
    for _ in range(repeats):
        shutil.rmtree(home, ignore_errors=True)
        words = [sys.executable, "-m", "recsys.cli", "run", *arguments, "--output", str(home)]
        costs.append(measure.run(words, output / "job.log"))
        (manifest,) = home.glob("runs/*/run.json")
        stages.append(json.loads(manifest.read_text())["stages"])
    words = f"--repeats {repeats}{' -- ' if arguments else ''}{' '.join(arguments)}"
    click.echo(f"`python -m benchmarks.speed.job {words}`; {measure.described()}.\n")
    click.echo("| stage | seconds | of the whole |\n|---|---|---|")
    whole = measure.median(costs)
    for stage in stages[0]:
        seconds = statistics.median(found[stage]["seconds"] for found in stages)
        click.echo(f"| {stage} | {seconds:.1f} | {seconds / whole.seconds:.0%} |")
    click.echo(f"| the whole process; peak {whole.peak / 2**30:.2f} GiB | {whole.seconds:.1f} | 100% |")


if __name__ == "__main__":
    main()
