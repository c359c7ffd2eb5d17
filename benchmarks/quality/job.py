"""Runs of the whole job with measured settings, and what they found."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


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
        """Hardware and day."""
        return f"{self.manifest['stages']['train']['hardware']['names'][0]}, {self.manifest['created_at'][:10]}"

    def value(self, method: str, metric: str) -> float:
        """The mean over users of a method's metric."""
        return float(self.metrics["methods"][method]["metrics"][metric])


def run(output: Path, arguments: Sequence[object], changes: Sequence[str] = (), seed: int = 0) -> Run:
    """`recsys run` into `output` unless it has been published there; nothing is learned after what is measured.

    Args:
        output: the folder for --output.
        arguments: more of the command line, the source above all.
        changes: SECTION.FIELD=VALUE.
        seed: of everything random.
    """
    if not (output / "latest.json").exists():
        settings = ["training.refit_epochs=0", "publish.must_beat=", *changes]
        command = [
            "run",
            *arguments,
            "--seed",
            seed,
            "--output",
            output,
            *(x for change in settings for x in ("--set", change)),
        ]
        subprocess.run([sys.executable, "-m", "recsys.cli", *map(str, command)], check=True)
    return read(output)


def read(output: Path) -> Run:
    """The published run of `output`."""
    manifest = output / json.loads((output / "latest.json").read_text())["run"]
    metrics = manifest.parent / "evaluation" / "metrics.json"
    return Run(manifest.parent, json.loads(manifest.read_text()), json.loads(metrics.read_text()))
