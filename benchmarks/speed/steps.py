"""Steps of training: what one costs, and how much of it is Python's and the allocator's.

    python -m benchmarks.speed.steps

Three sizes: trivial, the built-in data, MovieLens 1M; random batches, full softmax, the product's own function of many steps a
call. `host` is the processor time of the thread that calls it, an upper bound of what Python takes; faults are pages that the
system had to provide.
"""

from __future__ import annotations

import resource
import statistics
import time
from typing import NamedTuple

import click
import numpy as np

from benchmarks.speed import measure
from recsys.config import Model, Training
from recsys.model.encoding import Bags
from recsys.model.network import CausalCNN, resolve
from recsys.training.hardware import choose
from recsys.training.plan import fit_plan
from recsys.training.steps import make_optimizer, make_steps

USERS = 6_000


class Size(NamedTuple):
    """What is trained: items, width of the network, rows and length of a batch, steps a call."""

    name: str
    items: int
    width: int
    rows: int
    length: int
    steps: int


SIZES = (
    Size("trivial", 500, 8, 1, 512, 64),
    Size("built-in data", 500, 64, 1, 512, 64),
    Size("MovieLens 1M", 3_416, 128, 8, 512, 4),
)


@click.command()
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True)
@click.option("--xla", type=click.Choice(["on", "off"]), default="on", show_default=True)
def main(repeats: int, xla: str) -> None:
    """Measures medians of several calls."""
    hardware = choose(Training(xla=xla))  # type: ignore[arg-type]
    described = f"{measure.described()}; {hardware.precision}, XLA {'on' if hardware.xla else 'off'}"
    click.echo(f"`python -m benchmarks.speed.steps --repeats {repeats} --xla {xla}`; {described}.\n")
    columns = ("", "width", "positions a step", "ms a step", "positions/s", "host ms a step", "page faults a step")
    click.echo(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for size in SIZES:
        seconds, host, faults = _measured(size, repeats, hardware.precision, hardware.xla)
        positions = size.rows * size.length
        numbers = f"{1000 * seconds:.2f} | {positions / seconds:,.0f} | {1000 * host:.3f} | {faults:.1f}"
        click.echo(f"| {size.name} | {size.width} | {positions:,} | {numbers} |")


def _measured(size: Size, repeats: int, precision: str, xla: bool) -> tuple[float, float, float]:
    """Seconds, seconds of the host, and page faults, each of a step."""
    sizes = {"items": size.items, "item_codes": 60, "item_slots": 6, "item_numbers": 1}
    sizes |= {"user_codes": 30, "user_slots": 4, "user_numbers": 1}
    spec = resolve(Model(width=size.width), 1_000_000, sizes, seed=0)
    known = np.ones(size.items + 1, np.float32)
    codes, numbers = np.ones((size.items + 1, 6), np.int32), np.ones((size.items + 1, 1), np.float32)
    model = CausalCNN(spec, codes, numbers, known, dtype=precision)
    model.build()
    plan = fit_plan(Training(), 1_000_000, size.items, (size.rows, size.length), xla)
    optimizer = make_optimizer(plan, precision)
    optimizer.build(model.trainable_variables)
    steps = make_steps(model, optimizer, plan, Bags(np.ones((USERS, 4), np.int32), np.ones((USERS, 1), np.float32), 30))
    chunk, first, count = _chunk(size), np.array(0, np.int32), np.array(size.steps, np.int32)
    steps(chunk, first, count).numpy()
    costs = []
    for _ in range(repeats):
        before, started = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
        working = time.thread_time()
        steps(chunk, first, count).numpy()
        host, seconds = time.thread_time() - working, time.perf_counter() - started
        costs.append((seconds, min(host, seconds), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before))
    return tuple(statistics.median(values) / size.steps for values in zip(*costs, strict=True))  # type: ignore[return-value]


def _chunk(size: Size) -> dict[str, np.ndarray]:
    random, shape = np.random.default_rng(0), (size.steps, size.rows, size.length)
    whole = {name: random.integers(1, size.items, shape, np.int32) for name in ("item", "target")}
    whole |= {"gap": random.integers(0, 30, shape, np.int32), "user": random.integers(0, USERS, shape, np.int32)}
    place = np.broadcast_to(np.arange(size.length, dtype=np.int32), shape)
    return {**whole, "position": place, "rating": np.ones(shape, np.float32), "weight": np.ones(shape, np.float32)}


if __name__ == "__main__":
    main()
