"""Scale on paper: what each stage would take for 100 thousand to 10 billion events, from slopes measured on this machine.

    python -m benchmarks.speed.scale --output out/speed

Measures features of two sizes, some steps of training and the network's ranking at each width that the rules choose, and what
keeps all histories in memory: counting, which `train` does. Everything else is arithmetic: seconds and bytes grow with
the events, as two points say; epochs, width, sampled softmax and the sample that is counted follow the product's own rules.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any, Final

import click

from benchmarks.speed import events, measure
from recsys.config import Model, Training
from recsys.model.network import resolve
from recsys.training.plan import batch_shape, fit_plan

SIZES: Final = (10**5, 10**6, 10**7, 10**8, 10**9, 10**10)
EVENTS_PER_USER: Final = 40
ITEMS: Final = {10**5: 3_000, 10**6: 10_000, 10**7: 30_000, 10**8: 100_000, 10**9: 300_000, 10**10: 1_000_000}
"""Assumed."""
K: Final = 10
REFIT: Final = 0.5
"""Epochs of both refits, for each of those before."""
MOST_ITEMS: Final = 300_000
"""So many are trained and scored for the largest row, too; there, scoring would take longer."""
BYTES_PER_ROW: Final = 7.0
"""Of a recommendation in Parquet: the 10,000 rows of the built-in data take 68 KB."""
GIB: Final = 2**30


@dataclasses.dataclass(frozen=True)
class Line:
    """What grows with the events: `start` + `slope` · events."""

    start: float
    slope: float

    @classmethod
    def through(cls, sizes: tuple[int, int], values: tuple[float, float]) -> Line:
        """The line through two points, which may not fall below zero."""
        slope = max(0.0, (values[1] - values[0]) / (sizes[1] - sizes[0]))
        return cls(max(0.0, values[0] - slope * sizes[0]), slope)

    def at(self, size: int) -> float:
        """Its value for so many events."""
        return self.start + self.slope * size


@click.command()
@click.option("--events", "sizes", type=click.IntRange(100_000), nargs=2, default=(5_000_000, 20_000_000), show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("out/speed"), show_default=True)
def main(sizes: tuple[int, int], output: Path) -> None:
    """Measures slopes, and prints what follows from them."""
    output = output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    lines = _lines(sizes, output)
    rates = {size: _rates(size, output) for size in SIZES}
    words = " ".join(map(str, sizes))
    click.echo(f"`python -m benchmarks.speed.scale --events {words}`; {measure.described()}.\n")
    click.echo("| what grows with the events | at the start | for each million events |\n|---|---|---|")
    for name, line in lines.items():
        unit, divisor = ("s", 1) if "seconds" in name else ("MiB", 2**20)
        click.echo(f"| {name} | {line.start / divisor:,.1f} {unit} | {line.slope * 1e6 / divisor:,.2f} {unit} |")
    columns = ("events", "users", "items", "width", "epochs", "features", "features/", "train", "memory", "rank", "lists")
    click.echo(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for size in SIZES:
        click.echo(f"| {' | '.join(_row(size, lines, *rates[size]))} |")


def _lines(sizes: tuple[int, int], output: Path) -> dict[str, Line]:
    found: dict[str, list[float]] = {}
    for size in sizes:
        source, home = output / f"scale-{size}.parquet", output / "scale"
        if not source.exists():
            events.write(source, size, max(1, size // EVENTS_PER_USER), ITEMS[10**7])
        settings = output / f"scale-{size}.toml"
        settings.write_text(events.settings(source))
        shutil.rmtree(home, ignore_errors=True)
        words = [sys.executable, "-m", "recsys.cli", "features", "--config", str(settings), "--output", str(home)]
        features = measure.run([*words, "--run-id", "scale", "--quiet"], output / "scale.log")
        folder = home / "runs" / "scale" / "features"
        counted = measure.run([sys.executable, "-c", _COUNT, folder], output / "scale.log")
        stored = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        for name, value in (
            ("features, seconds", features.seconds),
            ("features, peak memory", features.peak),
            ("features/, stored", stored),
            ("counting, seconds", counted.seconds),
            ("counting, peak memory", counted.peak),
        ):
            found.setdefault(name, []).append(value)
    shutil.rmtree(output / "scale")
    return {name: Line.through(sizes, (values[0], values[1])) for name, values in found.items()}


def _rates(size: int, output: Path) -> tuple[int, float, float]:
    """Width of the network, positions trained a second, users scored a second."""
    items, training = min(ITEMS[size], MOST_ITEMS), Training()
    width = _width(size)
    rows, length = batch_shape(training, size)
    words = [sys.executable, "-m", "recsys.cli", "bench", "--items", str(items), "--width", str(width), "--xla", "on"]
    log = output / f"scale-{width}-{items}.log"
    measure.run([*words, "--batch-tokens", str(rows * length), "--quiet"], log)
    report: dict[str, Any] = json.loads(log.read_text()[log.read_text().index("{") :])
    (run,) = report["runs"]
    return width, run["positions_per_second"], run["users_per_second"]


def _row(size: int, lines: dict[str, Line], width: int, positions: float, users: float) -> list[str]:
    plan = fit_plan(Training(), size, ITEMS[size], batch_shape(Training(), size), xla=True)
    people = size // EVENTS_PER_USER
    train = (1 + REFIT) * plan.epochs * size / positions + lines["counting, seconds"].at(size)
    return [
        f"{size:,}",
        f"{people:,}",
        f"{ITEMS[size]:,}",
        str(width),
        str(plan.epochs),
        _time(lines["features, seconds"].at(size)),
        _bytes(lines["features/, stored"].at(size)),
        _time(train),
        _bytes(lines["counting, peak memory"].at(size)),
        _time(people / users),
        _bytes(BYTES_PER_ROW * K * people),
    ]


def _width(size: int) -> int:
    sizes = dict.fromkeys(("item_codes", "item_slots", "item_numbers", "user_codes", "user_slots", "user_numbers"), 1)
    return resolve(Model(), size, {"items": ITEMS[size], **sizes}, seed=0).width


def _time(seconds: float) -> str:
    for limit, unit in ((120, "s"), (7_200, "min"), (172_800, "h")):
        if seconds < limit:
            return f"{seconds / {'s': 1, 'min': 60, 'h': 3600}[unit]:.0f} {unit}"
    return f"{seconds / 86_400:,.0f} days"


def _bytes(size: float) -> str:
    return f"{size / 2**20:,.0f} MiB" if size < GIB else f"{size / GIB:,.0f} GiB"


_COUNT = """
import sys
from recsys.contract import histories
from recsys.contract.features_info import read_info
from recsys.methods import blend
folder = sys.argv[1]
info = read_info(folder)
everything = histories.read_learnable(folder, info.min_user_events)
blend.count(everything.head(everything.valid_length), info.items, 0, info.split.valid_from is None)
blend.count(everything, info.items, 0)
"""

if __name__ == "__main__":
    main()
