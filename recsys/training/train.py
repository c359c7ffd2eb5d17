"""Trains the network: features/ in, the networks of model/ out.

First it learns from the training part, with early stopping on the validation part: evaluated.keras, which evaluation measures.
Then it is refit on all events for a few epochs, with re-encoded features: model.keras and saved_model/, which recommend.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from recsys import storage
from recsys.contract import histories, model_files
from recsys.measure import protocol
from recsys.measure.targets import decisive_from, find_targets
from recsys.methods.cnn import Network, load_model, read_encoder, save_model
from recsys.methods.serving import save_for_serving
from recsys.model.encoding import Encoder
from recsys.model.network import CausalCNN
from recsys.progress import Progress, silent
from recsys.training import packing, records
from recsys.training.carrying import carry_over
from recsys.training.loop import VALIDATED, Session, fit
from recsys.training.phase import Setting, build, epoch_data, soft
from recsys.training.plan import (
    batch_shape,
    fit_plan,
    on_hardware,
    refit_plan,
    sample_size,
)

VALIDATION_USERS: Final = 8_192
"""Maximum number of users measured after each epoch, drawn once. If NDCG@10 spreads by .3 from user to user, as on MovieLens
1M, its standard error is .003."""


def train(setting: Setting, folder: str, progress: Progress, stopped: Callable[[], bool]) -> dict[str, Any]:
    """Trains both networks; after an interruption, resumes at the phase and step that were reached.

    Args:
        setting: what is read.
        folder: where the networks, history.csv and model.json go; `_SUCCESS` is left to the caller, who finishes the folder.
        progress: reports progress.
        stopped: whether the process has been asked to stop.

    Returns:
        The content of model.json: hardware, sizes, epochs, best validation score.

    Raises:
        ConfigError: there are more workers than rows in a batch.
        RetryError: a worker was asked to stop, or is gone; the same command resumes.
    """
    if storage.exists(storage.join(folder, model_files.MODEL)):  # written last
        return storage.read_json(storage.join(folder, model_files.MODEL))
    storage.create_folder(folder)
    _announce(setting, progress)
    rows: records.Rows = []
    if setting.info.split.holds_out:
        rows = _fit(setting, folder, progress, stopped)
    refitted = not rows or setting.config.training.refit_epochs != 0
    encoder = read_encoder(setting.features, setting.info.published)
    model = _published_model(setting, encoder, folder, bool(rows))
    if refitted:
        rows = _refit(setting, model, encoder, folder, rows, progress, stopped)
    return _finish(setting, model, encoder, folder, rows)


def is_trained(setting: Setting, folder: str) -> bool:
    """Whether all epochs of all phases are done and saved, so that a single process can do what is left."""
    if storage.exists(storage.join(folder, model_files.MODEL)):
        return True
    holds_out = setting.info.split.holds_out
    if holds_out and setting.config.training.refit_epochs == 0:
        return records.exist(folder)
    at = setting.checkpoints(folder, silent).standing()
    return at is not None and at.done and at.phase == ("refit" if holds_out else "fit")


def _fit(setting: Setting, folder: str, progress: Progress, stopped: Callable[[], bool]) -> records.Rows:
    """Trains on the training part with early stopping: evaluated.keras, and then history.csv."""
    if records.exist(folder):
        return [row for row in records.read(folder) if row["phase"] == "fit"]
    config, info = setting.config, setting.info
    encoder = read_encoder(setting.features, info.evaluated)
    model = build(setting, info.evaluated, encoder)
    spec = model.spec
    progress(f"  {model.count_params():,} parameters, width {spec.width}, sees the last {spec.receptive_field} events")
    part = setting.part(lambda block: block.train_length)
    counts = packing.item_counts(setting.features, info.items, part)
    model.item_known.assign((counts > 0).astype(np.float32))
    shape = batch_shape(config.training, info.train_events)
    positions = round(info.train_events * (1 + setting.cold_starts))
    plan = fit_plan(config.training, positions, info.items, shape, setting.hardware.xla, info.sparse)
    plan = on_hardware(plan, config.training, setting.hardware, setting.workers.member, positions)
    session = Session(
        users=encoder.users,
        epoch_data=epoch_data(setting, encoder, shape, part, config.seed, plan, counts),
        validate=_validator(setting, model, encoder, progress),
        checkpoints=setting.checkpoints(folder, progress),
        stopped=stopped,
        progress=progress,
        workers=setting.workers,
        soft=soft(setting, shape, part, config.seed, plan),
    )
    rows = fit(model, plan, session, [])
    if setting.workers.member.chief:
        save_model(model, storage.join(folder, model_files.EVALUATED))
        records.write(folder, rows)
        session.checkpoints.remove()
    setting.workers.barrier()
    return rows


def _refit(
    setting: Setting,
    model: CausalCNN,
    encoder: Encoder,
    folder: str,
    rows: records.Rows,
    progress: Progress,
    stopped: Callable[[], bool],
) -> records.Rows:
    """A few more epochs on all events; or all epochs, if the split holds nothing out."""
    config, info = setting.config, setting.info
    part = setting.part(lambda block: block.lengths)
    counts = packing.item_counts(setting.features, info.items, part)
    model.item_known.assign((counts > 0).astype(np.float32))
    shape = batch_shape(config.training, info.learned_events)
    positions = round(info.learned_events * (1 + setting.cold_starts))
    if rows:
        plan = refit_plan(config.training, positions, info.items, shape, records.used_xla(rows, setting.hardware.xla), rows)
    else:
        plan = fit_plan(config.training, positions, info.items, shape, setting.hardware.xla, info.sparse)
    plan = on_hardware(plan, config.training, setting.hardware, setting.workers.member, positions)
    session = Session(
        users=encoder.users,
        epoch_data=epoch_data(setting, encoder, shape, part, config.seed + 1, plan, counts),
        validate=None,
        checkpoints=setting.checkpoints(folder, progress),
        stopped=stopped,
        progress=progress,
        workers=setting.workers,
        soft=soft(setting, shape, part, config.seed + 1, plan),
    )
    return fit(model, plan, session, rows)


def _published_model(setting: Setting, encoder: Encoder, folder: str, continued: bool) -> CausalCNN:
    """The network that recommends, before the refit: a new one, or the evaluated one with re-encoded features."""
    model = build(setting, setting.info.published, encoder)
    if continued:
        evaluated = load_model(storage.join(folder, model_files.EVALUATED), setting.hardware.precision)
        carry_over(evaluated, model, setting.info.evaluated, setting.info.published)
    return model


def _validator(
    setting: Setting, model: CausalCNN, encoder: Encoder, progress: Progress
) -> Callable[[], dict[str, float]] | None:
    """Measures the network on the validation events; None if there are none. Only the chief calls it."""
    info, config = setting.info, setting.config
    everything = histories.read_learnable(setting.features, info.min_user_events)
    most = min(config.evaluation.max_users, VALIDATION_USERS)
    targets = find_targets(everything, "valid", most, config.seed, decisive_from(info.split))
    if not len(targets.rows):
        progress("  warning: no validation events; training runs for all epochs and keeps the last weights")
        return None
    if not setting.workers.member.chief:
        return dict
    network = Network(model, encoder, setting.hardware.blocks.scores)

    def validate() -> dict[str, float]:
        network.refresh()
        result = protocol.evaluate(network, everything, targets, info.items, ks=(10,))
        return {name: float(result.per_user[name].mean()) for name in VALIDATED}

    return validate


def _announce(setting: Setting, progress: Progress) -> None:
    hardware, items = setting.hardware, setting.info.items
    if hardware.warning:
        progress(f"  warning: {hardware.warning}")
    xla, same = "on" if hardware.xla else "off", "" if hardware.deterministic else "not "
    progress(f"  {', '.join(hardware.names)}: {hardware.precision} ({hardware.reason}), XLA {xla}, {same}deterministic")
    sampled = sample_size(setting.config.training, items)
    progress(f"  softmax over {f'{sampled:,} sampled' if sampled else 'all'} of {items:,} items")


def _finish(setting: Setting, model: CausalCNN, encoder: Encoder, folder: str, rows: records.Rows) -> dict[str, Any]:
    """Writes the published network, and model.json last."""
    summary = {
        "hardware": {
            **dataclasses.asdict(setting.hardware),
            "xla": records.used_xla(rows, setting.hardware.xla),
            "xla_step_ms": records.xla_milliseconds(rows),
        },
        "workers": rows[-1]["workers"],  # this process may be alone with the export
        "learning_rate": {row["phase"]: row["learning_rate"] for row in rows},  # as it ended: divergence halves it
        "network": dataclasses.asdict(model.spec),
        "parameters": int(model.count_params()),
        "negatives": sample_size(setting.config.training, setting.info.items),
        "epochs": len(rows),
        "best_valid_ndcg@10": max((row["ndcg@10"] for row in rows if "ndcg@10" in row), default=None),
    }
    if setting.workers.member.chief:
        save_model(model, storage.join(folder, model_files.PUBLISHED))
        save_for_serving(model, storage.join(folder, model_files.SAVED_MODEL), encoder)
        records.write(folder, rows)
        storage.write_json(storage.join(folder, model_files.MODEL), summary)
        setting.checkpoints(folder, silent).remove()
    setting.workers.barrier()
    return summary
