"""What each part of the method contributes: one change at a time, everything else at its default.

    python -m benchmarks.quality.ablations --data DATA --output out/ablations

Three tables: the network and its schedule, the terms of the blend, and the feature groups by kind of user.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Final

import click

from benchmarks.quality import job
from benchmarks.quality.job import Run
from benchmarks.quality.temporal import source
from recsys import settings
from recsys.config import Config
from recsys.contract import histories
from recsys.contract.features_info import read_info
from recsys.contract.model_files import EVALUATED, EVALUATED_BLEND
from recsys.measure import protocol
from recsys.measure.targets import find_targets
from recsys.methods.blend import Blend
from recsys.methods.cnn import Network, read_encoder

DATA, SPLIT = "ml-100k", "per-user-ratio"
RUN = "ablation"
NETWORK: Final = {
    "kernel size 5": ["model.kernel_size=5"],
    "dilations 1, 2": ["model.dilations=1,2"],
    "dilations 1, 2, 4, 8, 16, 32": ["model.dilations=1,2,4,8,16,32"],
    "feed-forward blocks, twice as wide": ["model.feed_forward=2"],
    "half the width": ["model.width=64"],
    "dropout .1": ["model.dropout=0.1"],
    "label smoothing .1": ["training.label_smoothing=0.1"],
    "the next event alone": ["training.horizon=1"],
    "nothing of other histories": ["training.transition_smoothing=0"],
    "neither": ["training.horizon=1", "training.transition_smoothing=0"],
    "learning rate 4e-3": ["training.learning_rate=0.004"],
    "sampled softmax, 512 negatives": ["training.negatives=512"],
}
FEATURES: Final = {
    "ratings": ["model.use_ratings=false"],
    "time gaps": ["model.use_time_gaps=false"],
    "user features": ["model.use_user_features=false"],
    "item features": ["model.use_item_features=false"],
    "all four": [f"model.use_{name}=false" for name in ("ratings", "time_gaps", "user_features", "item_features")],
}
TERMS: Final = {
    "transitions": {"transitions": 0.0, "transitions_many": 0.0},
    "taste": {"taste": 0.0, "taste_many": 0.0},
    "popularity": {"recent": 0.0, "share": 0.0, "age": 0.0, "idle": 0.0},
}
SLICED: Final = {("ml-100k", "global-time"): list(FEATURES), ("amazon", "global-time"): ["item features"]}
"""Which feature groups are left out, one at a time, for which data and split."""


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True, help="Has ml-100k.zip and amazon/.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("out/ablations"), show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(data: Path, output: Path, seed: int) -> None:
    """Measures every variant; popularity is the only baseline, to save time."""
    output.mkdir(parents=True, exist_ok=True)

    def measured(name: str, split: str, variant: str, changes: list[str]) -> Run:
        features = output / f"{name}-{split}"
        if not (features / "runs").exists():
            job.recsys("features", *source(name, data, output), "--split", split, "--seed", seed, *_run(features))
        folder = output / f"{features.name}-{variant.replace(' ', '-').replace(',', '')}"
        if not folder.exists():
            shutil.copytree(features, folder)
        job.recsys("train", *_run(folder), changes=changes)
        job.recsys("evaluate", *_run(folder), changes=["evaluation.baselines=popularity"])
        return job.read(folder / "runs" / RUN)

    reference = measured(DATA, SPLIT, "as built", [])
    variants = {name: measured(DATA, SPLIT, name, changes) for name, changes in NETWORK.items()}
    click.echo(network_table(reference, variants) + "\n")
    click.echo(blend_table(reference) + "\n")
    for case, groups in SLICED.items():
        less = {name: measured(*case, name, FEATURES[name]) for name in groups}
        click.echo(slice_table(f"{case[0]}, {case[1]}", measured(*case, "as built", []), less) + "\n")


def _run(output: Path) -> list[object]:
    return ["--output", output, "--run-id", RUN]


def network_table(reference: Run, variants: dict[str, Run]) -> str:
    """Test NDCG@10 of the blend and of `cnn`, and minutes of training."""
    lines = [f"{DATA}, {SPLIT}; {reference.measured}.", ""]
    lines += ["| changed | `blend` | `cnn` | minutes of training |", "|---|---|---|---|"]
    for name, run in {"as built": reference, **variants}.items():
        minutes = run.manifest["stages"]["train"]["seconds"] / 60
        lines.append(f"| {name} | {run.value('blend', 'ndcg@10'):.4f} | {run.value('cnn', 'ndcg@10'):.4f} | {minutes:.1f} |")
    return "\n".join(lines)


def blend_table(run: Run) -> str:
    """Test NDCG@10 with one term of the blend left out, the other weights unchanged."""
    config = settings.from_dict(Config, run.manifest["config"])
    features, model = str(run.folder / "features"), run.folder / "model"
    info = read_info(features)
    events = histories.read_learnable(features, info.min_user_events)
    network = Network.load(str(model / EVALUATED), read_encoder(features, info.evaluated), "float32")
    whole = Blend.load(str(model / EVALUATED_BLEND), network)
    targets = find_targets(events, "test", seed=config.seed)
    lines = ["| without | NDCG@10 |", "|---|---|"]
    for name, zeros in {"nothing": {}, **TERMS}.items():
        method = Blend(network, whole.counts, dataclasses.replace(whole.weights, **zeros))
        found = protocol.evaluate(method, events, targets, info.items, ks=(10,))
        lines.append(f"| {name} | {found.per_user['ndcg@10'].mean():.4f} |")
    return "\n".join(lines)


def slice_table(title: str, whole: Run, less: dict[str, Run]) -> str:
    """Test NDCG@10 of `cnn` by the user's number of events before the cut, and its recall on new items."""
    slices = whole.metrics["methods"]["cnn"]["slices"]
    names = [f"{name} ({found['users']})" for name, found in slices.items()]
    lines = [title + ", `cnn`", "", "| without | " + " | ".join(names) + " | new items, R@10 |"]
    lines.append("|---" * (2 + len(names)) + "|")
    for label, run in {"nothing": whole, **less}.items():
        method = run.metrics["methods"]["cnn"]
        new = f"{method['new_items']['recall@10']:.4f}" if method["new_items"] else ""
        cells = " | ".join(f"{method['slices'][name]['ndcg@10']:.4f}" for name in slices)
        lines.append(f"| {label} | {cells} | {new} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
