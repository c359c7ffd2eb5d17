"""Runs the whole job, and reads what it measured."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recsys.config import Config


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: the run's own folder
        manifest: run.json
        metrics: evaluation/metrics.json
    """

    folder: Path
    manifest: dict[str, Any]
    metrics: dict[str, Any]

    @property
    def minutes(self) -> float:
        """Wall time of all stages."""
        return sum(float(stage["seconds"]) for stage in self.manifest["stages"].values()) / 60

    @property
    def measured(self) -> str:
        """Hardware and date."""
        return f"{self.manifest['stages']['train']['hardware']['names'][0]}, {self.manifest['created_at'][:10]}"

    @property
    def method(self) -> str:
        """The published method."""
        return str(self.metrics["comparison"]["method"])

    def value(self, method: str, metric: str) -> float:
        """The mean over users of a method's metric."""
        return float(self.metrics["methods"][method]["metrics"][metric])

    def best_traditional(self, metric: str) -> str:
        """The traditional method with the greatest mean."""
        return max(Config().evaluation.baselines, key=lambda name: self.value(name, metric))


def run(output: Path, arguments: Sequence[object], changes: Sequence[str] = (), seed: int = 0) -> Run:
    """`recsys run` into `output`, unless a run has already been published there.

    Args:
        output: the folder for --output.
        arguments: the rest of the command line, above all the source.
        changes: SECTION.FIELD=VALUE.
        seed: of everything random.
    """
    if not (output / "latest.json").exists():
        recsys("run", *arguments, "--seed", seed, "--output", output, changes=["publish.must_beat=", *changes])
    return published(output)


def recsys(*arguments: object, changes: Sequence[str] = ()) -> None:
    """Runs the command with these arguments and a --set for each change."""
    settings = (part for change in changes for part in ("--set", change))
    subprocess.run([sys.executable, "-m", "recsys.cli", *map(str, arguments), *settings], check=True)


def published(output: Path) -> Run:
    """The published run of `output`."""
    return read((output / json.loads((output / "latest.json").read_text())["run"]).parent)


def read(folder: Path) -> Run:
    """The run in `folder`."""
    manifest, metrics = ((folder / name).read_text() for name in ("run.json", "evaluation/metrics.json"))
    return Run(folder, json.loads(manifest), json.loads(metrics))
