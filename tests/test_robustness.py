"""Runs killed, terminated or refused at every stage publish nothing half-done, and the same command resumes them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests import contract
from tests.command import (
    BUILT_IN,
    ITEMS,
    ONLY_POPULARITY,
    USERS,
    command,
    environment,
    histories,
    invoke,
    recommendations,
    recsys,
    run_folder,
    unpublish,
)

RUN = ("run", *BUILT_IN, *ONLY_POPULARITY, "--output", "out")
PATIENCE = 20.0
"""Seconds for the children of a killed process to exit."""


@dataclasses.dataclass(frozen=True)
class Interruption:
    """One way to interrupt a run.

    Attributes:
        stage: where it happens.
        line: what the run prints just before.
        signal: what is sent.
        code: expected exit status.
        file: must also exist in the run's folder first.
    """

    stage: str
    line: str
    signal: signal.Signals
    code: int
    file: str | None = None


STORY = {
    "kill in features": Interruption("features", "reading and cleaning", signal.SIGKILL, -9),
    "SIGTERM in train": Interruption("train", "parameters", signal.SIGTERM, 75),
    "kill in train": Interruption("train", "fit epoch 1/2", signal.SIGKILL, -9),
    "kill in evaluate": Interruption("evaluate", "evaluate:", signal.SIGKILL, -9),
    "kill in recommend": Interruption("recommend", "recommend:", signal.SIGKILL, -9, "recommendations"),
}
FOLDERS = {"features": "features", "train": "model", "evaluate": "evaluation", "recommend": "recommendations"}


@dataclasses.dataclass
class Evidence:
    """State after an interruption."""

    code: int
    said: str
    left: list[str]
    latest: bytes
    whole: bool
    stages: list[str]
    runs: int
    second_code: int | None = None
    second_said: str = ""


class Running:
    """A run in progress in a child process."""

    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen(
            command(*RUN),
            env=environment(home, TMPDIR=str(home / "tmp")),
            cwd=home,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = ""

    def wait_for(self, line: str) -> None:
        """Reads until a line contains these words."""
        assert self.process.stderr is not None
        for found in self.process.stderr:
            self.said += found
            if line in found:
                return
        raise AssertionError(f"the run ended without {line!r}: {self.said}")

    def end(self, by: signal.Signals) -> tuple[int, list[str]]:
        """Sends a signal and waits. Returns the exit status and the command lines of surviving descendants."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(by)
        self.said += self.process.communicate(timeout=300)[1]
        _, alive = psutil.wait_procs(children, PATIENCE)
        left = []
        for child in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                left.append(" ".join(child.cmdline()))
        return self.process.returncode, left


def new_run(output: Path, old: set[str]) -> Path:
    (found,) = (path for path in (output / "runs").iterdir() if path.name not in old)
    return found


def interrupt(home: Path, how: Interruption, old: set[str]) -> Evidence:
    """Starts or resumes the run, and interrupts it."""
    running, output = Running(home), home / "out"
    running.wait_for(how.line)
    while how.file is not None and not (new_run(output, old) / how.file).exists():
        time.sleep(0.002)
    second = None
    if how.stage == "train" and how.signal == signal.SIGKILL:
        running.process.send_signal(signal.SIGSTOP)  # it must not finish before the second is refused
        second = recsys(*RUN, home=home)
    code, left = running.end(how.signal)
    run = new_run(output, old)
    return Evidence(
        code=code,
        said=running.said,
        left=left,
        latest=(output / "latest.json").read_bytes(),
        whole=(run / FOLDERS[how.stage] / "_SUCCESS").exists(),
        stages=list(json.loads((run / "run.json").read_text())["stages"]),
        runs=len(list((output / "runs").iterdir())),
        second_code=second.returncode if second else None,
        second_said=second.stderr if second else "",
    )


@dataclasses.dataclass
class Story:
    """A run interrupted in every way, one after the other, then completed."""

    output: Path
    before: bytes
    evidence: dict[str, Evidence]
    last: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def undisturbed(built_in: Path) -> Path:
    """Output of the same run without interruptions."""
    return built_in / "out"


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, undisturbed: Path) -> Story:
    home = tmp_path_factory.mktemp("story")
    shutil.copytree(undisturbed, home / "out")
    (home / "tmp").mkdir()
    before, old = (home / "out" / "latest.json").read_bytes(), {path.name for path in (home / "out" / "runs").iterdir()}
    evidence = {name: interrupt(home, how, old) for name, how in STORY.items()}
    last = recsys(*RUN, home=home, changes={"TMPDIR": str(home / "tmp")})
    return Story(home / "out", before, evidence, last)


@pytest.mark.slow
@pytest.mark.parametrize("name", STORY)
def test_interrupted_run_leaves_nothing_behind(story: Story, name: str) -> None:
    found, how = story.evidence[name], STORY[name]
    assert found.code == how.code, found.said
    assert not found.left, f"still alive: {found.left}"
    assert "Traceback" not in found.said


@pytest.mark.slow
@pytest.mark.parametrize("name", STORY)
def test_interrupted_run_publishes_nothing_and_looks_unfinished(story: Story, name: str) -> None:
    found, how = story.evidence[name], STORY[name]
    assert found.latest == story.before
    assert not found.whole
    assert found.stages == list(FOLDERS)[: list(FOLDERS).index(how.stage)]


@pytest.mark.slow
@pytest.mark.parametrize("name", STORY)
def test_the_same_command_resumes_the_same_run(story: Story, name: str) -> None:
    assert story.evidence[name].runs == 2, "the old run and the resumed one"


@pytest.mark.slow
def test_finished_stages_are_not_repeated(story: Story) -> None:
    assert "features: already done" in story.evidence["kill in train"].said
    assert "train: already done" in story.evidence["kill in recommend"].said
    assert "evaluate: already done" in story.last.stderr


@pytest.mark.slow
def test_training_resumes_from_its_checkpoint(story: Story) -> None:
    assert "checkpoint saved" in story.evidence["SIGTERM in train"].said
    assert "resuming from the checkpoint" in story.evidence["kill in train"].said
    assert "resuming from the checkpoint" in story.evidence["kill in evaluate"].said


@pytest.mark.slow
def test_a_second_process_on_the_same_run_is_refused(story: Story) -> None:
    found = story.evidence["kill in train"]
    assert found.second_code == 75
    assert "another process is working on" in found.second_said and "--run-id" in found.second_said


@pytest.mark.slow
def test_the_result_is_the_same_as_without_interruptions(story: Story, undisturbed: Path) -> None:
    assert story.last.returncode == 0, story.last.stderr
    latest = json.loads((story.output / "latest.json").read_text())
    assert (story.output / "latest.json").read_bytes() != story.before
    contract.check_output(story.output, histories((story.output / latest["run"]).parent), USERS, ITEMS, 10)
    assert recommendations(story.output).equals(recommendations(undisturbed))


@pytest.mark.slow
def test_nothing_of_the_killed_processes_is_left(story: Story) -> None:
    assert not list((story.output.parent / "tmp").glob("*recsys*"))
    assert not list(story.output.rglob(".*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["train", "evaluate", "recommend"])
def test_disk_fills_up(undisturbed: Path, tmp_path: Path, stage: str) -> None:
    shutil.copytree(undisturbed, tmp_path / "out")
    unpublish(tmp_path / "out")
    (tmp_path / "out" / "latest.json").write_text('{"run_id": "the one before"}')
    before = (tmp_path / "out" / "latest.json").read_bytes()
    room = (run_folder(tmp_path / "out") / "run.json").stat().st_size + 2000

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    wide: dict[str, tuple[str, ...]] = {"recommend": ("--set", "recommend.k=70"), "evaluate": ONLY_POPULARITY}
    done = recsys(stage, "--redo", *wide.get(stage, ()), "--output", "out", home=tmp_path, preexec_fn=limit)
    assert done.returncode == 75, done.stderr
    assert "File too large" in done.stderr and "run the same command again" in done.stderr
    assert "Traceback" not in done.stderr and "internal error" not in done.stderr
    run = run_folder(tmp_path / "out")
    assert not (run / FOLDERS[stage] / "_SUCCESS").exists()
    assert not list(run.rglob("*.tmp"))
    assert (tmp_path / "out" / "latest.json").read_bytes() == before


Damage = Callable[[Path], object]
HALF: dict[str, Damage] = {
    "a part is missing": lambda run: next((run / "recommendations").glob("part-*")).unlink(),
    "the marker is missing": lambda run: (run / "recommendations" / "_SUCCESS").unlink(),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HALF)
def test_half_an_output_is_not_published(undisturbed: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(undisturbed, tmp_path / "out")
    unpublish(tmp_path / "out")
    HALF[name](run_folder(tmp_path / "out"))
    done = invoke("publish", "--output", "out", home=tmp_path)
    assert done.returncode in (2, 78), done.stderr
    assert "recommend" in done.stderr
    assert not (tmp_path / "out" / "latest.json").exists()
