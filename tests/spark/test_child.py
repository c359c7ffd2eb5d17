"""A function in a child process: result, errors, memory, and that nothing of it stays behind."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from recsys.errors import DataError, RecsysError
from recsys.spark import child

HERE = "tests.spark.targets:"


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(pids: list[int]) -> bool:
    end = time.monotonic() + 10
    while not all(gone(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    return all(gone(pid) for pid in pids)


def test_result_and_progress_come_back_and_noise_does_not() -> None:
    lines: list[str] = []
    outcome = child.call(HERE + "echo", {"a": [1, None, "ü"], "long": "x" * 300_000}, lines.append)
    assert outcome.result["got"] == {"a": [1, None, "ü"], "long": "x" * 300_000}
    assert lines == ["first line", "größer"]
    assert outcome.result["pid"] != os.getpid()
    assert gone(outcome.result["pid"])
    assert outcome.bytes_left == 0
    assert outcome.seconds > 0


def test_shares_come_from_any_thread() -> None:
    lines: list[str] = []
    shares: list[tuple[str, float]] = []
    child.call(HERE + "update", {}, lines.append, tell=lambda text, done: shares.append((text, done)))
    assert lines == ["b" * 5_000] * 100
    assert sorted(shares) == sorted(2 * [("a" * 5_000, n / 100) for n in range(100)])


def test_questions_are_answered_one_after_the_other() -> None:
    asked: list[str] = []

    def answer(question: str) -> str:
        asked.append(question)
        return question.upper() * 100_000

    assert child.call(HERE + "ask", {"questions": ["a", "ü"]}, print, answer=answer).result == ["A" * 100_000, "Ü" * 100_000]
    assert asked == ["a", "ü"]


def test_an_answer_that_fails_is_the_callers_error_and_ends_the_process() -> None:
    def answer(question: str) -> str:
        raise DataError("no answer")

    before = psutil.Process().children()
    with pytest.raises(DataError, match="no answer"):
        child.call(HERE + "ask", {"questions": ["a"]}, print, answer=answer)
    assert psutil.Process().children() == before


def test_peak_memory_is_measured() -> None:
    outcome = child.call(HERE + "allocate", {"bytes": 200 << 20}, print)
    assert 200 << 20 < outcome.peak_bytes < 400 << 20
    assert outcome.bytes_left == 0


def test_an_error_of_recsys_keeps_its_class_and_words() -> None:
    with pytest.raises(DataError, match=r"^events\.csv: no such column$"):
        child.call(HERE + "fail_data", {}, print)
    with pytest.raises(RecsysError, match=r"^something odd$"):
        child.call(HERE + "fail_plain", {}, print)


def test_a_defect_has_one_line_for_the_user_and_its_traceback_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(RecsysError) as caught:
        child.call(HERE + "fail_defect", {}, print)
    assert type(caught.value) is RecsysError
    assert "ValueError: seven is not eight" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "Traceback" in caplog.text


@pytest.mark.parametrize(("number", "words"), [(signal.SIGKILL, "memory"), (signal.SIGTERM, "status -15")])
def test_a_process_that_is_killed_is_an_error(number: int, words: str) -> None:
    with pytest.raises(RecsysError, match=words):
        child.call(HERE + "die", {"signal": int(number)}, print)


def test_an_exception_in_the_parent_kills_the_whole_tree() -> None:
    pids: list[int] = []

    def interrupt(line: str) -> None:
        pids.extend(int(pid) for pid in line.split())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        child.call(HERE + "linger", {}, interrupt)
    assert len(pids) == 2
    assert wait_until_gone(pids)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_death_of_the_parent_leaves_nothing_behind(tmp_path: Path, number: int) -> None:
    file = tmp_path / "pids"
    code = f"from tests.spark.targets import call_linger; call_linger({str(file)!r})"
    parent = subprocess.Popen([sys.executable, "-c", code])
    end = time.monotonic() + 20
    while not (file.exists() and file.read_text().endswith("\n")) and time.monotonic() < end:
        time.sleep(0.05)
    pids = [int(pid) for pid in file.read_text().split()]
    parent.send_signal(number)
    parent.wait(10)
    assert wait_until_gone(pids)
