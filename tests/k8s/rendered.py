"""Renders overlays with kubectl or kustomize, and finds the Pods in them."""

from __future__ import annotations

import copy
import functools
import re
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = ("cpu", "gpu", "refresh", "distributed")
Resource = dict[str, Any]
JOBS = {"Job": ("spec",), "CronJob": ("spec", "jobTemplate", "spec")}
"""Path to the Job spec in each kind."""
_FACTORS = {
    "": 1,
    "m": Decimal("0.001"),
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}


def command() -> list[str] | None:
    """The command that renders a folder; None if neither tool is installed."""
    if shutil.which("kubectl"):
        return ["kubectl", "kustomize"]
    return ["kustomize", "build"] if shutil.which("kustomize") else None


def render(folder: Path) -> list[Resource]:
    """The resources of a kustomization."""
    program = command()
    assert program is not None, "neither kubectl nor kustomize is there"
    done = subprocess.run([*program, str(folder)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return [resource for resource in yaml.safe_load_all(done.stdout) if resource]


@functools.cache
def _overlay(name: str) -> list[Resource]:
    return render(ROOT / "k8s" / "overlays" / name)


def overlay(name: str) -> list[Resource]:
    """A copy of a rendered overlay that the test may break."""
    return copy.deepcopy(_overlay(name))


def of_kind(resources: list[Resource], *kinds: str) -> list[Resource]:
    """The resources of these kinds."""
    return [resource for resource in resources if resource.get("kind") in kinds]


def job_spec(resource: Resource) -> Resource:
    """The spec of a Job, of the Job itself or in a CronJob."""
    for key in JOBS[resource["kind"]]:
        resource = resource[key]
    return resource


def pod_spec(resource: Resource) -> Resource:
    """The spec of the Pod of a Job or CronJob."""
    spec: Resource = job_spec(resource)["template"]["spec"]
    return spec


def quantity(text: Any) -> Decimal:
    """A Kubernetes quantity as a number: 500m, 4Gi, "2".

    Raises:
        ValueError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([a-zA-Z]*)", str(text))
    if not found or found[2] not in _FACTORS:
        raise ValueError(f"{text!r} is no quantity")
    return Decimal(found[1]) * _FACTORS[found[2]]
