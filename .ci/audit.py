"""Known vulnerabilities in the locked files, by pip-audit. Fails if there are any; says so if their data cannot be had.

    python .ci/audit.py FILE…

pip-audit calls a package that the index has no data about skipped, and ends with "No known vulnerabilities found" even if it
has looked at nothing: a mirror may hold packages only. So what it prints as JSON is read here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

COMMAND = (
    "--vulnerability-service",
    "pypi",
    "--disable-pip",
    "--require-hashes",
    "--progress-spinner",
    "off",
    "--format",
    "json",
)


def verdict(report: Mapping[str, Any]) -> tuple[bool, list[str]]:
    """Whether the file passes, and what to say about it.

    Args:
        report: what pip-audit prints.
    """
    packages = report["dependencies"]
    seen = [one for one in packages if "skip_reason" not in one]
    lines = [
        f"{one['name']} {one['version']}: {found['id']}, fixed in {', '.join(found['fix_versions']) or 'no version'}"
        for one in seen
        for found in one["vulns"]
    ]
    if lines:
        return False, lines
    if len(seen) == len(packages):
        return True, [f"no known vulnerability in {len(packages)} packages"]
    if not seen:
        return True, [f"NOT AUDITED: the package index has no vulnerability data on any of {len(packages)} packages"]
    missing = ", ".join(one["name"] for one in packages if "skip_reason" in one)
    return True, [
        f"no known vulnerability in {len(seen)} of {len(packages)} packages; NOT AUDITED, for want of data: {missing}"
    ]


def audit(file: str) -> tuple[bool, list[str]]:
    """Audits one file."""
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", *COMMAND, "--requirement", file], capture_output=True, text=True, check=False
    )
    try:
        report = json.loads(done.stdout)
    except ValueError:  # it could not ask at all
        return True, [f"NOT AUDITED: pip-audit ended with {done.returncode}: {done.stderr.strip()[-500:]}"]
    return verdict(report)


if __name__ == "__main__":
    passed = True
    for name in sys.argv[1:]:
        good, said = audit(name)
        passed &= good
        print("\n".join(f"{name}: {line}" for line in said))
    sys.exit(0 if passed else 1)
