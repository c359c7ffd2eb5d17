"""Rules for stages that run as separate Jobs: indexed Jobs, Spark executors, and RBAC."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

import yaml

from recsys.errors import ConfigError
from recsys.recommend import shards
from recsys.training.cluster import member
from tests.k8s.pods import bound_accounts, check_pod
from tests.k8s.rendered import Resource, job_spec, of_kind, pod_spec

PODS_ALONE = {"create", "get", "list", "watch", "delete", "deletecollection"}
"""Verbs that Spark needs to manage its executors."""
INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
EXECUTOR_IS_NO_JOB = ("no --config among the args", "memory needs a request", "cpu needs a request")
"""Spark sets arguments, memory and cores itself."""


def check_rights(resources: list[Resource]) -> Iterator[str]:
    """Only rights to Pods in the own namespace, bound to one account that exactly one Job uses."""
    for one in of_kind(resources, "ClusterRole", "ClusterRoleBinding"):
        yield f"{one['kind']}/{one['metadata']['name']}: rights end at the namespace"
    for role in of_kind(resources, "Role"):
        for rule in role["rules"]:
            if rule.get("apiGroups") != [""] or rule.get("resources") != ["pods"] or not set(rule["verbs"]) <= PODS_ALONE:
                yield f"Role/{role['metadata']['name']}: more than {', '.join(sorted(PODS_ALONE))} of pods"
    roles = {role["metadata"]["name"] for role in of_kind(resources, "Role")}
    for binding in of_kind(resources, "RoleBinding"):
        reference = binding["roleRef"]
        if reference["kind"] != "Role" or reference["name"] not in roles:
            yield f"RoleBinding/{binding['metadata']['name']}: there is no Role {reference['name']}"
    for account in sorted(bound_accounts(resources)):
        users = [job for job in of_kind(resources, "Job") if pod_spec(job).get("serviceAccountName") == account]
        if len(users) != 1:
            yield f"ServiceAccount/{account}: {len(users)} Jobs have its rights, not one"


def check_indexed(resource: Resource, resources: list[Resource]) -> Iterator[str]:
    """All Pods of an indexed Job run at once; each knows its index and the count."""
    job, container = job_spec(resource), pod_spec(resource)["containers"][0]
    variables = {one["name"]: one for one in container.get("env", [])}
    count = job.get("completions", 1)
    if (count > 1) != (job.get("completionMode") == "Indexed") or job.get("parallelism", 1) != count:
        yield "completions and parallelism must be equal, and the Job Indexed where there are several"
    if count == 1:
        return
    index = variables.get("JOB_COMPLETION_INDEX", {}).get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
    if index != INDEX or next(iter(variables)) != "JOB_COMPLETION_INDEX":
        yield "JOB_COMPLETION_INDEX must be set before what uses it"
    if "--shard" in container["args"]:
        text = container["args"][container["args"].index("--shard") + 1]
        yield from _each_index(lambda number: shards.parse(text.replace("$(JOB_COMPLETION_INDEX)", number), {}), count)
    else:
        yield from _workers(resource, variables.get("TF_CONFIG", {}).get("value", ""), count, resources)


def _each_index(made: Callable[[str], object], count: int) -> Iterator[str]:
    """Every Pod gets its own part, and there are as many parts as Pods."""
    try:
        parts = [made(str(number)) for number in range(count)]
    except ConfigError as error:
        yield str(error)
        return
    found = {(getattr(part, "index", None), getattr(part, "count", None)) for part in parts}
    if found != {(number, count) for number in range(count)}:
        yield f"{count} Pods are not {count} parts: {sorted(map(str, parts))}"


def _workers(resource: Resource, text: str, count: int, resources: list[Resource]) -> Iterator[str]:
    """TF_CONFIG names the Pods as the Service does, on the Service's port, and the NetworkPolicy opens that port."""
    yield from _each_index(lambda number: member({"TF_CONFIG": text.replace("$(JOB_COMPLETION_INDEX)", number)}), count)
    template, labels = pod_spec(resource), job_spec(resource)["template"]["metadata"]["labels"]
    services = {one["metadata"]["name"]: one["spec"] for one in of_kind(resources, "Service")}
    service = services.get(template.get("subdomain", ""))
    if service is None or service.get("clusterIP") != "None" or not service.get("publishNotReadyAddresses"):
        yield "subdomain must be a Service without an address of its own, which publishes Pods that are not ready"
        return
    if not service["selector"].items() <= labels.items():
        yield "the Service does not select the Pods"
    ports = {port["port"] for port in service["ports"]}
    name, subdomain = resource["metadata"]["name"], template["subdomain"]
    wanted = [f"{name}-{number}.{subdomain}:{port}" for number in range(count) for port in ports]
    try:
        addresses = json.loads(text.replace("$(JOB_COMPLETION_INDEX)", "0"))["cluster"]["worker"]
    except (ValueError, KeyError, TypeError):
        return
    if addresses != wanted:
        yield f"TF_CONFIG names {addresses}, the Pods are {wanted}"
    opened = {
        port["port"]
        for policy in of_kind(resources, "NetworkPolicy")
        if policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
        for rule in policy["spec"].get("ingress", [])
        for port in rule.get("ports", [])
    }
    if opened != ports:
        yield f"the NetworkPolicy opens {sorted(opened)}, the Service has {sorted(ports)}"


def check_executors(
    config_map: Resource, resources: list[Resource], network: Callable[[Resource, list[Resource]], Iterator[str]]
) -> Iterator[str]:
    """Where Spark creates Pods: the template exists, is as restricted as any other Pod, and mounts the same output."""
    spark = tomllib.loads(config_map.get("data", {}).get("recsys.toml", "")).get("spark", {})
    if not spark.get("master", "").startswith("k8s://"):
        return
    conf = spark.get("conf", {})
    file = PurePosixPath(conf.get("spark.kubernetes.executor.podTemplateFile", "")).name
    if file not in config_map["data"]:
        yield "spark.kubernetes.executor.podTemplateFile is not in the ConfigMap"
        return
    pod = yaml.safe_load(config_map["data"][file])
    container = pod["spec"]["containers"][0]
    driver = next(job for job in of_kind(resources, "Job") if pod_spec(job)["containers"][0]["args"][0] == "features")
    theirs = pod_spec(driver)["containers"][0]
    if conf.get("spark.kubernetes.container.image") != theirs["image"]:
        yield f"executors run {conf.get('spark.kubernetes.container.image')}, the Job {theirs['image']}"
    container["image"] = theirs["image"]
    problems = [*check_pod(pod["spec"], resources), *network(pod["metadata"]["labels"], resources)]
    yield from (f"executors: {one}" for one in problems if not one.startswith(EXECUTOR_IS_NO_JOB))
    if _claim(pod["spec"], "/data") != _claim(pod_spec(driver), "/data"):
        yield "executors: what is mounted at /data is not what the driver has there"
    labels = job_spec(driver)["template"]["metadata"]["labels"]
    for policy in of_kind(resources, "NetworkPolicy"):
        chosen = policy["spec"]["podSelector"]["matchLabels"]
        if "ingress" in policy["spec"] and chosen.items() <= labels.items():
            opened = {str(port["port"]) for rule in policy["spec"]["ingress"] for port in rule.get("ports", [])}
            if opened != {conf.get("spark.driver.port"), conf.get("spark.blockManager.port")}:
                yield f"the NetworkPolicy opens {sorted(opened)}, which are not spark.driver.port and spark.blockManager.port"
            if not chosen.items() <= pod["metadata"]["labels"].items():
                yield "executors: the NetworkPolicy of the driver does not select them"


def _claim(pod: Resource, path: str) -> str | None:
    """Name of the claim that is mounted at a path."""
    names = [mount["name"] for mount in pod["containers"][0]["volumeMounts"] if mount["mountPath"] == path]
    claims = [one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"] if one["name"] in names]
    return claims[0] if claims else None
