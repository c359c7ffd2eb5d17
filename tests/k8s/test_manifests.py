"""Every overlay renders and passes all rules; for every rule, a manifest broken on purpose is caught."""

import functools
import operator
import re
import runpy

import pytest
import yaml

from recsys import errors
from tests.k8s.manifests import check, check_schedule
from tests.k8s.pods import IMAGE_USER, check_pod
from tests.k8s.rendered import OVERLAYS, ROOT, command, job_spec, of_kind, overlay, pod_spec, quantity, render

pytestmark = pytest.mark.skipif(command() is None, reason="neither kubectl nor kustomize is installed")
POD = "spec.template.spec."
CONTAINER = POD + "containers.0."
DELETE = object()
"""Instead of a value: removes the key."""


def change(resources, kind, path, value):
    """Sets, deletes or (given a pair) edits what stands at a path of the first resource of a kind. A dot in a key is written |.

    `Job/train` is the first Job with `train` in its name.
    """
    kind, _, name = kind.partition("/")
    chosen = next(one for one in of_kind(resources, kind) if name in one["metadata"]["name"])
    *keys, last = [int(key) if key.isdigit() else key.replace("|", ".") for key in path.split(".")]
    place = functools.reduce(operator.getitem, keys, chosen)
    if value is DELETE:
        del place[last]
    elif isinstance(value, tuple):
        assert value[0] in place[last]
        place[last] = place[last].replace(*value)
    elif last == -1 or (isinstance(place, list) and last == len(place)):
        place.append(value)
    else:
        place[last] = value


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_keeps_every_rule(name):
    assert check(overlay(name)) == []


def broken(message, path, value=DELETE, name="cpu", kind="Job"):
    return pytest.param(name, kind, path, value, message, id=f"{kind}: {message}")


BROKEN = [
    broken("runAsUser and fsGroup must be 10001", POD + "securityContext.runAsUser", 1000),
    broken("runAsUser and fsGroup must be 10001", POD + "securityContext.fsGroup"),
    broken("runAsNonRoot must be true", POD + "securityContext.runAsNonRoot"),
    broken("seccompProfile must be RuntimeDefault", POD + "securityContext.seccompProfile.type", "Unconfined"),
    broken("hostNetwork is not allowed", POD + "hostNetwork", True),
    broken("allowPrivilegeEscalation must be false", CONTAINER + "securityContext.allowPrivilegeEscalation", True),
    broken("capabilities must be dropped", CONTAINER + "securityContext.capabilities.add", ["SYS_ADMIN"]),
    broken("readOnlyRootFilesystem must be true", CONTAINER + "securityContext.readOnlyRootFilesystem", False),
    broken("those of the Pod, not of a container", CONTAINER + "securityContext.runAsUser", 0),
    broken("automountServiceAccountToken must be false", POD + "automountServiceAccountToken"),
    broken("serviceAccountName 'other' is not there", POD + "serviceAccountName", "other"),
    broken("of the ServiceAccount must be false", "automountServiceAccountToken", True, kind="ServiceAccount"),
    broken("enableServiceLinks must be false", POD + "enableServiceLinks"),
    broken("restartPolicy must be Never", POD + "restartPolicy", "OnFailure"),
    broken("terminationGracePeriodSeconds must be more than 60", POD + "terminationGracePeriodSeconds"),
    broken("terminationMessagePath must be /dev/termination-log", CONTAINER + "terminationMessagePath", "/tmp/log"),
    broken("terminationMessagePolicy must be FallbackToLogsOnError", CONTAINER + "terminationMessagePolicy", "File"),
    broken("volume data is mounted and not there", POD + "volumes.1.name", "other"),
    broken("volume other is not mounted", POD + "volumes.3", {"name": "other", "emptyDir": {"sizeLimit": "1Mi"}}),
    broken("volume tmp: hostPath is not allowed", POD + "volumes.2", {"name": "tmp", "hostPath": {"path": "/tmp"}}),
    broken("there is no ConfigMap gone", POD + "volumes.0.configMap.name", "gone"),
    broken("there is no PersistentVolumeClaim gone", POD + "volumes.1.persistentVolumeClaim.claimName", "gone"),
    broken("emptyDir without a sizeLimit", POD + "volumes.2.emptyDir", {}),
    broken("nothing to write on at /tmp", CONTAINER + "volumeMounts.2.readOnly", True),
    broken("ephemeral-storage needs a request and a limit", CONTAINER + "resources.limits.ephemeral-storage"),
    broken("cpu: the request 3 is greater than the limit 2", CONTAINER + "resources.requests.cpu", "3"),
    broken("memory: request and limit must be equal", CONTAINER + "resources.requests.memory", "1Gi"),
    broken("emptyDir volumes may take more than the limit 5Gi", POD + "volumes.2.emptyDir.sizeLimit", "6Gi"),
    broken("emptyDir volumes may take more than the limit 16Gi", POD + "volumes.0.emptyDir.sizeLimit", "17Gi", "gpu"),
    broken("nvidia.com/gpu needs a toleration, a nodeSelector", POD + "tolerations", name="gpu"),
    broken("for Pods with a GPU alone", POD + "nodeSelector", {"nvidia.com/gpu.present": "true"}),
    broken(
        "AWS_SECRET_ACCESS_KEY stands in the manifest", CONTAINER + "env.0", {"name": "AWS_SECRET_ACCESS_KEY", "value": "x"}
    ),
    broken("image recsys needs a tag", CONTAINER + "image", "recsys"),
    broken("image registry:5000/recsys:latest needs a tag", CONTAINER + "image", "registry:5000/recsys:latest"),
    broken("no --config among the args", CONTAINER + "args", ["run"]),
    broken("/etc/recsys/other.toml is in no ConfigMap", CONTAINER + "args.2", "/etc/recsys/other.toml"),
    broken("unknown key 'nonsense'", "data.recsys|toml", "nonsense = 1", kind="ConfigMap"),
    broken("output /out is on no volume", "data.recsys|toml", 'output = "/out"', kind="ConfigMap"),
    broken("training.device is None", "data.recsys|toml", 'output = "/data/out"', "gpu", "ConfigMap"),
    broken("is a credential", "data.recsys|toml", 'api_key = "x"', kind="ConfigMap"),
    broken("generated, with a hash in its name", "metadata.name", "settings", kind="ConfigMap"),
    broken("generated, with a hash in its name, and immutable", "immutable", kind="ConfigMap"),
    broken("is made apart from the job", "kind", "Secret", kind="ServiceAccount"),
    broken("must be in the namespace recsys", "metadata.namespace", kind="PersistentVolumeClaim"),
    broken("there is no Job and no CronJob", "kind", "ReplicaSet"),
    broken("backoffLimit must be set", "spec.backoffLimit"),
    broken("activeDeadlineSeconds must be set", "spec.activeDeadlineSeconds"),
    broken("ttlSecondsAfterFinished must be set", "spec.ttlSecondsAfterFinished"),
    broken("podReplacementPolicy must be Failed", "spec.podReplacementPolicy"),
    broken("the first rule must ignore DisruptionTarget", "spec.podFailurePolicy.rules.0"),
    broken("by recsys/errors.py it is [2, 65, 69, 70, 78]", "spec.podFailurePolicy.rules.1.onExitCodes.values.0", 1),
    broken("by recsys/errors.py it is [75, 143]", "spec.podFailurePolicy.rules.2.onExitCodes.values", [75]),
    broken("FailJob must name codes", "spec.podFailurePolicy.rules.1.onExitCodes.containerName", "other"),
    broken("'60' is no minute", "spec.schedule", "60 3 * * *", "refresh", "CronJob"),
    broken("timeZone 'Mars/Olympus' is not known", "spec.timeZone", "Mars/Olympus", "refresh", "CronJob"),
    broken("concurrencyPolicy must be Forbid", "spec.concurrencyPolicy", "Allow", "refresh", "CronJob"),
    broken("startingDeadlineSeconds must be set", "spec.startingDeadlineSeconds", DELETE, "refresh", "CronJob"),
    broken("failedJobsHistoryLimit must be set", "spec.failedJobsHistoryLimit", DELETE, "refresh", "CronJob"),
    broken("podReplacementPolicy must be Failed", "spec.jobTemplate.spec.podReplacementPolicy", DELETE, "refresh", "CronJob"),
    broken(
        "must have the name of its Job", "spec.jobTemplate.spec.template.spec.containers.0.args.6", "x", "refresh", "CronJob"
    ),
    broken(
        "must go on from the network that is published",
        "spec.jobTemplate.spec.template.spec.containers.0.args.8",
        "n7",
        "refresh",
        "CronJob",
    ),
    broken("would un-pause", "spec.suspend", False, "refresh", "CronJob"),
    broken("would resume", "spec.suspend", False),
    broken("backoffLimit must be at least 6: 6 for each Pod", "spec.backoffLimit", 5),
    broken("--wait must say", CONTAINER + "args.4", "nan"),
    broken("--wait 7200 is no less than activeDeadlineSeconds", CONTAINER + "args.4", "7200"),
    broken("resourceFieldRef needs divisor", CONTAINER + "env.1.valueFrom.resourceFieldRef.divisor"),
    broken("no NetworkPolicy keeps it apart", "spec.policyTypes", ["Ingress"], kind="NetworkPolicy"),
    broken("no NetworkPolicy keeps it apart", "spec.podSelector.matchLabels", {"app": "other"}, kind="NetworkPolicy"),
    broken("lets it call anybody", "spec.egress", [{}], kind="NetworkPolicy"),
    broken("lets it be called", "spec.ingress", [{}], kind="NetworkPolicy"),
    *[
        broken(message, path, value, "distributed", kind)
        for message, kind, path, value in (
            ("more than create, delete", "Role", "rules.0.resources", ["pods", "secrets"]),
            ("more than create, delete", "Role", "rules.0.verbs", ["*"]),
            ("rights end at the namespace", "Role", "kind", "ClusterRole"),
            ("there is no Role recsys-spark-distributed", "Role", "metadata.name", "other"),
            ("5 Jobs have its rights", "RoleBinding", "subjects.0.name", "recsys-distributed"),
            ("is not there", "ServiceAccount", "metadata.name", "other"),
            ("must be a Service without an address", "Service", "spec.clusterIP", DELETE),
            ("must be a Service without an address", "Service", "spec.publishNotReadyAddresses", False),
            ("the Service does not select the Pods", "Service", "spec.selector", {"app": "other"}),
            ("the Pods are", "Service", "spec.ports.0.port", 2223),
            ("the NetworkPolicy opens [2223]", "NetworkPolicy/train", "spec.ingress.0.ports.0.port", 2223),
            ("called by others than Pods of its overlay", "NetworkPolicy/train", "spec.ingress.0.from.0.podSelector", {}),
            ("called by others than Pods of its overlay", "NetworkPolicy/spark", "spec.ingress.0.ports", DELETE),
            ("completions and parallelism must be equal", "Job/train", "spec.parallelism", 1),
            ("Indexed where there are several", "Job/train", "spec.completionMode", DELETE),
            ("3 Pods are not 3 parts", "Job/recommend", CONTAINER + "args.8", "$(JOB_COMPLETION_INDEX)/4"),
            ("expected INDEX/COUNT", "Job/recommend", CONTAINER + "args.8", "$(JOB_COMPLETION_INDEX)/2"),
            ("TF_CONFIG is", "Job/train", CONTAINER + "env.1.value", "{}"),
            ("JOB_COMPLETION_INDEX must be set before", "Job/recommend", CONTAINER + "env.0.name", "OTHER"),
            ("backoffLimit must be at least 12", "Job/train", "spec.backoffLimit", 6),
            ("fieldRef needs apiVersion v1", "Job/features", CONTAINER + "env.0.valueFrom.fieldRef.apiVersion", DELETE),
            ("automountServiceAccountToken must be false", "Job/train", POD + "automountServiceAccountToken", True),
            ("--run-id x is not that of", "Job/publish", CONTAINER + "args.4", "x"),
            ("--output /data/other is not that", "Job/train", CONTAINER + "args.2", "/data/other"),
            ("--wait must say", "Job/evaluate", CONTAINER + "args.6", "soon"),
            ("executors run recsys:cpu", "Job/features", CONTAINER + "image", "registry/recsys:1"),
            ("podTemplateFile is not in the ConfigMap", "ConfigMap", "data.executor|yaml", DELETE),
        )
    ],
    *[
        broken(message, "data.executor|yaml", (before, after), "distributed", "ConfigMap")
        for message, before, after in (
            ("executors: readOnlyRootFilesystem must be true", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false"),
            (
                "executors: serviceAccountName 'default' is not",
                "serviceAccountName: recsys-distributed",
                "serviceAccountName: default",
            ),
            ("executors: volume data: there is no PersistentVolumeClaim", "recsys-data-distributed", "recsys-data"),
            ("executors: what is mounted at /data", "mountPath: /data", "mountPath: /other"),
            ("executors: the NetworkPolicy of the driver does not", "engine: spark", "engine: other"),
            ("executors: ephemeral-storage needs a request", "ephemeral-storage: 5Gi", "cpu: 1"),
        )
    ],
]


@pytest.mark.parametrize(("name", "kind", "path", "value", "message"), BROKEN)
def test_what_is_broken_is_named(name, kind, path, value, message):
    resources = overlay(name)
    change(resources, kind, path, value)
    assert any(message in problem for problem in check(resources)), check(resources)


def test_the_same_resource_twice_is_named():
    resources = overlay("cpu")
    assert "Job/recsys-cpu: is there twice" in check([*resources, *of_kind(resources, "Job")])


@pytest.mark.parametrize("text", ["0 3 * * *", "*/15 0-6,22 1 1-12/2 0", "5 4 * * 7"])
def test_good_schedules(text):
    assert check_schedule(text) is None


@pytest.mark.parametrize("text", ["0 3 * *", "0 24 * * *", "0 3 0 * *", "0 3 * * mon-", "*/0 3 * * *", "9-1 3 * * *", "@daily"])
def test_bad_schedules(text):
    assert text in check_schedule(text)


def test_the_cron_job_is_the_job_on_a_gpu_but_for_where_it_reads():
    """The Pod is described once: a change in the base or the GPU component reaches both."""
    gpu, refresh = (pod_spec(of_kind(overlay(name), kind)[0]) for name, kind in (("gpu", "Job"), ("refresh", "CronJob")))
    assert not of_kind(overlay("refresh"), "Job")
    own = ("args", "env", "volumeMounts")
    ours, theirs = ({key: value for key, value in pod["containers"][0].items() if key not in own} for pod in (gpu, refresh))
    assert ours == theirs
    for key in ("env", "volumeMounts"):
        assert all(entry in refresh["containers"][0][key] for entry in gpu["containers"][0][key])
    own = ("containers", "volumes", "serviceAccountName")
    assert {k: v for k, v in gpu.items() if k not in own} == {k: v for k, v in refresh.items() if k not in own}


def test_only_gpu_overlays_know_of_gpus():
    assert "nvidia" not in yaml.safe_dump_all([*overlay("cpu"), *render(ROOT / "k8s" / "base")])


def test_overlays_share_nothing_but_the_namespace():
    names = [(r["kind"], r["metadata"]["name"]) for name in OVERLAYS for r in overlay(name)]
    assert len(names) == len(set(names))


def test_changed_settings_have_another_name_so_that_a_job_keeps_those_it_began_with(tmp_path):
    resources = "resources: [../k8s/overlays/cpu]\n"
    generator = "configMapGenerator: [{name: recsys-config, behavior: replace, literals: ['recsys.toml=seed = 1']}]\n"
    (tmp_path / "k8s").symlink_to(ROOT / "k8s")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "kustomization.yaml").write_text(resources + generator)
    (before,), (after,) = (of_kind(found, "ConfigMap") for found in (overlay("cpu"), render(tmp_path / "own")))
    assert before["metadata"]["name"] != after["metadata"]["name"]
    (job,) = of_kind(render(tmp_path / "own"), "Job")
    assert after["metadata"]["name"] in [v.get("configMap", {}).get("name") for v in pod_spec(job)["volumes"]]


def test_the_namespace_demands_restricted_pods():
    labels = yaml.safe_load((ROOT / "k8s" / "namespace.yaml").read_text())["metadata"]["labels"]
    assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "warn", "audit")} == {"restricted"}


def test_the_console_is_as_restricted_as_the_job_whose_output_it_opens():
    console = yaml.safe_load((ROOT / "k8s" / "console.yaml").read_text())
    problems = list(check_pod(console["spec"], overlay("refresh")))
    assert [one for one in problems if not re.match("termination|no --config", one)] == []
    isolated = of_kind(overlay("refresh"), "NetworkPolicy")[0]["spec"]["podSelector"]["matchLabels"]
    assert isolated.items() <= console["metadata"]["labels"].items()


def test_every_exit_code_has_its_rule():
    """Except success and keyboard interrupts, which do not concern a Job."""
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    rules = job_spec(of_kind(overlay("cpu"), "Job")[0])["podFailurePolicy"]["rules"]
    decided = {code for rule in rules for code in rule.get("onExitCodes", {}).get("values", [])}
    assert decided == codes - {errors.EXIT_DONE, errors.EXIT_INTERRUPTED}


@pytest.mark.parametrize("file", sorted(ROOT.glob("Dockerfile.*")), ids=lambda file: file.name)
def test_the_user_is_that_of_the_image(file):
    users = re.findall(r"^USER\s+(\d+)", file.read_text(), re.MULTILINE)
    assert users and int(users[-1]) == IMAGE_USER


@pytest.mark.parametrize("version", ["1.32", "newest"])
def test_schemas_accept_what_is_rendered_and_nothing_unknown(version):
    schemas = pytest.importorskip("kubernetes_validate")
    version = schemas.latest_version() if version == "newest" else version
    for resource in [r for name in OVERLAYS for r in overlay(name)] + [
        yaml.safe_load((ROOT / "k8s/namespace.yaml").read_text())
    ]:
        schemas.validate(resource, version, strict=True)
        with pytest.raises(schemas.ValidationError, match="nonsense"):
            schemas.validate({**resource, "nonsense": 1}, version, strict=True)
        with pytest.raises(schemas.ValidationError):
            schemas.validate({**resource, "metadata": "nonsense"}, version, strict=True)


def test_podman_gets_the_template_of_every_job_as_it_stands_with_what_it_names():
    pods = runpy.run_path(str(ROOT / ".ci" / "pod_template.py"))["pods"]
    for name, kind in (("cpu", "Job"), ("gpu", "Job"), ("refresh", "CronJob")):
        made = pods(overlay(name))
        (pod,) = of_kind(made, "Pod")
        assert pod["spec"] == pod_spec(of_kind(overlay(name), kind)[0])
        assert made[:-1] == of_kind(overlay(name), "ConfigMap", "PersistentVolumeClaim")
    assert of_kind(pods(overlay("cpu"), "other:1"), "Pod")[0]["spec"]["containers"][0]["image"] == "other:1"


def test_quantities():
    assert [quantity(text) for text in ("2", "500m", "1Gi", 3)] == [2, quantity("0.5"), 2**30, 3]
    with pytest.raises(ValueError, match="no quantity"):
        quantity("4 GB")
