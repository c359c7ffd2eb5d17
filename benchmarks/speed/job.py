"""The whole job by stage, its evaluation by method: `recsys run`, several times; medians of what it wrote about itself.

    python -m benchmarks.speed.job --repeats 3 --output out/speed

Arguments after `--` go to `recsys run`, such as `-- --dataset ml-1m`. Without any it is the job on built-in data.
"""

from __future__ import annotations

import csv
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
    home, costs, stages, methods, loops = output / "job", [], [], [], []
    for _ in range(repeats):
        shutil.rmtree(home, ignore_errors=True)
        words = [sys.executable, "-m", "recsys.cli", "run", *arguments, "--output", str(home)]
        costs.append(measure.run(words, output / "job.log"))
        (manifest,) = home.glob("runs/*/run.json")
        stages.append(json.loads(manifest.read_text())["stages"])
        metrics = json.loads((manifest.parent / "evaluation" / "metrics.json").read_text())
        methods.append(metrics["methods"])
        with open(manifest.parent / "model" / "history.csv", encoding="utf-8") as rows:
            loops.append(sum(float(row["seconds"]) for row in csv.DictReader(rows)))
    words = f"--repeats {repeats}{' -- ' if arguments else ''}{' '.join(arguments)}"
    click.echo(f"`python -m benchmarks.speed.job {words}`; {measure.described()}.\n")
    click.echo("| stage | seconds | of the whole |\n|---|---|---|")
    whole = measure.median(costs)
    for stage in stages[0]:
        seconds = statistics.median(found[stage]["seconds"] for found in stages)
        click.echo(f"| {stage} | {seconds:.1f} | {seconds / whole.seconds:.0%} |")
        if stage == "train":
            loop = statistics.median(loops)
            click.echo(f"| of it epochs ({loop / seconds:.0%} of train) | {loop:.1f} | {loop / whole.seconds:.0%} |")
    click.echo(f"| the whole process; peak {whole.peak / 2**30:.2f} GiB | {whole.seconds:.1f} | 100% |")
    click.echo("\n| method | seconds to choose and fit it | to rank and measure | users/s |\n|---|---|---|---|")
    for name in methods[0]:
        seconds = [found[name]["seconds"] for found in methods]
        fit, evaluate = (statistics.median(one.get(part, 0.0) for one in seconds) for part in ("fit", "evaluate"))
        users = metrics["protocol"]["users"]
        click.echo(f"| {name} | {f'{fit:.1f}' if fit else 'in training'} | {evaluate:.2f} | {users / evaluate:,.0f} |")


if __name__ == "__main__":
    main()
