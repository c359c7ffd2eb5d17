"""The train stage: features/ in, model/ out.

First the network learns from the training part and stops by the validation part: evaluated.keras, which evaluation measures.
Then it goes on from there on all events for a few epochs: model.keras and saved_model/, which recommendations are made with.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from recsys import storage
from recsys.config import Config
from recsys.contract import histories, model_files
from recsys.contract.features_info import FeaturesInfo, read_info
from recsys.contract.histories import Histories
from recsys.methods import serving
from recsys.model import encoding, network
from recsys.model.encoding import Encoder
from recsys.model.network import CausalCNN
from recsys.progress import Progress
from recsys.training import checkpoint, negatives, packing
from recsys.training.cluster import Member
from recsys.training.hardware import Hardware, choose
from recsys.training.loop import VALIDATED, Session, fit
from recsys.training.plan import Plan, batch_shape, cold_start_share, fit_plan, refit_plan, sample_size
from recsys.training.workers import ALONE, Workers, lost_workers

Rows = list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What both phases of training read: the configuration, features.json, the encoder, the hardware, and who takes part."""

    config: Config
    features: str
    info: FeaturesInfo
    encoder: Encoder
    hardware: Hardware
    workers: Workers = ALONE


def train(
    config: Config, features: str, folder: str, progress: Progress, stopped: Callable[[], bool], member: Member = ALONE.member
) -> dict[str, Any]:
    """Runs the stage; goes on from a checkpoint in `folder` if there is one.

    Args:
        config: the configuration.
        features: folder of the finished features.
        folder: where the models, history.csv, model.json and _SUCCESS go.
        progress: for people.
        stopped: whether the process has been asked to end.
        member: which one it is of the processes that train together. All of them see the same features and folder.

    Returns:
        What model.json holds: hardware, sizes, epochs, best validation score. Empty for others than the chief.

    Raises:
        ConfigError: there are more processes than rows in a batch.
        RetryError: one of the processes was asked to end, or is gone; the same command goes on.
    """
    hardware = choose(config.training)
    with lost_workers(member):
        return _train(config, features, folder, progress, stopped, hardware, Workers(member))


def _train(
    config: Config,
    features: str,
    folder: str,
    progress: Progress,
    stopped: Callable[[], bool],
    hardware: Hardware,
    workers: Workers,
) -> dict[str, Any]:
    if hardware.warning:
        progress(f"  warning: {hardware.warning}")
    info = read_info(features)
    inputs = Inputs(config, features, info, encoding.make_encoder(features, info.evaluated), hardware, workers)
    model = build(inputs)
    progress(f"  {', '.join(hardware.names)}: {hardware.precision} ({hardware.reason}), XLA {'on' if hardware.xla else 'off'}")
    progress(
        f"  {model.count_params():,} parameters, width {model.spec.width}, receptive field {model.spec.receptive_field} events"
    )
    sampled = sample_size(config.training, info.items)
    progress(f"  softmax over {f'{sampled:,} drawn' if sampled else 'all'} of {info.items:,} items")
    storage.create_folder(folder)
    held_out = info.split.method != "none"
    rows: Rows = []
    if held_out:
        rows = _fit_on_training_part(inputs, model, folder, progress, stopped)
        model = serving.load(
            storage.join(folder, model_files.EVALUATED)
        )  # also without an interruption, so that both end alike
    if not held_out or config.training.refit_epochs != 0:
        rows = _fit_on_everything(inputs, model, folder, rows, progress, stopped)
    summary = _finish(inputs, model, folder, rows) if workers.member.chief else {}
    workers.barrier()
    return summary


def _finish(inputs: Inputs, model: CausalCNN, folder: str, rows: Rows) -> dict[str, Any]:
    serving.save(model, storage.join(folder, model_files.PUBLISHED))
    serving.save_for_serving(model, storage.join(folder, model_files.SAVED_MODEL), inputs.encoder)
    _write_rows(folder, rows)
    summary = {
        "hardware": dataclasses.asdict(inputs.hardware),
        "workers": inputs.workers.member.count,
        "network": dataclasses.asdict(model.spec),
        "parameters": int(model.count_params()),
        "negatives": sample_size(inputs.config.training, inputs.info.items),
        "epochs": len(rows),
        "best_valid_ndcg@10": max((row["ndcg@10"] for row in rows if "ndcg@10" in row), default=None),
        "blend": storage.read_json(storage.join(folder, model_files.BLEND)),
    }
    storage.write_json(storage.join(folder, model_files.MODEL), summary)
    checkpoint.remove(folder)
    storage.mark_success(folder)
    return summary


def build(inputs: Inputs) -> CausalCNN:
    """A new network of the size that the data call for."""
    info, users = inputs.info, inputs.encoder.users
    items = encoding.item_bags(inputs.features, info.evaluated)
    sizes = {
        "items": info.items,
        "item_codes": items.size,
        "item_slots": items.codes.shape[1],
        "item_numbers": items.numbers.shape[1],
        "user_codes": users.size,
        "user_slots": users.codes.shape[1],
        "user_numbers": users.numbers.shape[1],
    }
    spec = network.resolve(inputs.config.model, info.train_events, sizes, inputs.config.seed)
    model = CausalCNN(spec, items.codes, items.numbers, dtype=inputs.hardware.precision)
    model.build()
    return model


def _fit_on_training_part(
    inputs: Inputs, model: CausalCNN, folder: str, progress: Progress, stopped: Callable[[], bool]
) -> Rows:
    """Trains with early stopping, then chooses the blend's weights; both from the validation part."""
    from recsys.methods.cnn import NetworkScorer

    config, info = inputs.config, inputs.info
    weights_file = storage.join(folder, model_files.BLEND)
    if storage.exists(weights_file):  # written last
        return _read_rows(folder)
    everything = histories.learnable(histories.read(inputs.features), info.min_user_events)
    counts = encoding.item_counts(inputs.features, info)
    model.item_known.assign((counts > 0).astype(np.float32))
    scorer = NetworkScorer(model, inputs.encoder)
    shape = batch_shape(config.training, info.train_events)
    plan = fit_plan(config.training, _positions(inputs, info.train_events), info.items, shape, inputs.hardware.xla)
    session = Session(
        epoch_data=epoch_data(inputs, shape, lambda block: block.train_length, config.seed, plan, counts),
        validate=_validator(inputs, scorer, everything),
        checkpoints=folder,
        stopped=stopped,
        progress=progress,
        workers=inputs.workers,
    )
    rows = fit(model, plan, session, []).rows
    if inputs.workers.member.chief:
        _finish_fit(inputs, model, scorer, everything, folder, rows, progress)
    inputs.workers.barrier()
    return rows


def _finish_fit(
    inputs: Inputs, model: CausalCNN, scorer: Any, everything: Histories, folder: str, rows: Rows, progress: Progress
) -> None:
    from recsys.measure import protocol
    from recsys.methods import blend

    config, info = inputs.config, inputs.info
    scorer.refresh()
    counted = blend.count(everything.head(everything.train_length), info.items, config.seed)
    weights = blend.tune(scorer, counted, everything, info.items, config.seed, protocol.decisive_from(info.split))
    progress("  blend: " + ", ".join(f"{name} {value:g}" for name, value in dataclasses.asdict(weights).items()))
    serving.save(model, storage.join(folder, model_files.EVALUATED))
    _write_rows(folder, rows)
    checkpoint.remove(folder)
    storage.write_json(storage.join(folder, model_files.BLEND), dataclasses.asdict(weights))


def _fit_on_everything(
    inputs: Inputs, model: CausalCNN, folder: str, rows: Rows, progress: Progress, stopped: Callable[[], bool]
) -> Rows:
    """A few epochs more on all events; or, where the split holds nothing out, all epochs."""
    from recsys.methods import blend

    config, events, items = inputs.config, inputs.info.events, inputs.info.items
    positions = _positions(inputs, events)
    counts = encoding.item_counts(inputs.features, inputs.info, whole=True)
    model.item_known.assign((counts > 0).astype(np.float32))
    shape = batch_shape(config.training, events)
    if rows:
        plan = refit_plan(config.training, positions, items, shape, inputs.hardware.xla, rows)
    else:
        plan = fit_plan(config.training, positions, items, shape, inputs.hardware.xla)
        if inputs.workers.member.chief:
            storage.write_json(storage.join(folder, model_files.BLEND), dataclasses.asdict(blend.Weights()))
    session = Session(
        epoch_data=epoch_data(inputs, shape, lambda block: block.lengths, config.seed + 1, plan, counts),
        validate=None,
        checkpoints=folder,
        stopped=stopped,
        progress=progress,
        workers=inputs.workers,
    )
    return fit(model, plan, session, rows).rows


def epoch_data(
    inputs: Inputs,
    shape: tuple[int, int],
    part: Callable[[Histories], np.ndarray],
    seed: int,
    plan: Plan,
    counts: np.ndarray,
) -> Callable[[int, int], Any]:
    """The batches of an epoch from a step on, of the given part of each history, with negatives where the plan has any.

    Args:
        inputs: features and encoder.
        shape: rows and length of a batch.
        part: length of the part of each history that is learned.
        seed: of the order and of the negatives.
        plan: says how many negatives.
        counts: int64 [items + 1], events of each item in that part.
    """
    import tensorflow as tf

    drawn_from, count, member = negatives.proposal(counts), plan.negatives, inputs.workers.member

    def learned(users: Histories) -> Histories:
        block = histories.learnable(users, inputs.info.min_user_events)
        return block.head(part(block))

    def batches(epoch: int, first: int) -> Iterator[packing.Arrays]:
        share = _cold_starts(inputs)
        whole = packing.training_batches(inputs.features, inputs.encoder, learned, *shape, seed, epoch, share)
        for step, batch in enumerate(itertools.islice(whole, first, None), first):
            full = negatives.with_negatives(batch, drawn_from, count, seed, epoch, step) if count else batch
            yield packing.part_of(full, member)

    more = negatives.signature(shape[0] * shape[1], count) if count else {}
    if member.count > 1:
        more["total"] = tf.TensorSpec([], tf.float32)
    own = member.rows(shape[0])
    part_shape = (own.stop - own.start, shape[1])
    return lambda epoch, first: packing.dataset(lambda: batches(epoch, first), *part_shape, inputs.encoder.users, more)


def _positions(inputs: Inputs, events: int) -> int:
    return round(events * (1 + _cold_starts(inputs)))


def _cold_starts(inputs: Inputs) -> float:
    return cold_start_share(inputs.config.training, inputs.info.train_events, inputs.info.split.method)


def _validator(inputs: Inputs, scorer: Any, everything: Histories) -> Callable[[], dict[str, float]]:
    from recsys.measure.protocol import decisive_from, evaluate

    since = decisive_from(inputs.info.split)

    def validate() -> dict[str, float]:
        scorer.refresh()
        limit, seed = inputs.config.evaluation.max_users, inputs.config.seed
        items = inputs.info.items
        result = evaluate(scorer, everything, "valid", items, ks=(10,), max_users=limit, seed=seed, since=since)
        return {name: float(result.per_user[name].mean()) if len(result.per_user[name]) else 0.0 for name in VALIDATED}

    return validate


def _write_rows(folder: str, rows: Rows) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(rows)
    with storage.atomic_output(storage.join(folder, model_files.HISTORY)) as stream:
        stream.write(text.getvalue().encode())


def _read_rows(folder: str) -> Rows:
    system, path = storage.resolve(storage.join(folder, model_files.HISTORY))
    with system.open_input_stream(path) as stream:
        rows = csv.DictReader(io.StringIO(stream.read().decode()))
        return [{name: _number(value) for name, value in row.items() if value != ""} for row in rows]


def _number(text: str) -> Any:
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        return text
