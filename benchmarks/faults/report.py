"""The result of a campaign as JSON and as a Markdown table."""

from __future__ import annotations

import dataclasses
import statistics
import subprocess
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.faults.campaign import Finished, Killed
from benchmarks.faults.plan import CHILD, GROUP, JVM, PROCESS, STAGES, START
from benchmarks.faults.process import ROOT


@dataclasses.dataclass(frozen=True)
class Result:
    """A finished campaign.

    Attributes:
        kills: all that were made.
        jobs: all that were run.
        violations: whatever must not happen and did.
        options: how it was started.
        manifest: run.json of the undisturbed run.
    """

    kills: Sequence[Killed]
    jobs: Sequence[Finished]
    violations: Sequence[str]
    options: str
    manifest: dict[str, Any]

    @property
    def measured(self) -> str:
        """Hardware, date, revision."""
        hardware = self.manifest["stages"]["train"]["hardware"]["names"][0]
        described = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
        revision = subprocess.run(described, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
        return f"{hardware}, {self.manifest['created_at'][:10]}, revision `{revision}`"


def as_json(result: Result) -> dict[str, Any]:
    """Everything, with each kill."""
    kills = [
        {**dataclasses.asdict(one), "kill": {**dataclasses.asdict(one.kill), "signal": one.kill.signal.name}}
        for one in result.kills
    ]
    return {
        "command": f"python -m benchmarks.faults {result.options}",
        "measured": result.measured,
        "violations": list(result.violations),
        "jobs": [dataclasses.asdict(job) for job in result.jobs],
        "kills": kills,
    }


def markdown(result: Result) -> str:
    """A row for each stage, signal and target; then the sums and what did not hold."""
    lines = [
        f"`python -m benchmarks.faults {result.options}`; {result.measured}.",
        "",
        "| stage | signal | target | kills | resumed | equal | exit codes | seconds to exit: median | at most |",
        "|---" * 9 + "|",
    ]
    rows: dict[tuple[str, str, str], list[Killed]] = {}
    for killed in result.kills:
        rows.setdefault((killed.kill.stage, killed.kill.signal.name, killed.kill.target), []).append(killed)
    stages, targets = (START, *STAGES), (PROCESS, GROUP, CHILD, JVM)
    for stage, signal, target in sorted(rows, key=lambda row: (stages.index(row[0]), row[1], targets.index(row[2]))):
        lines.append(_row(f"{stage} | {signal} | {target}", rows[stage, signal, target]))
    lines.append(_row("all | | ", list(result.kills)))
    polls, starts = sum(job.polls for job in result.jobs), sum(job.starts for job in result.jobs)
    complete = sum(job.complete for job in result.jobs)
    lines += [
        "",
        f"{len(result.jobs)} jobs, {complete} completed, in {starts} starts; {polls:,} polls of latest.json; "
        f"{len(result.violations)} violations.",
    ]
    lines += [f"- {violation}" for violation in result.violations]
    return "\n".join(lines)


def _row(name: str, kills: list[Killed]) -> str:
    codes = Counter(killed.code for killed in kills)
    seconds = [killed.seconds for killed in kills]
    cells = (
        len(kills),
        sum(killed.resumed for killed in kills),
        sum(killed.equal for killed in kills),
        ", ".join(f"{code} ({count})" for code, count in sorted(codes.items())),
        f"{statistics.median(seconds):.1f}",
        f"{max(seconds):.1f}",
    )
    return f"| {name} | " + " | ".join(map(str, cells)) + " |"
