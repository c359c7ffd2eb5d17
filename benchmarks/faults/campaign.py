"""Runs jobs, kills them, starts them again until they complete, and compares what they leave with an undisturbed run."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.faults.plan import CHILD, JVM, STAGES, START, Job, Kill
from benchmarks.faults.process import POLL_SECONDS, Process, end_orphans, is_done, orphans
from benchmarks.faults.watcher import Watcher
from recsys import errors
from recsys.contract import schema

SETTINGS: Final = (
    *("source.synthetic.users=60", "source.synthetic.items=80", "source.synthetic.mean_events=12", "split.allow_few=true"),
    *("model.width=16", "model.dilations=1,2", "training.epochs=2", "training.refit_epochs=1", "training.xla=off"),
    *("evaluation.bootstrap=20", "publish.must_beat=", "spark.master=local[2]"),
)
"""Tiny data: a run takes half a minute on two cores."""
KILLED: Final = 128 + signal.SIGKILL
STARTS: Final = 5
"""How often in a row a command may end with "try again" although nobody has killed it."""
STARTING_SECONDS: Final = 2.0


@dataclasses.dataclass(frozen=True)
class Reference:
    """What an undisturbed run took and left."""

    home: Path
    seconds: dict[str, float]
    recommendations: pa.Table
    files: frozenset[str]
    manifest: dict[str, Any]


@dataclasses.dataclass
class Killed:
    """A kill that was made, and what came of it.

    Attributes:
        job: its number.
        by_stage: whether its stages ran as commands of their own.
        kill: what was asked for.
        after: seconds from the start of the command.
        done: whether the command had no more work when the signal came.
        code: exit code, as a shell has it.
        seconds: from the signal to the exit.
        said: its last message.
        resumed: the next start went on with the same run.
        equal: the job's recommendations are those of the undisturbed run.
    """

    job: int
    by_stage: bool
    kill: Kill
    after: float
    done: bool
    code: int
    seconds: float
    said: str
    resumed: bool = False
    equal: bool = False


@dataclasses.dataclass(frozen=True)
class Finished:
    """A job that has completed, or not."""

    number: int
    kills: int
    starts: int
    polls: int
    complete: bool


def undisturbed(home: Path) -> Reference:
    """Runs the job once without disturbing it."""
    _prepare(home)
    process = Process(home, _words("run", als=False))
    if code := process.wait():
        raise SystemExit(f"the undisturbed run ended with {code}:\n" + "\n".join(process.lines[-20:]))
    (run,) = (home / "out" / "runs").iterdir()
    manifest = json.loads((run / "run.json").read_text())
    seconds = {stage: float(manifest["stages"][stage]["seconds"]) for stage in STAGES}
    return Reference(home, seconds, _table(run), _files(run), manifest)


class Campaign:
    """The jobs of a campaign.

    Attributes:
        kills: all that were made.
        jobs: all that were run.
        violations: whatever must not happen and did.
    """

    def __init__(self, output: Path, reference: Reference, log: Callable[[str], None]) -> None:
        self.kills: list[Killed] = []
        self.jobs: list[Finished] = []
        self.violations: list[str] = []
        self._output, self._reference, self._log = output, reference, log

    def run(self, job: Job) -> list[Kill]:
        """Runs a job to its end, with its kills; returns those that came too late."""
        home = self._output / f"job-{job.number}"
        _prepare(home)
        if job.over:
            shutil.copytree(self._reference.home / "out", home / "out")
        self._log(
            f"job {job.number}, {'by stage' if job.by_stage else 'whole'}"
            f"{', with ALS' if job.als else ''}{', over a published run' if job.over else ''}"
        )
        made: list[Killed] = []
        before, found = self._runs(home), len(self.violations)
        with Watcher(home / "out") as watcher:
            starts, complete = 0, True
            for command, stages in _commands(job):
                waiting = [kill for kill in job.kills if kill.stage in stages]
                more, complete = self._finish(job, home, command, waiting, made, before)
                starts += more
                if not complete:
                    break
        for problem in watcher.problems:
            self._violated(job, problem)
        if complete:
            self._compare(job, home, before, made)
        end_orphans(home)
        self.kills += made
        self.jobs.append(Finished(job.number, len(made), starts, watcher.polls, complete))
        if len(self.violations) == found:
            shutil.rmtree(home)
        self._log(f"  {'complete' if complete else 'GIVEN UP'} after {starts} starts, {watcher.polls:,} polls of latest.json")
        return [kill for kill in job.kills if kill not in [killed.kill for killed in made]]

    def _finish(
        self, job: Job, home: Path, command: str, waiting: list[Kill], made: list[Killed], before: set[str]
    ) -> tuple[int, bool]:
        """Starts a command until it has completed. Returns how often, and whether it has."""
        starts, refused = 0, 0
        while refused < STARTS:
            starts += 1
            named = ["--run-id", "job"] if job.by_stage else []
            process = Process(home, [*_words(command, job.als), *named])
            killed = self._next(job, process, waiting)
            code = process.wait()
            if killed is None:
                if code == errors.EXIT_DONE:
                    return starts, True
                refused += 1
                self._violated(job, f"{command} was not killed and ended with {code}: {_last(process)}")
                continue
            killed.seconds, killed.code, killed.said = time.monotonic() - killed.seconds, code, _last(process)
            if self._came_too_late(home, killed, before):
                if code != errors.EXIT_DONE:  # the next start removes what a process leaves that is killed so late
                    Process(home, ["publish", "--output", "out", *named]).wait()
                return starts, True
            made.append(killed)
            self._judge(job, killed, home, before)
            if code == errors.EXIT_DONE:
                return starts, True
        return starts, False

    def _came_too_late(self, home: Path, killed: Killed, before: set[str]) -> bool:
        """Whether the work was done when the signal came, and only the process was not over yet."""
        if killed.kill.target in (CHILD, JVM):
            return False
        if killed.code == errors.EXIT_DONE:
            return killed.done or killed.kill.signal == signal.SIGKILL
        manifests = [home / "out" / "runs" / name / "run.json" for name in self._runs(home) - before]
        return any("publish" in json.loads(path.read_text())["stages"] for path in manifests if path.exists())

    def _next(self, job: Job, process: Process, waiting: list[Kill]) -> Killed | None:
        """Makes the first of the waiting kills whose stage is still to be done; None if the command ends before any."""
        while waiting:
            kill = waiting.pop(0)
            if kill.stage != START and not process.wait_for(f"{kill.stage}:", instead=f"{kill.stage}: already done"):
                continue
            if kill.target in (CHILD, JVM):
                over = f"{STAGES[STAGES.index(kill.stage) + 1]}:"
                process.wait_until(lambda kill=kill, over=over: process.find(kill.target) is not None or over in process.lines)
                span = self._reference.seconds["features"] / 2
            else:
                span = STARTING_SECONDS if kill.stage == START else self._reference.seconds[kill.stage]
            begun = time.monotonic()
            while time.monotonic() - begun < kill.moment * span and not process.ended:
                time.sleep(POLL_SECONDS)
            now = time.monotonic()
            if process.kill(kill.target, kill.signal):
                after, done = now - process.started, is_done(process.pid)
                return Killed(job.number, job.by_stage, kill, after, done, code=-1, seconds=now, said="")
        return None

    def _judge(self, job: Job, killed: Killed, home: Path, before: set[str]) -> None:
        """Looks at a kill as soon as the command has ended."""
        kill = killed.kill
        name = f"{kill.signal.name} to the {kill.target} in {kill.stage}"
        self._log(f"  {name} after {killed.after:.1f} s: {killed.code} in {killed.seconds:.1f} s")
        if killed.code not in _expected(kill):
            self._violated(job, f"{name}: exit code {killed.code}, not {_expected(kill)}: {killed.said}")
        if left := orphans(home):
            self._violated(job, f"{name}: {len(left)} processes live on: {left[0]}")
            end_orphans(home)
        killed.resumed = len(self._runs(home) - before) <= 1

    def _compare(self, job: Job, home: Path, before: set[str], made: Iterable[Killed]) -> None:
        """What a completed job leaves, beside what the undisturbed run has left."""
        output, new = home / "out", self._runs(home) - before
        if len(new) != 1:
            self._violated(job, f"{len(new)} runs instead of one: {', '.join(sorted(new))}")
            return
        (name,) = new
        latest = json.loads((output / "latest.json").read_text())
        if latest["run_id"] != name:
            self._violated(job, f"latest.json names {latest['run_id']}, not the job's run {name}")
        equal = _table(output / "runs" / name).equals(self._reference.recommendations)
        if not equal:
            self._violated(job, "other recommendations than without kills")
        for killed in made:
            killed.equal, killed.resumed = equal, killed.resumed and equal
        files = _files(output / "runs" / name)
        expected = self._reference.files - ({schema.LINEAGE_FILE} if job.by_stage else set())  # only `recsys run` writes it
        for what, some in (("left behind", files - expected), ("missing", expected - files)):
            if some:
                self._violated(job, f"{what} in the run: {', '.join(sorted(some))}")
        if left := sorted(path.name for path in (home / "tmp").iterdir()):
            self._violated(job, f"left behind in TMPDIR: {', '.join(left)}")
        known = {"latest.json", "runs", ".lock"}
        if left := sorted({path.name for path in output.iterdir()} - known):
            self._violated(job, f"left behind in the output: {', '.join(left)}")

    def _runs(self, home: Path) -> set[str]:
        folder = home / "out" / "runs"
        return {path.name for path in folder.iterdir()} if folder.exists() else set()

    def _violated(self, job: Job, what: str) -> None:
        self.violations.append(f"job {job.number}: {what}")
        self._log(f"  VIOLATION: {what}")


def _expected(kill: Kill) -> tuple[int, ...]:
    """Exit codes that are right after a kill. 0: the target no longer mattered."""
    if kill.target in (CHILD, JVM):
        return errors.EXIT_RETRY, errors.EXIT_DONE
    if kill.signal == signal.SIGKILL:
        return (KILLED,)
    return errors.EXIT_TERMINATED, errors.EXIT_RETRY


def _commands(job: Job) -> list[tuple[str, tuple[str, ...]]]:
    """The commands of a job, each with the stages in which it can be killed."""
    if not job.by_stage:
        return [("run", (START, *STAGES))]
    return [(stage, (START, stage) if stage == STAGES[0] else (stage,)) for stage in STAGES]


def _words(command: str, als: bool) -> list[str]:
    """The command line; later stages take the settings from the run."""
    words = [command, "--output", "out"]
    if command not in ("run", "features"):
        return words
    settings = [*SETTINGS, "evaluation.baselines=popularity" + (",als" if als else "")]
    return [*words, *(part for setting in settings for part in ("--set", setting))]


def _prepare(home: Path) -> None:
    (home / "tmp").mkdir(parents=True)


def _table(run: Path) -> pa.Table:
    return pq.read_table(run / "recommendations").replace_schema_metadata(None)


def _files(run: Path) -> frozenset[str]:
    return frozenset(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())


def _last(process: Process) -> str:
    said = [line for line in process.lines if line.startswith("recsys: ")] or process.lines or [""]
    return said[-1][:300]
