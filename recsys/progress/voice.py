"""How a process speaks: in text, or in JSON with the run, the stage and the trace in each line."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final, Protocol, Self, TextIO

from recsys.progress.plain import Plain
from recsys.redaction import Formatter, printable

TEXT: Final = "text"
JSON: Final = "json"
FORMATS: Final = (TEXT, JSON)
OPTION: Final = "--log-format"
VARIABLE: Final = "RECSYS_LOG_FORMAT"
TRACE_VARIABLE: Final = "TRACEPARENT"
_TRACE: Final = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?", re.ASCII)
"""https://www.w3.org/TR/trace-context/#traceparent-header"""


class Display(Protocol):
    """Where lines go. The text is printable already."""

    def line(self, text: str) -> None:
        """Writes a line, or several."""

    def update(self, text: str, done: float | None) -> None:
        """What is at hand, and the share of it that is done."""

    def begin(self, stage: str) -> None:
        """A stage begins."""

    def end(self) -> None:
        """It has ended."""


@dataclass(frozen=True)
class Trace:
    """Whose part this process is, by the ids of the W3C trace context, in hexadecimal."""

    trace_id: str
    span_id: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self | None:
        """The trace of TRACEPARENT; None if that is not set or malformed."""
        found = _TRACE.fullmatch(environment.get(TRACE_VARIABLE, "").strip())
        if found is None or (found[1] == "00" and found[4]):
            return None
        return cls(found[2], found[3])


@dataclass
class Voice:
    """What the lines of a process have in common.

    Attributes:
        form: out of FORMATS.
        trace: see Trace.
        run_id: the run at work, once it is known.
        stage: the stage at work, if any.
    """

    form: str = TEXT
    trace: Trace | None = None
    run_id: str | None = None
    stage: str | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str], words: Sequence[str] = ()) -> Self:
        """As the environment asks for, or the words of a command line, which may turn out to be wrong in other respects."""
        asked = environment.get(VARIABLE) == JSON or f"{OPTION}={JSON}" in words or (OPTION, JSON) in pairwise(words)
        return cls(JSON if asked else TEXT, Trace.of(environment))

    def display(self, stream: TextIO | None = None) -> Display:
        """Where lines go: JSON, a bar on a terminal, or plain lines elsewhere; by default on standard error."""
        stream = stream or sys.stderr
        if self.form == JSON:
            from recsys.progress.json_lines import Records

            return Records(stream, self.record)
        if stream.isatty():
            from recsys.progress.live import Live

            return Live(stream)
        return Plain(stream)

    def warn(self, text: str) -> None:
        """A Log for what the user must see even with --quiet."""
        self.say(text, "warning")

    def say(self, text: str, level: str, **more: Any) -> None:
        """Writes a line that belongs to no progress, such as the reason of a failure, with more keys in JSON."""
        text = printable(text)
        line = self.record(text, level, **more) if self.form == JSON else f"recsys: {text}"
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def record(self, message: str, level: str, **more: Any) -> str:
        """One line of JSON. The message is printable already; keys without a value are left out."""
        traced = {} if self.trace is None else {"trace_id": self.trace.trace_id, "span_id": self.trace.span_id}
        time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        found = {"time": time, "level": level, "run_id": self.run_id, "stage": self.stage, "message": message, **traced, **more}
        return json.dumps({name: value for name, value in found.items() if value is not None}, ensure_ascii=False)


class LogFormatter(Formatter):
    """Log records of libraries and of recsys itself, in the form of a voice."""

    def __init__(self, voice: Voice) -> None:
        super().__init__(logging.BASIC_FORMAT)
        self._voice = voice

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        text = super().format(record)
        return text if self._voice.form == TEXT else self._voice.record(text, record.levelname.lower())
