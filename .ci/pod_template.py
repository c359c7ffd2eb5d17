"""Turns rendered Jobs and CronJobs into Pods for `podman kube play`.

    kubectl kustomize OVERLAY | pod_template.py [IMAGE [NAME=VALUE …]]

The Pod is the template plus the ConfigMaps and claims; IMAGE replaces its image, NAME=VALUE adds to its environment.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import yaml

JOBS = {"Job": ("spec",), "CronJob": ("spec", "jobTemplate", "spec")}
CARRIED = ("ConfigMap", "PersistentVolumeClaim")


def pods(resources: Iterable[dict[str, Any]], image: str | None = None, *environment: str) -> list[dict[str, Any]]:
    """What podman needs: ConfigMaps and claims first, then one Pod for each Job and CronJob."""
    carried, found = [], []
    for resource in resources:
        if resource["kind"] in CARRIED:
            carried.append(resource)
        if resource["kind"] in JOBS:
            job = resource
            for key in JOBS[resource["kind"]]:
                job = job[key]
            template = job["template"]
            for container in template["spec"]["containers"]:
                container["image"] = image or container["image"]
                added = [dict(zip(("name", "value"), pair.split("=", 1), strict=True)) for pair in environment]
                container["env"] = [*container.get("env", ()), *added]
            metadata = {**template.get("metadata", {}), "name": resource["metadata"]["name"]}
            found.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
    return carried + found


if __name__ == "__main__":
    made = pods(filter(None, yaml.safe_load_all(sys.stdin)), *sys.argv[1:])
    if not any(resource["kind"] == "Pod" for resource in made):
        sys.exit("no Job and no CronJob among the resources")
    yaml.safe_dump_all(made, sys.stdout, sort_keys=False)
