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

from recsys import histories, storage
from recsys.config import Config
from recsys.histories import Histories
from recsys.model import network
from recsys.model.network import CausalCNN
from recsys.progress import Progress
from recsys.training import checkpoint, encoding, export, pipeline
from recsys.training.fit import Plan, Session, fit
from recsys.training.hardware import Hardware, choose
from recsys.training.pipeline import Encoder

MODEL_FILE = "model.json"
EVALUATED = "evaluated.keras"
PUBLISHED = "model.keras"
SAVED_MODEL = "saved_model"
HISTORY = "history.csv"


def train(config: Config, features: str, model_folder: str, progress: Progress, stopped: Callable[[], bool]) -> dict[str, Any]:
    """Runs the stage; goes on from a checkpoint in `model_folder` if there is one.

    Args:
        config: the configuration.
        features: folder of the finished features.
        model_folder: where the models, history.csv, model.json and _SUCCESS go.
        progress: for people.
        stopped: whether the process has been asked to end.

    Returns:
        What model.json holds: hardware, sizes, epochs, best validation score.

    Raises:
        RetryError: the process was asked to end; the same command goes on.
    """
    hardware = choose(config.training)
    import keras

    keras.utils.set_random_seed(config.seed)
    info = histories.read_info(features)
    xla = "on" if hardware.xla else "off"
    progress(f"training on {', '.join(hardware.names)}: {hardware.precision} ({hardware.reason}), XLA {xla}")
    encoder, model = build(config, features, info, hardware)
    progress(f"  {model.count_params():,} parameters, receptive field {model.spec.receptive_field} events")
    context = Context(config, features, model_folder, info, encoder, hardware, progress, stopped)
    rows: list[dict[str, Any]] = []
    summary: dict[str, Any] = {"hardware": dataclasses.asdict(hardware), "spec": dataclasses.asdict(model.spec)}
    evaluated = storage.join(model_folder, EVALUATED)
    held_out = info["split"]["method"] != "none"
    if held_out:
        if storage.exists(evaluated):
            model = export.load(evaluated)
            rows = _read_rows(model_folder)
        else:
            fitted = context.run(model, "fit", rows)
            export.save(model, evaluated)
            rows = fitted
            _write_rows(model_folder, rows)
            checkpoint.remove(model_folder)
    known = encoding.item_known(features, info, whole=True)
    if not held_out or config.training.refit_epochs != 0:
        model.item_known.assign(known)
        rows = context.run(model, "refit" if held_out else "fit", rows)
    export.save(model, storage.join(model_folder, PUBLISHED))
    export.save_for_serving(model, storage.join(model_folder, SAVED_MODEL), encoder)
    _write_rows(model_folder, rows)
    best = max((row["ndcg@10"] for row in rows if "ndcg@10" in row), default=None)
    summary |= {"parameters": int(model.count_params()), "epochs": len(rows), "best_valid_ndcg@10": best}
    storage.write_json(storage.join(model_folder, MODEL_FILE), summary)
    checkpoint.remove(model_folder)
    storage.mark_success(model_folder)
    return summary


def build(config: Config, features: str, info: dict[str, Any], hardware: Hardware) -> tuple[Encoder, CausalCNN]:
    """The encoder and a new network for the given features."""
    items = encoding.item_bags(features, info)
    encoder = make_encoder(features, info)
    sizes = {
        "items": info["items"],
        "item_codes": items.size,
        "item_slots": items.codes.shape[1],
        "item_numbers": items.numbers.shape[1],
        "user_codes": encoder.users.size,
        "user_slots": encoder.users.codes.shape[1],
        "user_numbers": encoder.users.numbers.shape[1],
    }
    spec = network.resolve(config.model, info["train_events"], sizes, config.seed)
    known = encoding.item_known(features, info)
    model = CausalCNN(spec, items.codes, items.numbers, known, dtype=hardware.precision)
    model.build()
    return encoder, model


def make_encoder(features: str, info: dict[str, Any]) -> Encoder:
    """The encoder for the given features."""
    return Encoder(encoding.user_bags(features, info), info["rating_mean"], info["rating_std"] or 1.0)


@dataclasses.dataclass(frozen=True)
class Context:
    """One stage's inputs, bundled for the two phases."""

    config: Config
    features: str
    folder: str
    info: dict[str, Any]
    encoder: Encoder
    hardware: Hardware
    progress: Progress
    stopped: Callable[[], bool]

    def run(self, model: CausalCNN, phase: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Trains one phase; returns the rows of history.csv so far."""
        whole = phase == "refit" or self.info["split"]["method"] == "none"
        least = self.info["min_user_events"]

        def part(block: Histories) -> np.ndarray:
            return np.where(block.lengths >= least, block.lengths if whole else block.train_length, 0)

        events = self.info["events"] if whole else self.info["train_events"]
        shape = batch_shape(self.config, events)
        plan = make_plan(self.config, self.hardware, phase, events, shape, rows)
        seed = self.config.seed + (1_000_003 if phase == "refit" else 0)

        def batches(epoch: int, first: int) -> Iterator[pipeline.Arrays]:
            whole_epoch = pipeline.training_batches(self.features, self.encoder, part, *shape, seed, epoch)
            return itertools.islice(whole_epoch, first, None)

        session = Session(
            epoch_data=lambda epoch, first: pipeline.dataset(lambda: batches(epoch, first), *shape, self.encoder.users),
            validate=None if whole else self._validator(model),
            checkpoints=self.folder,
            stopped=self.stopped,
            progress=self.progress,
        )
        return fit(model, plan, session, rows).rows

    def _validator(self, model: CausalCNN) -> Callable[[], dict[str, float]]:
        from recsys.evaluation.protocol import evaluate
        from recsys.recommend.score import NetworkScorer

        held_out = histories.read(self.features)
        scorer = NetworkScorer(model, self.encoder)

        def validate() -> dict[str, float]:
            limit, seed = self.config.evaluation.max_users, self.config.seed
            result = evaluate(scorer, held_out, "valid", self.info["items"], ks=(10,), max_users=limit, seed=seed)
            return {name: float(result.per_user[name].mean()) for name in ("ndcg@10", "hr@10")}

        return validate


def batch_shape(config: Config, events: int) -> tuple[int, int]:
    """Rows and length of a batch. The stated rule: about 256 steps an epoch, between 512 and 16,384 positions a step."""
    tokens = config.training.batch_tokens or int(2 ** np.clip(np.round(np.log2(max(1, events) / 256)), 9, 14))
    length = min(config.training.row_length, tokens)
    return max(1, tokens // length), length


def make_plan(
    config: Config, hardware: Hardware, phase: str, events: int, shape: tuple[int, int], rows: list[dict[str, Any]]
) -> Plan:
    """Epochs and learning rate of a phase.

    The stated rule: 16 epochs at a million events, more for fewer and fewer for more (the fourth root), between 4 and 40;
    the refit takes a quarter of the epochs that were best, at half the learning rate.
    """
    training = config.training
    epochs = training.epochs or int(np.clip(round(16 * (1e6 / max(1, events)) ** 0.25), 4, 40))
    rate = training.learning_rate
    if phase == "refit":
        scores = [row.get("ndcg@10", -1.0) for row in rows]
        best = int(np.argmax(scores)) + 1 if scores else epochs
        epochs = training.refit_epochs if training.refit_epochs is not None else max(1, round(best / 4))
        rate /= 2
    return Plan(
        phase=phase,
        epochs=epochs,
        steps=max(1, -(-events // (shape[0] * shape[1]))),
        learning_rate=rate,
        label_smoothing=training.label_smoothing,
        weight_decay=training.weight_decay,
        patience=training.patience or max(3, epochs // 4),
        xla=hardware.xla,
    )


def _write_rows(folder: str, rows: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(rows)
    with storage.atomic_output(storage.join(folder, HISTORY)) as stream:
        stream.write(text.getvalue().encode())


def _read_rows(folder: str) -> list[dict[str, Any]]:
    system, path = storage.resolve(storage.join(folder, HISTORY))
    with system.open_input_stream(path) as stream:
        rows = csv.DictReader(io.StringIO(stream.read().decode()))
        return [{name: _number(value) for name, value in row.items() if value != ""} for row in rows]


def _number(text: str) -> Any:
    try:
        return int(text) if text.lstrip("-").isdigit() else float(text)
    except ValueError:
        return text
