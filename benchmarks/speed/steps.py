"""Steps of training: what one costs, and how much of it is Python's and the allocator's.

    python -m benchmarks.speed.steps

Three sizes: trivial, the built-in data, MovieLens 1M; made-up events, full softmax, timed by the code of `recsys bench`.
`host` is the processor time of the thread that calls TensorFlow, an upper bound of what Python takes; faults are pages that
the system had to provide.
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, NamedTuple

import click

from benchmarks.speed import measure
from recsys.config import Config, Model, Training
from recsys.training.hardware import Hardware, choose

if TYPE_CHECKING:
    from recsys.bench.trial import Cost

EVENTS = 1_000_000


class Size(NamedTuple):
    """What is trained: items, width of the network, positions of a batch."""

    name: str
    items: int
    width: int
    positions: int


SIZES = (Size("trivial", 500, 8, 512), Size("built-in data", 500, 64, 512), Size("MovieLens 1M", 3_416, 128, 4_096))


@click.command()
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True)
@click.option("--xla", type=click.Choice(["on", "off"]), default="on", show_default=True)
@click.option(
    "--precision", type=click.Choice(["auto", "float32", "mixed_bfloat16", "mixed_float16"]), default="auto", show_default=True
)
def main(repeats: int, xla: str, precision: str) -> None:
    """Measures medians of several calls."""
    hardware = choose(Training(xla=xla, precision=precision))  # type: ignore[arg-type]
    asked = f"--repeats {repeats} --xla {xla}" + (f" --precision {precision}" if precision != "auto" else "")
    described = f"{measure.described()}; {hardware.precision}, XLA {'on' if hardware.xla else 'off'}"
    click.echo(f"`python -m benchmarks.speed.steps {asked}`; {described}.\n")
    columns = ("", "width", "positions a step", "ms a step", "positions/s", "host ms a step", "page faults a step")
    click.echo(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for size in SIZES:
        cost = _cost(size, repeats, hardware)
        numbers = f"{1000 * cost.seconds:.2f} | {size.positions / cost.seconds:,.0f} | {1000 * cost.host_seconds:.3f}"
        click.echo(f"| {size.name} | {size.width} | {size.positions:,} | {numbers} | {cost.page_faults:.1f} |")


def _cost(size: Size, repeats: int, hardware: Hardware) -> Cost:
    from recsys.bench import made, trial  # import TensorFlow, which `choose` does quietly
    from recsys.training.phase import Setting

    config = Config(model=Model(width=size.width), training=Training(batch_tokens=size.positions))
    with tempfile.TemporaryDirectory() as folder:
        info = made.write_features(folder, size.items, EVENTS)
        return trial.cost(trial.prepare(Setting(config, folder, info, hardware)), repeats)


if __name__ == "__main__":
    main()
