"""Rules for the Pod of every Job, beyond the schemas. Each rule yields what is wrong, in words."""

from __future__ import annotations

import inspect
import itertools
import tomllib
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any

from recsys import settings
from recsys.config import Config
from recsys.errors import ConfigError
from recsys.run.ending import leave_last_words
from recsys.run.job import STAGES
from tests.k8s.rendered import Resource, job_spec, of_kind, quantity

IMAGE_USER = 10001
"""USER of every Dockerfile."""
GPU = "nvidia.com/gpu"
LATER_STAGES = STAGES[1:]
CHECKPOINT_SECONDS = 60
"""Upper bound for saving a checkpoint on slow storage."""
LAST_WORDS = inspect.signature(leave_last_words).parameters["path"].default
VOLUMES_ALLOWED = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
"""Required by Pod Security `restricted`."""
SECRET_WORDS = ("secret", "password", "passwd", "token", "credential", "access_key", "api_key", "private_key", "account_key")


def check_pod(pod: Resource, resources: list[Resource]) -> Iterator[str]:
    """Everything wrong with a Pod spec, given the resources rendered with it."""
    for rule in _RULES:
        yield from rule(pod, resources)


def _security(pod: Resource, _: list[Resource]) -> Iterator[str]:
    shared = pod.get("securityContext", {})
    if shared.get("runAsUser") != IMAGE_USER or shared.get("fsGroup") != IMAGE_USER:
        yield f"runAsUser and fsGroup must be {IMAGE_USER}, the user of the image"
    if shared.get("runAsNonRoot") is not True:
        yield "runAsNonRoot must be true"
    if shared.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "seccompProfile must be RuntimeDefault"
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            yield f"{name} is not allowed"
    for container in _containers(pod):
        own = container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
            yield "privileges may be gained: allowPrivilegeEscalation must be false"
        if own.get("capabilities", {}) != {"drop": ["ALL"]}:
            yield "capabilities must be dropped, all of them"
        if own.get("readOnlyRootFilesystem") is not True:
            yield "readOnlyRootFilesystem must be true"
        if {"runAsUser", "runAsNonRoot", "seccompProfile"} & set(own):
            yield "user and seccompProfile are those of the Pod, not of a container"


def _identity(pod: Resource, resources: list[Resource]) -> Iterator[str]:
    if pod.get("automountServiceAccountToken") is not (pod.get("serviceAccountName") in bound_accounts(resources)):
        yield "automountServiceAccountToken must be false, but for the account that a Role is bound to"
    accounts = {account["metadata"]["name"]: account for account in of_kind(resources, "ServiceAccount")}
    account = accounts.get(pod.get("serviceAccountName", "default"))
    if account is None:
        yield f"serviceAccountName {pod.get('serviceAccountName')!r} is not there"
    elif account.get("automountServiceAccountToken") is not False:
        yield "automountServiceAccountToken of the ServiceAccount must be false"
    if pod.get("enableServiceLinks") is not False:
        yield "enableServiceLinks must be false"


def bound_accounts(resources: list[Resource]) -> set[str]:
    """Names of the ServiceAccounts that have rights."""
    return {subject["name"] for one in of_kind(resources, "RoleBinding") for subject in one.get("subjects", [])}


def _ending(pod: Resource, _: list[Resource]) -> Iterator[str]:
    if pod.get("restartPolicy") != "Never":
        yield "restartPolicy must be Never: the Job makes a new Pod"
    if pod.get("terminationGracePeriodSeconds", 30) <= CHECKPOINT_SECONDS:
        yield f"terminationGracePeriodSeconds must be more than {CHECKPOINT_SECONDS}, which a checkpoint may take"
    for container in _containers(pod):
        if container.get("terminationMessagePath") != LAST_WORDS:
            yield f"terminationMessagePath must be {LAST_WORDS}, where recsys leaves its last words"
        if container.get("terminationMessagePolicy") != "FallbackToLogsOnError":
            yield "terminationMessagePolicy must be FallbackToLogsOnError"


def _volumes(pod: Resource, resources: list[Resource]) -> Iterator[str]:
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    mounts = [mount for container in _containers(pod) for mount in container.get("volumeMounts", [])]
    for name in sorted({mount["name"] for mount in mounts} - set(volumes)):
        yield f"volume {name} is mounted and not there"
    for name in sorted(set(volumes) - {mount["name"] for mount in mounts}):
        yield f"volume {name} is not mounted"
    for name, volume in volumes.items():
        for kind in set(volume) - {"name"} - VOLUMES_ALLOWED:
            yield f"volume {name}: {kind} is not allowed"
        for kind, key, source in (
            ("ConfigMap", "name", volume.get("configMap")),
            ("PersistentVolumeClaim", "claimName", volume.get("persistentVolumeClaim")),
        ):
            if source and source[key] not in {resource["metadata"]["name"] for resource in of_kind(resources, kind)}:
                yield f"volume {name}: there is no {kind} {source[key]}"
        if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
            yield f"volume {name}: emptyDir without a sizeLimit"
    if "/tmp" not in {mount["mountPath"] for mount in mounts if not mount.get("readOnly")}:
        yield "nothing to write on at /tmp"


def _resources(pod: Resource, _: list[Resource]) -> Iterator[str]:
    for container in _containers(pod):
        requests, limits = (container.get("resources", {}).get(name, {}) for name in ("requests", "limits"))
        for name in ("cpu", "memory", "ephemeral-storage"):
            if name not in requests or name not in limits:
                yield f"{name} needs a request and a limit"
        for name in sorted(set(requests) & set(limits)):
            if quantity(requests[name]) > quantity(limits[name]):
                yield f"{name}: the request {requests[name]} is greater than the limit {limits[name]}"
        if requests.get("memory") != limits.get("memory"):
            yield "memory: request and limit must be equal, since Spark's heap follows the limit"
        for medium, name in (("", "ephemeral-storage"), ("Memory", "memory")):
            directories = [volume["emptyDir"] or {} for volume in pod.get("volumes", []) if "emptyDir" in volume]
            sizes = [quantity(one.get("sizeLimit", 0)) for one in directories if one.get("medium", "") == medium]
            if name in limits and sum(sizes) > quantity(limits[name]):
                yield f"{name}: emptyDir volumes may take more than the limit {limits[name]}"


def _gpu(pod: Resource, _: list[Resource]) -> Iterator[str]:
    asked = any(GPU in container.get("resources", {}).get("limits", {}) for container in _containers(pod))
    tolerated = any(toleration.get("key") == GPU for toleration in pod.get("tolerations", []))
    shared = [m for c in _containers(pod) for m in c.get("volumeMounts", []) if m["mountPath"] == "/dev/shm"]
    if asked and not (tolerated and pod.get("nodeSelector") and shared):
        yield f"{GPU} needs a toleration, a nodeSelector and a volume at /dev/shm"
    if not asked and (pod.get("tolerations") or pod.get("nodeSelector") or shared):
        yield "tolerations, nodeSelector and /dev/shm are for Pods with a GPU alone"


def _secrets(pod: Resource, _: list[Resource]) -> Iterator[str]:
    for container in _containers(pod):
        for variable in container.get("env", []):
            if "value" in variable and any(word in variable["name"].lower() for word in SECRET_WORDS):
                yield f"{variable['name']} stands in the manifest: take it from a Secret, or use workload identity"


def _written_out(pod: Resource, _: list[Resource]) -> Iterator[str]:
    """What the API server would fill in: left out, client-side and server-side apply conflict over it."""
    for container in _containers(pod):
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {})
            if "fieldRef" in source and source["fieldRef"].get("apiVersion") != "v1":
                yield f"{variable['name']}: fieldRef needs apiVersion v1"
            if "resourceFieldRef" in source and source["resourceFieldRef"].get("divisor") != "0":
                yield f'{variable["name"]}: resourceFieldRef needs divisor "0"'


def _image(pod: Resource, _: list[Resource]) -> Iterator[str]:
    for container in _containers(pod):
        image = container["image"].rsplit("/", 1)[-1]
        if "@sha256:" not in image and (":" not in image or image.endswith(":latest")):
            yield f"image {container['image']} needs a tag that is not latest, or a digest"


def _settings(pod: Resource, resources: list[Resource]) -> Iterator[str]:
    """The configuration file exists, is valid, and its output is writable."""
    container = _containers(pod)[0]
    arguments = container.get("args", [])
    if arguments[:1] and arguments[0] in LATER_STAGES:
        yield from _later_stage(container, resources)
        return
    if "--config" not in arguments[:-1]:
        yield "no --config among the args"
        return
    path = PurePosixPath(arguments[arguments.index("--config") + 1])
    mounts = {mount["mountPath"]: mount for mount in container.get("volumeMounts", [])}
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    name = volumes.get(mounts.get(str(path.parent), {}).get("name"), {}).get("configMap", {}).get("name")
    maps = {resource["metadata"]["name"]: resource["data"] for resource in of_kind(resources, "ConfigMap")}
    text = maps.get(name, {}).get(path.name)
    if text is None:
        yield f"{path} is in no ConfigMap"
        return
    try:
        tree = tomllib.loads(text)
        settings.from_dict(Config, tree)
    except (ConfigError, tomllib.TOMLDecodeError) as error:
        yield f"{path}: {error}"
        return
    output = PurePosixPath(tree.get("output", "out"))
    if not any(PurePosixPath(mount) in output.parents and not mounts[mount].get("readOnly") for mount in mounts):
        yield f"{path}: output {output} is on no volume that can be written"
    demanded = tree.get("training", {}).get("device")
    if (GPU in container.get("resources", {}).get("limits", {})) != (demanded == "gpu"):
        yield f"{path}: training.device is {demanded}, which does not fit the Pod's resources"


def _later_stage(container: Resource, resources: list[Resource]) -> Iterator[str]:
    """A single stage continues the run that the features Job begins, and waits for what it needs."""
    arguments = container["args"]
    given = dict(itertools.pairwise(arguments))
    outputs = {tomllib.loads(one["data"].get("recsys.toml", "")).get("output") for one in of_kind(resources, "ConfigMap")}
    if given.get("--output") not in outputs:
        yield f"--output {given.get('--output')} is not that of recsys.toml: {outputs}"
    begun = [job_spec(job)["template"]["spec"]["containers"][0].get("args", []) for job in of_kind(resources, "Job")]
    names = [dict(itertools.pairwise(one)).get("--run-id") for one in begun if one[:1] == ["features"]]
    if "--run-id" not in given or [given["--run-id"]] != names:
        yield f"--run-id {given.get('--run-id')} is not that of the one Job for the features: {names}"


def _containers(pod: Resource) -> list[dict[str, Any]]:
    return [*pod.get("containers", []), *pod.get("initContainers", [])]


_RULES: tuple[Callable[[Resource, list[Resource]], Iterator[str]], ...] = (
    _security,
    _identity,
    _ending,
    _volumes,
    _resources,
    _gpu,
    _secrets,
    _image,
    _written_out,
    _settings,
)
