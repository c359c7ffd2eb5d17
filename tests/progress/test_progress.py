"""What is seen of a command at work: a bar on a terminal, plain lines elsewhere, JSON where it is asked for."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from recsys.config import Config
from recsys.progress import Progress, Voice
from recsys.run import runs
from tests.command import BUILT_IN, Command, environment, invoke

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal(io.StringIO):
    """What a terminal of 100 columns would get."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (("COLUMNS", "100"), ("TERM", "xterm-256color")):
        monkeypatch.setenv(name, value)
    return Terminal()


def work(progress: Progress, seconds: float = 0.0) -> None:
    """As a stage does, in twice as many seconds."""
    with progress.stage("train", 2, 5):
        progress("train:")
        progress.update("fit [1/2]", 0.25)
        time.sleep(seconds)
        progress.update("fit [2/2]", 0.5)
        time.sleep(seconds)
        progress("  [bold]half[/bold]")
        progress.update("other work", 0.0)


def records(text: str) -> list[dict[str, Any]]:
    """The objects, one a line."""
    return [json.loads(line) for line in text.splitlines()]


def test_a_terminal_shows_stage_share_and_time_left(terminal: Terminal) -> None:
    work(Progress(terminal), 0.6)
    shown = terminal.getvalue()
    bars = [line for line in re.split(r"[\r\n]+", ESCAPES.sub("", shown)) if "train (2/5)" in line]
    assert any(re.search(r"train \(2/5\) .* 50% +\d+:\d\d:\d\d fit \[2/2\]", line) for line in bars), bars
    assert any(re.search(r" 0% .*other work", line) for line in bars), bars
    assert "\n  [bold]half[/bold]\n" in ESCAPES.sub("", shown).replace("\r", "\n"), "text is no markup"
    assert shown.rstrip().endswith("\x1b[2K") and shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1


def test_no_color_and_a_dumb_terminal_are_honoured(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    assert re.search(r"\x1b\[[0-9;]*m", _shown(terminal))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[(3|4|9)[0-9;]*m", _shown(Terminal()))
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in _shown(Terminal())


def _shown(terminal: Terminal) -> str:
    work(Progress(terminal))
    return terminal.getvalue()


def test_elsewhere_there_are_plain_lines_and_rich_is_not_loaded(tmp_path: Path) -> None:
    code = (
        "import sys; from recsys.progress import Progress; from tests.progress.test_progress import work\n"
        "work(Progress()); print([name for name in sys.modules if name.split('.')[0] == 'rich'])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(tmp_path), capture_output=True, text=True, check=True)
    assert done.stderr == "train:\n  [bold]half[/bold]\n"
    assert done.stdout.strip() == "[]"


def test_json_says_where_a_line_comes_from() -> None:
    stream, voice = io.StringIO(), Voice("json", run_id="r")
    progress = Progress(stream, voice=voice)
    work(progress)
    progress("  warning: it is late,\x1b[2J password=hunter2\nand dark")
    first, quarter, half, last = records(stream.getvalue())
    assert datetime.fromisoformat(first.pop("time")).utcoffset() is not None
    assert first == {"level": "info", "run_id": "r", "stage": "train", "message": "train:"}
    assert (quarter["message"], quarter["done"]) == ("fit [1/2]", 0.25)
    assert half["message"] == "[bold]half[/bold]", "a share so soon after another is left out"
    assert (last["level"], last["message"]) == ("warning", "it is late,[2J password=***\nand dark") and "stage" not in last


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (TRACEPARENT, (TRACE, SPAN)),
        (f"cc-{TRACE}-{SPAN}-00-what-the-future-will-be", (TRACE, SPAN)),
        *((wrong, (None, None)) for wrong in ("", "00", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01")),
        *((wrong, (None, None)) for wrong in (f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE.upper()}-{SPAN}-01")),
        *((wrong, (None, None)) for wrong in (f"00-{TRACE}-{SPAN}-01-more", f"00-{TRACE}-{SPAN}", f"00-{TRACE}{SPAN}-01")),
    ],
)
def test_the_trace_is_that_of_a_well_formed_traceparent(given: str, found: tuple[str | None, str | None]) -> None:
    (line,) = records(Voice.of({"RECSYS_LOG_FORMAT": "json", "TRACEPARENT": given}).record("x", "info"))
    assert (line.get("trace_id"), line.get("span_id")) == found


def test_the_reason_of_a_failure_is_json_too(tmp_path: Path) -> None:
    made = runs.create(Config(output=str(tmp_path / "out")), "r")
    words, trace = ("--log-format", "json", "--output", "out"), {"TRACEPARENT": TRACEPARENT}
    for command in (("publish", "--run-id", "r"), ("run", "--sed", "3"), ("run", "--seed", "x"), ("rollback",)):
        done = invoke(*command, *words, home=tmp_path, changes=trace)
        assert done.returncode == 2 and done.stdout == ""
        line = records(done.stderr)[-1]
        assert (line["level"], line["exit_code"], line["trace_id"]) == ("error", 2, TRACE), done.stderr
    done = invoke("publish", "--output", "out", home=tmp_path, changes={"RECSYS_LOG_FORMAT": "json"})
    (line,) = records(done.stderr)
    assert (line["run_id"], line["stage"]) == (made.run_id, "publish") and "needs 'recommend' first" in line["message"]
    done = invoke("publish", "--output", "out", home=tmp_path)
    assert done.stderr.startswith("recsys: run r: 'publish' needs 'recommend' first")


def test_every_line_of_a_command_is_json_also_those_of_the_process_with_spark(with_spark: Command, tmp_path: Path) -> None:
    words = ("features", *BUILT_IN, "--log-format", "json", "--output", tmp_path / "out", "--run-id", "r")
    done = with_spark(*words, home=tmp_path, changes={"TRACEPARENT": TRACEPARENT})
    assert done.returncode == 0
    lines = records(done.stderr)
    assert {(line["run_id"], line["trace_id"], line["span_id"]) for line in lines} == {("r", TRACE, SPAN)}
    (read,) = (line for line in lines if line["message"] == "reading and cleaning the events")
    assert (read["stage"], read["level"]) == ("features", "info")
    assert (lines[-1]["message"], lines[-1]["done"]) == ("finished", 1.0)
