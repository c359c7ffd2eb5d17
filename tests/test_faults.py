"""The benchmark of faults itself: it draws every kill, and sees what it is there to see."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.faults import process
from benchmarks.faults.plan import COMBINATIONS, WITH_ALS, Deck
from benchmarks.faults.watcher import Watcher


def test_every_combination_is_drawn_equally_often() -> None:
    deck = Deck(random.Random(0))
    jobs = [deck.job(number, 8) for number in range(1, 200)]
    drawn = Counter((kill.stage, kill.signal, kill.target) for job in jobs for kill in job.kills)
    assert set(drawn) == {*COMBINATIONS, *WITH_ALS}
    for kind in (COMBINATIONS, WITH_ALS):
        counts = [drawn[one] for one in kind]
        assert max(counts) - min(counts) <= 1
    assert {(job.by_stage, job.over) for job in jobs} == {(False, False), (False, True), (True, False), (True, True)}
    assert all(job.als for job in jobs if any((kill.stage, kill.signal, kill.target) in WITH_ALS for kill in job.kills))


def test_the_same_seed_draws_the_same_kills_and_a_late_one_is_drawn_again() -> None:
    one, other = Deck(random.Random(3)), Deck(random.Random(3))
    first = one.job(1, 4)
    assert first == other.job(1, 4)
    one.put_back(first.kills[0])
    rest = [kill for _ in range(20) for kill in one.job(2, 8).kills][: len(COMBINATIONS) - 3]
    late = (first.kills[0].stage, first.kills[0].signal, first.kills[0].target)
    assert [(kill.stage, kill.signal, kill.target) for kill in rest].count(late) == 1


def publish(output: Path, rows: int = 3) -> None:
    """A complete run that latest.json names."""
    folder = output / "runs" / "r" / "recommendations"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"user_id": [1, 2, 3]}), folder / "part-00000.parquet")
    (folder / "_SUCCESS").touch()
    (folder.parent / "run.json").write_text(json.dumps({"stages": {"recommend": {"rows": rows}}}))
    latest = {"run_id": "r", "recommendations": "runs/r/recommendations", "run": "runs/r/run.json"}
    (output / "latest.json").write_text(json.dumps(latest))


def damaged(output: Path) -> None:
    (output / "runs" / "r" / "recommendations" / "part-00000.parquet").write_bytes(b"PAR1")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "is no whole JSON": lambda output: (output / "latest.json").write_text('{"run_id": '),
    "which is incomplete": lambda output: (output / "runs" / "r" / "recommendations" / "_SUCCESS").unlink(),
    "was there and is gone": lambda output: (output / "latest.json").unlink(),
}


def test_the_watcher_is_content_with_nothing_and_with_a_complete_run(tmp_path: Path) -> None:
    watcher = Watcher(tmp_path)
    assert watcher.look() == ""
    publish(tmp_path)
    assert watcher.look() == "" and watcher.look() == ""


@pytest.mark.parametrize("message", DAMAGE)
def test_the_watcher_sees_what_readers_would_stumble_over(tmp_path: Path, message: str) -> None:
    publish(tmp_path)
    watcher = Watcher(tmp_path)
    assert watcher.look() == ""
    DAMAGE[message](tmp_path)
    assert message in watcher.look()


def test_the_watcher_tells_each_thing_once(tmp_path: Path) -> None:
    (tmp_path / "latest.json").write_text("{")
    with Watcher(tmp_path) as watcher:
        while watcher.polls < 5:
            watcher._ended.wait(0.002)
    assert watcher.problems == ["latest.json is no whole JSON: b'{'"]


def test_the_watcher_reads_what_a_new_latest_json_names(tmp_path: Path) -> None:
    publish(tmp_path, rows=4)
    assert "has 3 rows" in Watcher(tmp_path).look()
    damaged(tmp_path)
    assert "cannot be read" in Watcher(tmp_path).look()


def test_a_process_whose_parent_is_gone_is_found(tmp_path: Path) -> None:
    sleeper = "import time; print(flush=True); time.sleep(600)"
    parent = (
        "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=subprocess.PIPE); "
        "child.stdout.readline()"  # until then it may still be what it was before exec
    )
    subprocess.run([sys.executable, "-c", parent, sleeper], env={**os.environ, process.MARK: str(tmp_path)}, check=True)
    (found,) = process.orphans(tmp_path, patience=0.0)
    assert "time.sleep(600)" in found
    process.end_orphans(tmp_path)
    assert process.orphans(tmp_path) == []


def test_a_command_without_more_work_ignores_sigterm_or_is_gone() -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    for words, done in ((deaf, True), (deaf.replace("SIG_IGN", "SIG_DFL"), False)):
        with subprocess.Popen([sys.executable, "-c", words], stdout=subprocess.PIPE) as sleeper:
            assert sleeper.stdout is not None
            sleeper.stdout.readline()
            assert process.is_done(sleeper.pid) is done
            sleeper.kill()
        assert process.is_done(sleeper.pid)
