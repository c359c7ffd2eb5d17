"""Ten nights after another: what a refresh is worth, and what it costs, beside training anew every night.

    python -m benchmarks.refresh --data DATA --output out/refresh ml-100k

The events are cut by time into 25 slices. Fifteen are the history; then one slice comes every night, and the lists made with
all events so far are measured on the slice of the night after (prequential evaluation, Dawid, 1984):

- nothing: the lists of the first night stay.
- fold-in: the first night's network, with every user's events so far and counts of them (`recsys recommend --events`).
- warm start: the network of the night before learns the new events (`recsys run --warm-start latest`).
- full: a new network, on all events (`recsys run`).
- window: a new network, on the last fifteen slices.

The first night is the same for all of them.

Costs are seconds of the stage `train`; those of fold-in, which trains nothing, are of the whole command. Finished nights are
kept in the output folder and not repeated. With several seeds, means are over the nights of all.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click
import pandas as pd

from benchmarks.quality.job import recsys
from benchmarks.refresh import plot, scores, stream
from benchmarks.refresh.scores import METRICS
from benchmarks.refresh.stream import Stream

HISTORY: Final = 15
CASES: Final = ("ml-100k", "ml-latest-small", "amazon", stream.DRIFTING)
STRATEGIES: Final = ("full", "warm start", "fold-in", "nothing", "window")
QUIET: Final = (
    "evaluation.baselines=popularity",
    "publish.must_beat=",
    "publish.max_drop=1",
    "split.allow_few=true",
    "refresh.full_every=0",
)
"""Every night is published here, and only what the comparison needs is measured."""

Nights = dict[str, list[dict[str, Any]]]
"""By strategy: night, seed, what its lists are worth and what they cost."""


@dataclasses.dataclass(frozen=True)
class Replay:
    """One data set, played night by night.

    Attributes:
        events: the stream.
        folder: for everything that is written.
        changes: settings, SECTION.FIELD=VALUE.
        seed: of everything random.
    """

    events: Stream
    folder: Path
    changes: Sequence[str]
    seed: int

    def night(self, strategy: str, number: int) -> dict[str, Any]:
        """What one strategy's lists are worth on the slice after, and what they cost; night 0 is the first one, 1 the next."""
        file = self.folder / strategy.replace(" ", "-") / f"night-{number:02d}.json"
        if not file.exists():
            end = HISTORY + number
            lists, seconds = self._lists(strategy, number)
            worth = scores.score(lists, self.events.events(0, end), self.events.events(end, end + 1))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"seconds": seconds, **worth}))
        found: dict[str, Any] = json.loads(file.read_text())
        return found

    def _lists(self, strategy: str, number: int) -> tuple[pd.DataFrame, float]:
        if strategy in ("full", "window"):
            return self._run(strategy, number, number if strategy == "window" else 0)
        first = self._run("first", 0, 0)
        if strategy == "nothing":
            return first[0], 0.0
        return self._folded_in(number) if strategy == "fold-in" else self._warm(number)

    def _run(self, strategy: str, number: int, first: int, *options: str) -> tuple[pd.DataFrame, float]:
        place = self.folder / strategy.replace(" ", "-")
        output, name = place / "out", f"night-{number:02d}"
        run = output / "runs" / name
        if not (run / "recommendations" / "_SUCCESS").exists():
            config = self.events.settings_file(place, first, HISTORY + number)
            arguments = ["--config", config, "--output", output, "--run-id", name, "--seed", self.seed, "--quiet", *options]
            recsys("run", *arguments, changes=[*QUIET, *(self.changes if number else ())])
        manifest = json.loads((run / "run.json").read_text())
        return scores.read_lists(run / "recommendations"), float(manifest["stages"]["train"]["seconds"])

    def _warm(self, number: int) -> tuple[pd.DataFrame, float]:
        output = self.folder / "warm-start" / "out"
        if not output.exists():
            shutil.copytree(self.folder / "first" / "out", output)
        return self._run("warm start", number, 0, "--warm-start", "latest")

    def _folded_in(self, number: int) -> tuple[pd.DataFrame, float]:
        place = self.folder / "fold-in"
        nights = self.events.settings_file(place, HISTORY, HISTORY + number).parent / "events"
        started = time.monotonic()
        arguments = ["--output", self.folder / "first" / "out", "--to", place / "lists", "--all-users", "--quiet"]
        recsys("recommend", *arguments, "--events", nights / "*.parquet")
        seconds = time.monotonic() - started
        return scores.read_lists(place / "lists"), seconds


def table(nights: Nights) -> str:
    """One row per strategy: means over the nights, and shares of what full training reaches and costs."""
    full = pd.DataFrame(nights["full"])
    lines = [
        "| every night | " + " | ".join(f"{name.upper()} | of full" for name in METRICS) + " | seconds a night | of full |",
        "|---" * (3 + 2 * len(METRICS)) + "|",
    ]
    for strategy, rows in nights.items():
        own = pd.DataFrame(rows)
        cells = []
        for name in METRICS:
            cells += [f"{own[name].mean():.4f}", f"{own[name].mean() / full[name].mean():.1%}"]
        cost = own["seconds"].mean()
        lines.append(f"| {strategy} | " + " | ".join(cells) + f" | {cost:.1f} | {cost / full['seconds'].mean():.1%} |")
    return "\n".join(lines)


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True, help="Has the zips and amazon/.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("out/refresh"), show_default=True)
@click.option("--nights", type=click.IntRange(1, 9), default=9, show_default=True, help="After the first one.")
@click.option("--seed", "seeds", multiple=True, type=int, default=[0], show_default=True, help="Repeatable.")
@click.option("--set", "changes", multiple=True, metavar="SECTION.FIELD=VALUE", help="Settings of all runs but the first.")
@click.option("--strategy", "strategies", multiple=True, type=click.Choice(STRATEGIES), default=STRATEGIES)
@click.option("--plot", "picture", type=click.Path(path_type=Path), help="Draws NDCG@10 night by night (.svg, .png).")
@click.argument("cases", nargs=-1, type=click.Choice(CASES))
def main(
    data: Path,
    output: Path,
    nights: int,
    seeds: tuple[int, ...],
    changes: tuple[str, ...],
    strategies: tuple[str, ...],
    picture: Path | None,
    cases: tuple[str, ...],
) -> None:
    """Plays the nights of CASES, by default of all, and prints a table for each."""
    found = dict[str, Nights]()
    for case in cases or CASES:
        played = found.setdefault(case, {strategy: [] for strategy in strategies})
        for seed in seeds:
            folder = output.resolve() / f"{case}-{seed}"
            replay = Replay(stream.cut(case, data, folder / "slices", seed), folder, changes, seed)
            for strategy in strategies:
                for number in range(1, nights + 1):
                    night = {"night": number, "seed": seed, **replay.night(strategy, number)}
                    played[strategy].append(night)
                    click.echo(f"{case} {strategy}: {json.dumps(night)}", err=True)
        if "full" in played:
            click.echo(f"\n{case}, nights 1 to {nights}, {_seeds(seeds)}:\n\n{table(played)}")
    if picture is not None:
        plot.draw(found, METRICS[0], picture)


def _seeds(seeds: Sequence[int]) -> str:
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"


if __name__ == "__main__":
    main()
