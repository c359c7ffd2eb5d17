"""Kills at random moments: does every run complete afterwards, and equal the one that nothing has disturbed?

    python -m benchmarks.faults --kills 200 --seed 0 --output out/faults

Jobs on small built-in data, whole or stage by stage, are killed several times each and started again until they complete. What
must hold is in docs/reliability.md. Prints progress and a table, writes both and every kill to OUTPUT, and ends with 1 if
anything did not hold. `--kills 4` and `--kills 12` are short forms for CI.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from pathlib import Path

import click

from benchmarks.faults import report
from benchmarks.faults.campaign import Campaign, undisturbed
from benchmarks.faults.plan import Deck

MOST_JOBS = 10
"""More than one for each kill: so many may go by in which every kill comes too late."""


@click.command()
@click.option("--kills", type=click.IntRange(1), default=200, show_default=True)
@click.option("--seed", default=0, show_default=True, help="Draws the order of the kills and their moments.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("out/faults"), show_default=True)
def main(kills: int, seed: int, output: Path) -> None:
    """Kills jobs KILLS times and reports what came of it."""
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    click.echo("a run that nothing disturbs")
    reference = undisturbed(output.resolve() / "undisturbed")
    took = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in reference.seconds.items())
    click.echo(f"  {took}")
    campaign, deck = Campaign(output.resolve(), reference, click.echo), Deck(random.Random(seed))
    for number in range(1, kills + MOST_JOBS):
        if len(campaign.kills) == kills:
            break
        for late in campaign.run(deck.job(number, kills - len(campaign.kills))):
            deck.put_back(late)
    if len(campaign.kills) < kills:
        campaign.violations.append(f"only {len(campaign.kills)} of {kills} kills came in time")
    result = report.Result(
        campaign.kills, campaign.jobs, campaign.violations, f"--kills {kills} --seed {seed}", reference.manifest
    )
    (output / "faults.json").write_text(json.dumps(report.as_json(result), indent=2) + "\n")
    (output / "faults.md").write_text(report.markdown(result) + "\n")
    click.echo("\n" + report.markdown(result))
    sys.exit(1 if campaign.violations else 0)


if __name__ == "__main__":
    main()
