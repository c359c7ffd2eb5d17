"""Memory and time of training and scoring on a large catalogue: python benchmarks/large_catalogue.py [--help]"""

from __future__ import annotations

import platform
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys import storage
from recsys.config import Config, Model, Training
from recsys.contract import histories, schema
from recsys.contract.features_info import EncodedFeature, Encoding, FeaturesInfo, SplitInfo, read_info, write_info
from recsys.measure import protocol
from recsys.measure.targets import find_targets
from recsys.methods import blend
from recsys.methods.cnn import Network, read_encoder
from recsys.methods.weights import Weights
from recsys.training import packing
from recsys.training.hardware import choose
from recsys.training.learner import Learner
from recsys.training.phase import Setting, build, epoch_data
from recsys.training.plan import batch_shape, fit_plan
from recsys.training.steps import lookup_tables

FOLLOWS = 0.5
"""Probability that an event's item is the successor of the previous one; otherwise it is drawn by popularity."""
CATEGORIES = 1000
START = 1_700_000_000


@click.command()
@click.option("--items", default=1_000_000, show_default=True, help="Items in the catalogue.")
@click.option("--users", default=200_000, show_default=True, help="Users, each with 10 to 20 events.")
@click.option("--steps", default=200, show_default=True, help="Training steps.")
@click.option("--width", type=int, help="Width of the network. [default: as in the job]")
@click.option("--batch-tokens", type=int, help="Positions per step. [default: as in the job]")
@click.option("--negatives", type=int, help="Items drawn for each step; 0: full softmax. [default: as in the job]")
@click.option("--scored", default=1000, show_default=True, help="Users to rank the top 20 for.")
@click.option("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "gpu"]))
def main(
    items: int,
    users: int,
    steps: int,
    width: int | None,
    batch_tokens: int | None,
    negatives: int | None,
    scored: int,
    device: str,
) -> None:
    """Generates an event log, trains some steps on it, scores some users, and prints time and memory.

    Items are drawn by Zipf's law or follow one another. Seconds are wall time; CPU seconds are summed over all cores, and
    hardly depend on what else the machine is doing.
    """
    training = Training(batch_tokens=batch_tokens, negatives=negatives, device=device)  # type: ignore[arg-type]
    config = Config(model=Model(width=width), training=training)
    with tempfile.TemporaryDirectory() as features:
        write_features(features, users, items)
        info = read_info(features)
        hardware = choose(config.training)
        say(f"{', '.join(hardware.names)}; {platform.platform()}; {datetime.now(UTC):%Y-%m-%d}; {hardware.precision}")
        say(f"{info.events:,} events, {users:,} users, {items:,} items; peak so far {peak()}")
        setting = Setting(config, features, info, hardware)
        encoder, part = read_encoder(features, info.evaluated), setting.part(lambda block: block.train_length)
        model = build(setting, info.evaluated, encoder)
        counts = packing.item_counts(features, items, part)
        model.item_known.assign((counts > 0).astype(np.float32))
        say(f"{model.count_params():,} parameters, width {model.spec.width}; {np.count_nonzero(counts):,} items with events")

        shape = batch_shape(config.training, info.train_events)
        plan = fit_plan(config.training, info.train_events, items, shape, hardware.xla)
        run, tables = Learner(model, plan).steps(plan, None), lookup_tables(encoder.users)
        losses, started = [], clocks()
        for chunk in epoch_data(setting, encoder, shape, part, config.seed, plan, counts)(0, 0):
            for number in range(min(int(chunk["steps"]), steps - len(losses))):
                losses.append(float(run(tables, chunk, np.array(number, np.int32), np.array(1, np.int32))[0]))
                if len(losses) == 1:
                    say(f"first step, including compilation: {since(started)}; peak so far {peak()}")
                    started = clocks()
            if len(losses) == steps:
                break
        positions, taken = shape[0] * shape[1], max(1, len(losses) - 1)
        drawn = f"{plan.negatives or 'all'} negatives"
        say(f"{len(losses)} steps of {positions:,} positions, {drawn}: {since(started, taken)} per step")
        say(f"loss {np.mean(losses[:10]):.3f} in the first ten steps, {np.mean(losses[-10:]):.3f} in the last ten")
        say(f"peak of training {peak()}; the logits of a full softmax alone: {gibibytes(4 * positions * (items + 1))} per step")

        everything, started = histories.read(features), clocks()
        scorer = Network(model, encoder)
        counted = blend.count(everything.head(everything.train_length), items, config.seed, over_time=True)
        say(f"item vectors and counts: {since(started)}; peak so far {peak()}")
        started = clocks()
        method = blend.Blend(scorer, counted, Weights())
        result = protocol.evaluate(method, everything, find_targets(everything, "valid", scored), items)
        say(f"top 20 of {len(result.top):,} users: {since(started)}; NDCG@10 {result.per_user['ndcg@10'].mean():.4f}")
        say(f"overall peak {peak()}")


def write_features(folder: str, users: int, items: int, seed: int = 0) -> None:
    """Writes features/ by the contract, leave-one-out: users with 10 to 20 events, items by descending popularity."""
    random = np.random.default_rng(seed)
    lengths = random.integers(10, 21, users)
    share = np.cumsum(1 / np.arange(1, items + 1))
    events = np.searchsorted(share / share[-1], random.random((users, 20)))
    for place in range(1, 20):
        follows = random.random(users) < FOLLOWS
        events[follows, place] = (events[follows, place - 1] * 7 + 1) % items
    kept = np.arange(20) < lengths[:, None]
    order = np.argsort(-np.bincount(events[kept], minlength=items), kind="stable")
    index = np.empty(items, np.int32)
    index[order] = np.arange(1, items + 1)
    flat, offsets = index[events[kept]], np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    times = START + 3600 * np.arange(20)[None] + random.integers(0, 10**6, (users, 1))
    values = [flat, np.ones(len(flat), np.float32), times[kept], np.zeros(len(flat), np.int32)]
    columns = [pa.array(np.arange(1, users + 1), pa.int32()), *(pa.ListArray.from_arrays(offsets, v) for v in values)]
    columns += [pa.array(lengths - 2, pa.int32()), pa.array(lengths - 1, pa.int32())]
    write(folder, schema.HISTORIES_DIR, pa.table(columns, schema=schema.HISTORIES))
    numbers = {schema.USERS_DIR: users, schema.ITEMS_DIR: items}
    for name, key, identity in (
        (schema.USERS_DIR, schema.USER_INDEX, schema.USER_ID),
        (schema.ITEMS_DIR, schema.ITEM_INDEX, schema.ITEM_ID),
    ):
        ids = np.arange(1, numbers[name] + 1)
        code = random.integers(0, CATEGORIES, numbers[name])
        write(folder, name, pa.table({key: ids.astype(np.int32), identity: ids, "category": code.astype(np.int32)}))
    feature = EncodedFeature("category", "categorical", CATEGORIES)
    encoding = Encoding(schema.USERS_DIR, schema.ITEMS_DIR, (feature,), (feature,), rating_mean=1.0, rating_std=1.0)
    info = FeaturesInfo(
        users=users,
        items=items,
        events=len(flat),
        train_events=int((lengths - 2).sum()),
        valid_events=users,
        test_events=users,
        train_users=users,
        train_items=items,
        skipped_users=0,
        min_user_events=1,
        max_history=int(lengths.max()),
        user_id_type="int64",
        item_id_type="int64",
        has_ratings=False,
        latest_timestamp=int(times.max()),
        latest_train_timestamp=int(times.max()),
        split=SplitInfo("leave-one-out"),
        evaluated=encoding,
        published=encoding,
        rejected={},
        options={},
    )
    write_info(folder, info)


def write(folder: str, name: str, table: pa.Table) -> None:
    """Writes one folder of features/."""
    storage.create_folder(storage.join(folder, name))
    pq.write_table(table, storage.join(folder, name, "part-00000.parquet"))


def clocks() -> tuple[float, float]:
    """Wall and CPU time, seconds."""
    return time.monotonic(), time.process_time()


def since(started: tuple[float, float], times: int = 1) -> str:
    """Wall and CPU seconds since then, divided by `times`."""
    wall, cpu = (now - then for now, then in zip(clocks(), started, strict=True))
    return f"{wall / times:.2f} s ({cpu / times:.2f} CPU s)"


def peak() -> str:
    """Peak resident memory of this process so far."""
    return gibibytes(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def gibibytes(size: int) -> str:
    """A human-readable size."""
    return f"{size / 2**30:.2f} GiB"


def say(line: str) -> None:
    """Prints a line immediately."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
