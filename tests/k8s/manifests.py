"""Rules for all rendered resources of an overlay together, beyond the schemas."""

from __future__ import annotations

import itertools
import re
import zoneinfo
from collections.abc import Callable, Iterator

from recsys import errors
from tests.k8s.distributed import check_executors, check_indexed, check_rights
from tests.k8s.pods import SECRET_WORDS, check_pod
from tests.k8s.rendered import JOBS, Resource, job_spec, of_kind, pod_spec

NAMESPACE = "recsys"
INSTANCE = "app.kubernetes.io/instance"
HASHED = re.compile(r".+-[a-z0-9]{10}")
TRY_AGAIN = {errors.EXIT_RETRY, errors.EXIT_TERMINATED}
"""Exit codes after which the same command may succeed or resume."""
GIVE_UP = set(errors.BY_EXIT_CODE) - TRY_AGAIN
RETRIES = 6
"""Pods that may fail before the Job does: together with --wait enough for a lock whose holder is about to be lost."""
CRON_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))


def check(resources: list[Resource]) -> list[str]:
    """Everything that is wrong, each as `Kind/name: what`; empty for good manifests."""
    found = [*_together(resources), *check_rights(resources)]
    for resource in resources:
        problems: list[str] = []
        if resource["kind"] in JOBS:
            problems += _job(job_spec(resource))
            problems += check_pod(pod_spec(resource), resources)
            problems += _network(job_spec(resource)["template"].get("metadata", {}).get("labels", {}), resources)
            problems += check_indexed(resource, resources)
            problems += _waiting(job_spec(resource))
        if resource["kind"] == "CronJob":
            problems += _timetable(resource["spec"])
        if resource["kind"] == "ConfigMap":
            problems += _config_map(resource)
            problems += check_executors(resource, resources, _network)
        if resource["kind"] in ("Secret", "Namespace"):
            problems.append("is made apart from the job, never by its manifests")
        found += [f"{resource['kind']}/{resource['metadata']['name']}: {problem}" for problem in problems]
    return found


def check_schedule(text: str) -> str | None:
    """What is wrong with a cron schedule of five fields; None if it parses."""
    fields = text.split()
    if len(fields) != len(CRON_FIELDS):
        return f"schedule {text!r} has {len(fields)} fields, not {len(CRON_FIELDS)}"
    for field, (name, low, high) in zip(fields, CRON_FIELDS, strict=True):
        for part in field.split(","):
            found = re.fullmatch(r"(?:\*|(\d+)(?:-(\d+))?)(?:/([1-9]\d*))?", part)
            first, last = (int(found[1] or low), int(found[2] or found[1] or high)) if found else (1, 0)
            if not low <= first <= last <= high:
                return f"schedule {text!r}: {part!r} is no {name}"
    return None


def _together(resources: list[Resource]) -> Iterator[str]:
    names = [(resource["kind"], resource["metadata"]["name"]) for resource in resources]
    for kind, name in sorted({one for one in names if names.count(one) > 1}):
        yield f"{kind}/{name}: is there twice"
    for resource in resources:
        if resource["metadata"].get("namespace") != NAMESPACE:
            yield f"{resource['kind']}/{resource['metadata']['name']}: must be in the namespace {NAMESPACE}"
    if not of_kind(resources, *JOBS):
        yield "there is no Job and no CronJob"


def _job(job: Resource) -> Iterator[str]:
    for name in ("backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"):
        if not isinstance(job.get(name), int):
            yield f"{name} must be set"
    if job.get("backoffLimit", 0) < RETRIES * job.get("completions", 1):
        yield f"backoffLimit must be at least {RETRIES * job.get('completions', 1)}: {RETRIES} for each Pod"
    if "suspend" in job:
        yield "suspend must not be set: applying the manifest again would resume what an operator has suspended"
    if job.get("podReplacementPolicy") != "Failed":
        yield "podReplacementPolicy must be Failed: never two Pods at once"
    rules = job.get("podFailurePolicy", {}).get("rules", [])
    first = rules[0] if rules else {}
    conditions = {(one["type"], one.get("status", "True")) for one in first.get("onPodConditions", [])}
    if first.get("action") != "Ignore" or conditions != {("DisruptionTarget", "True")}:
        yield "podFailurePolicy: the first rule must ignore DisruptionTarget"
    container = job["template"]["spec"]["containers"][0]["name"]
    for action, wanted in (("FailJob", GIVE_UP), ("Count", TRY_AGAIN)):
        exits = [rule["onExitCodes"] for rule in rules if rule["action"] == action and "onExitCodes" in rule]
        if any(one["operator"] != "In" or one.get("containerName", container) != container for one in exits):
            yield f"podFailurePolicy: {action} must name codes (In) of the container {container}"
        codes = {code for one in exits for code in one["values"]}
        if codes != wanted:
            yield f"podFailurePolicy: {action} on {sorted(codes)}, by recsys/errors.py it is {sorted(wanted)}"


def _waiting(job: Resource) -> Iterator[str]:
    """Whoever is still at work on the run is waited for, and not for longer than the Job may take."""
    arguments = job["template"]["spec"]["containers"][0].get("args", [])
    seconds = dict(itertools.pairwise(arguments)).get("--wait", "")
    if not seconds.isdigit():
        yield "--wait must say for how many seconds it waits for another process"
    elif int(seconds) >= job.get("activeDeadlineSeconds", 0):
        yield f"--wait {seconds} is no less than activeDeadlineSeconds"


def _timetable(spec: Resource) -> Iterator[str]:
    wrong = check_schedule(spec["schedule"])
    if wrong:
        yield wrong
    if spec.get("timeZone") not in zoneinfo.available_timezones():
        yield f"timeZone {spec.get('timeZone')!r} is not known"
    if "suspend" in spec:
        yield "suspend must not be set: applying the manifest again would un-pause what an operator has paused"
    if spec.get("concurrencyPolicy") != "Forbid":
        yield "concurrencyPolicy must be Forbid"
    if spec.get("startingDeadlineSeconds", 0) < 60:
        yield "startingDeadlineSeconds must be set, to a minute or more"
    for name in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        if name not in spec:
            yield f"{name} must be set"
    arguments = pod_spec({"kind": "CronJob", "spec": spec})["containers"][0].get("args", [])
    if "$(JOB_NAME)" not in arguments:
        yield "args: every run must have the name of its Job (--run-id $(JOB_NAME)), or it may go on with an old one"
    if dict(itertools.pairwise(arguments)).get("--warm-start") != "latest":
        yield "args: a night must go on from the network that is published (--warm-start latest), not train anew"


def _network(labels: Resource, resources: list[Resource]) -> Iterator[str]:
    """Pods with these labels only send and receive what policies allow, and only receive from Pods of the overlay."""
    isolated: set[str] = set()
    for policy in of_kind(resources, "NetworkPolicy"):
        if policy["spec"]["podSelector"].get("matchLabels", {}).items() <= labels.items():
            isolated.update(policy["spec"].get("policyTypes", []))
            if any(not rule.get("to") or not rule.get("ports") for rule in policy["spec"].get("egress", [])):
                yield "the NetworkPolicy lets it call anybody: every egress rule must say to whom, and on which ports"
            for rule in policy["spec"].get("ingress", []):
                callers = [peer.get("podSelector", {}).get("matchLabels", {}) for peer in rule.get("from", [])]
                own = all(set(peer) == {"podSelector"} for peer in rule.get("from", [])) and all(map(_within(labels), callers))
                if not (callers and own and rule.get("ports")):
                    yield "the NetworkPolicy lets it be called by others than Pods of its overlay, or on every port"
    if isolated != {"Ingress", "Egress"}:
        yield "no NetworkPolicy keeps it apart, in both directions"


def _within(labels: Resource) -> Callable[[Resource], bool]:
    """Whether a selector picks Pods of the same overlay as these labels."""
    return lambda chosen: chosen.get(INSTANCE) is not None and chosen.get(INSTANCE) == labels.get(INSTANCE)


def _config_map(resource: Resource) -> Iterator[str]:
    if not HASHED.fullmatch(resource["metadata"]["name"]) or resource.get("immutable") is not True:
        yield "must be generated, with a hash in its name, and immutable"
    for name, text in resource.get("data", {}).items():
        for number, line in enumerate(text.splitlines(), start=1):
            key = line.split("=")[0].lower()
            if "=" in line and not line.lstrip().startswith("#") and any(word in key for word in SECRET_WORDS):
                yield f"{name}, line {number} is a credential: take it from a Secret, or use workload identity"
