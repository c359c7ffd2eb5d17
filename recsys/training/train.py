"""Trains the network: features/ in, the networks of model/ out.

It learns from what was held out only once that has served its purpose, in three phases:

    fit     on the training part, with early stopping by the validation part: validated.keras, for choosing the blend's weights
    refit   a few epochs more, on all events before the test: evaluated.keras, which evaluation measures
    final   a few more, on all events, with re-encoded features: model.keras and saved_model/, which recommend

If the split holds nothing out, there is only one network, fit on all events.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from recsys import storage
from recsys.contract import histories, model_files
from recsys.contract.features_info import Encoding
from recsys.contract.histories import Histories
from recsys.measure import protocol
from recsys.measure.targets import decisive_from, find_targets
from recsys.methods.cnn import Network, load_model, read_encoder, save_model
from recsys.methods.serving import save_for_serving
from recsys.model.encoding import Encoder
from recsys.model.network import CausalCNN
from recsys.progress import Progress, silent
from recsys.training import packing, records
from recsys.training.carrying import carry_over
from recsys.training.learner import Learner
from recsys.training.loop import METRICS, Session, fit
from recsys.training.phase import Setting, build, epoch_data, soft
from recsys.training.plan import Plan, batch_shape, fit_plan, on_hardware, refit_plan, sample_size, warm_plan

VALIDATION_USERS: Final = 8_192
"""Maximum number of users measured after each epoch, drawn once. If NDCG@10 spreads by .3 from user to user, as on MovieLens
1M, its standard error is .003."""
LEAST_USERS: Final = 100
"""If only new events are held out, training stops early by no fewer users: it would be chance which epoch is best."""


def train(setting: Setting, folder: str, progress: Progress, stopped: Callable[[], bool]) -> dict[str, Any]:
    """Trains all networks; after an interruption, resumes at the phase and step that were reached.

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
    given, info = _Context(setting, folder, progress, stopped), setting.info
    rows: records.Rows = []
    if info.split.holds_out:
        rows = _before_test(given, _fit(given))
    encoder = read_encoder(setting.features, info.published)
    model = _published_model(setting, encoder, folder, bool(rows))
    if not rows or setting.config.training.refit_epochs != 0:
        model, rows = _learn(given, "final" if rows else "fit", model, encoder, lambda block: block.lengths, rows)
    return _finish(setting, model, encoder, folder, rows)


def is_trained(setting: Setting, folder: str) -> bool:
    """Whether all epochs of all phases are done and saved, so that a single process can do what is left."""
    if storage.exists(storage.join(folder, model_files.MODEL)):
        return True
    if setting.info.split.holds_out and setting.config.training.refit_epochs == 0:
        return storage.exists(storage.join(folder, model_files.VALIDATED))
    at = setting.checkpoints(folder, silent).standing()
    return at is not None and at.done and at.phase == ("final" if setting.info.split.holds_out else "fit")


@dataclasses.dataclass
class _Context:
    """What train is given, for all phases, and the network that they share once there is one."""

    setting: Setting
    folder: str
    progress: Progress
    stopped: Callable[[], bool]
    learner: Learner | None = None

    def learned_by(self, model: CausalCNN, plan: Plan) -> Learner:
        """What trains a network: that of the phase before, if it can."""
        if self.learner is not None and self.learner.takes(model):
            self.learner.adopt(model)
        else:
            self.learner = Learner(model, plan, self.setting.workers)
        return self.learner

    def file(self, name: str) -> str:
        """Of the model folder."""
        return storage.join(self.folder, name)

    def keep(self, model: CausalCNN, name: str, rows: records.Rows) -> records.Rows:
        """Ends a phase: saves the rows so far, and the network, which says that the phase is over; removes its checkpoints."""
        self.setting.workers.barrier()  # all have seen that the network was not there yet
        if self.setting.workers.member.chief:
            records.write(self.folder, rows)
            save_model(model, self.file(name))
            self.setting.checkpoints(self.folder, silent).remove()
        self.setting.workers.barrier()
        return rows


def _fit(given: _Context) -> records.Rows:
    """Trains on the training part with early stopping: validated.keras."""
    if storage.exists(given.file(model_files.VALIDATED)):
        return records.read(given.folder, "fit")
    if given.setting.workers.member.chief and storage.exists(given.file(model_files.EVALUATED)):
        storage.delete_file(given.file(model_files.EVALUATED))  # does not come from the network that is trained now
    setting, info = given.setting, given.setting.info
    encoder = read_encoder(setting.features, info.evaluated)
    model = _begun(setting, info.evaluated, encoder)
    spec = model.spec
    given.progress(f"  {model.count_params():,} parameters, width {spec.width}, sees the last {spec.receptive_field} events")
    validate, part = _validator(setting, model, encoder, given.progress), lambda block: block.train_length
    model, rows = _learn(given, "fit", model, encoder, part, [], validate)
    return given.keep(model, model_files.VALIDATED, rows)


def _before_test(given: _Context, rows: records.Rows) -> records.Rows:
    """Learns the validation events too, as the counting methods do before they are measured: evaluated.keras.

    A warm start leaves that out: the validation events of a night are few, and the time it takes is not worth them.
    """
    if storage.exists(given.file(model_files.EVALUATED)):
        return records.read(given.folder, "fit", "refit")
    setting, info = given.setting, given.setting.info
    model = load_model(given.file(model_files.VALIDATED), setting.hardware.precision)
    if setting.config.training.refit_epochs != 0 and info.valid_events and setting.warm is None:
        encoder = read_encoder(setting.features, info.evaluated)
        model, rows = _learn(given, "refit", model, encoder, lambda block: block.valid_length, rows)
    return given.keep(model, model_files.EVALUATED, rows)


def _learn(
    given: _Context,
    phase: str,
    model: CausalCNN,
    encoder: Encoder,
    length: Callable[[Histories], np.ndarray],
    rows: records.Rows,
    validate: Callable[[], dict[str, float]] | None = None,
) -> tuple[CausalCNN, records.Rows]:
    """Trains on the first `length` events of each user: in the phase fit from the start, in the others on from the rows.

    Returns:
        The trained network, which may be another one than `model`, and the rows of history.csv.
    """
    setting, training, info, hardware = given.setting, given.setting.config.training, given.setting.info, given.setting.hardware
    whole, part = setting.whole(length), setting.part(length)
    counts = packing.item_counts(setting.features, info.items, whole)
    model.item_known.assign(np.maximum(model.item_known.numpy(), counts > 0))
    if phase == "fit" and setting.warm is None and model.spec.use_dates:
        model.set_periods(packing.day_counts(setting.features, whole))
    learned = counts if setting.warm is None else packing.item_counts(setting.features, info.items, part)
    events, seed = int(learned.sum()), setting.config.seed + (phase != "fit")
    shape, positions = batch_shape(training, events), round(events * (1 + setting.cold_starts))
    if phase != "fit":
        plan = refit_plan(training, positions, info.items, shape, records.used_xla(rows, hardware.xla), rows, phase)
    elif setting.warm is not None:
        plan = warm_plan(training, setting.config.refresh, positions, info.items, shape, hardware.xla)
    else:
        plan = fit_plan(training, positions, info.items, shape, hardware.xla, info.sparse)
    plan = on_hardware(plan, training, hardware, setting.workers.member, positions)
    learner = given.learned_by(model, plan)
    session = Session(
        users=encoder.users,
        epoch_data=epoch_data(setting, encoder, shape, part, seed, plan, counts),
        validate=validate,
        checkpoints=setting.checkpoints(given.folder, given.progress),
        stopped=given.stopped,
        progress=given.progress,
        workers=setting.workers,
        soft=soft(setting, shape, whole, seed, plan, learner.soft),
    )
    return learner.model, fit(learner, plan, session, rows)


def _begun(setting: Setting, encoding: Encoding, encoder: Encoder) -> CausalCNN:
    """The network before its first epoch: a new one, or the earlier one of a warm start."""
    model = build(setting, encoding, encoder)
    if setting.warm is not None:
        setting.warm.carry(model, setting.features, encoding)
    return model


def _published_model(setting: Setting, encoder: Encoder, folder: str, continued: bool) -> CausalCNN:
    """The network that recommends, before its last epochs: a new one, or the evaluated one with re-encoded features."""
    if not continued:
        return _begun(setting, setting.info.published, encoder)
    evaluated = load_model(storage.join(folder, model_files.EVALUATED), setting.hardware.precision)
    model = build(setting, setting.info.published, encoder, evaluated.spec.use_dates)  # it may be from before there were dates
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
    if info.split.since is not None and len(targets.rows) < LEAST_USERS:
        progress(f"  {len(targets.rows)} users have validation events, too few to stop early by: training runs for all epochs")
        return None
    if not setting.workers.member.chief:
        return dict
    network = Network(model, encoder, setting.hardware.blocks.scores)

    def validate() -> dict[str, float]:
        network.refresh()
        result = protocol.evaluate(network, everything, targets, info.items, ks=(10,))
        return {name: float(result.per_user[name].mean()) for name in METRICS}

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
