"""What an overlay of one's own may add: the kueue component, alert rules, and the patches that the pages show."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.k8s.rendered import OVERLAYS, ROOT, Resource, command, job_spec, of_kind, overlay, render

pytestmark = pytest.mark.skipif(command() is None, reason="needs kubectl or kustomize")

PAGES = ("docs/cluster.md", "docs/shared-clusters.md")
QUEUE = "kueue.x-k8s.io/queue-name"
METRICS = {"kube_job_failed", "kube_cronjob_status_last_successful_time", "kube_cronjob_created", "kube_cronjob_spec_suspend"}
"""Of kube-state-metrics, all stable."""


def own(folder: Path, name: str, text: str) -> list[Resource]:
    """An overlay of one's own beside a copy of k8s/, on top of the overlay `name`."""
    (folder / "k8s").symlink_to(ROOT / "k8s")
    (folder / "shop").mkdir()
    head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: recsys\n"
    (folder / "shop" / "kustomization.yaml").write_text(f"{head}resources: [../k8s/overlays/{name}]\n{text}")
    return render(folder / "shop")


def documented(word: str) -> str:
    """The patches in PAGES that contain a word, as a kustomization has them."""
    blocks = [block for page in PAGES for block in re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)]
    (found,) = (block for block in blocks if word in block and "\nresources:" not in block)
    return found


@pytest.mark.parametrize("name", OVERLAYS)
def test_kueue_gets_every_job_suspended_and_nothing_else_changes(tmp_path: Path, name: str) -> None:
    made = own(tmp_path, name, "components: [../k8s/components/kueue]\n")
    for resource in of_kind(made, "Job", "CronJob"):
        holder = resource["spec"]["jobTemplate"] if resource["kind"] == "CronJob" else resource
        assert holder["metadata"]["labels"].pop(QUEUE) == "recsys"
        assert job_spec(resource).pop("suspend") is True
        assert "suspend" not in resource["spec"], "the CronJob itself stays as its operator has left it"
    assert made == overlay(name)


@pytest.mark.parametrize("name", OVERLAYS)
def test_schemas_accept_queued_jobs(tmp_path: Path, name: str) -> None:
    schemas = pytest.importorskip("kubernetes_validate")
    for resource in own(tmp_path, name, "components: [../k8s/components/kueue]\n"):
        schemas.validate(resource, schemas.latest_version(), strict=True)


def test_the_queue_is_named_by_the_documented_patch(tmp_path: Path) -> None:
    for resource in of_kind(own(tmp_path, "refresh", documented("queue-name")), "CronJob"):
        assert resource["spec"]["jobTemplate"]["metadata"]["labels"][QUEUE] == "nightly"


@pytest.mark.parametrize("name", ["refresh", "distributed"])
def test_the_documented_patch_gives_claims_that_several_nodes_mount_a_storage_class(tmp_path: Path, name: str) -> None:
    claims = of_kind(own(tmp_path, name, documented("storageClassName")), "PersistentVolumeClaim")
    shared = {"refresh": "recsys-events-refresh", "distributed": "recsys-data-distributed"}[name]
    for claim in claims:
        assert claim["spec"].get("storageClassName") == ("nfs" if claim["metadata"]["name"] == shared else None)
        assert (claim["spec"]["accessModes"] == ["ReadWriteMany"]) == (claim["metadata"]["name"] == shared)


def test_the_documented_patches_for_dns_and_a_private_registry_render(tmp_path: Path) -> None:
    (tmp_path / "dns").mkdir()
    policies = of_kind(own(tmp_path / "dns", "gpu", documented("169.254.20.10")), "NetworkPolicy")
    (download,) = (policy for policy in policies if policy["metadata"]["name"] == "recsys-download-gpu")
    assert download["spec"]["egress"][-1]["to"] == [{"ipBlock": {"cidr": "169.254.20.10/32"}}]
    accounts = of_kind(own(tmp_path, "distributed", documented("imagePullSecrets")), "ServiceAccount")
    assert len(accounts) == 2 and all(one["imagePullSecrets"] == [{"name": "registry-credentials"}] for one in accounts)


def test_alerts_ask_for_metrics_that_there_are_and_for_our_objects_alone() -> None:
    rules = yaml.safe_load((ROOT / "k8s" / "alerts.yaml").read_text())
    (group,) = rules["spec"]["groups"]
    assert [rule["alert"] for rule in group["rules"]] == ["RecsysJobFailed", "RecsysRefreshOverdue"]
    for rule in group["rules"]:
        selectors = re.findall(r"(kube_\w+)\{(.*?)\}", rule["expr"])
        assert {metric for metric, _ in selectors} <= METRICS
        assert all('namespace="recsys"' in labels for _, labels in selectors)
        assert rule["labels"]["severity"] and rule["annotations"]["summary"]
    hours = re.search(r"> (\d+) \* 3600", group["rules"][1]["expr"])
    assert hours and int(hours[1]) > 24, "the refresh is made once a day"
    docs = (ROOT / "docs" / "kubernetes.md").read_text()
    assert all(section in docs for section in re.findall(r'docs/kubernetes.md, "([^"]+)"', str(rules)))
