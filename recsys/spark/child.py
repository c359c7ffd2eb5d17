"""Runs a function in a child process, so that Spark's JVM and its memory are gone when the function returns.

The child is `python -m recsys.spark.child` in a session of its own. The parent sends lines of JSON to its standard input, a
request and answers, and keeps the pipe open; when the parent dies and the pipe closes, the child kills its whole process group.
The child sends lines of JSON: progress, questions, and finally a result or an error. What Spark prints goes to a log, whose end
is logged on failure.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import logging
import os
import queue
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import IO, Any, Final

import psutil

from recsys import storage
from recsys.errors import BY_EXIT_CODE, EXIT_DEFECT, RecsysError, shortened
from recsys.progress import Log
from recsys.spark.ends import ended
from recsys.spark.tasks import Tell

SAMPLE_SECONDS: Final = 0.2
GRACE_SECONDS: Final = 10.0
LOG_TAIL: Final = 8000

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a function returned, and what it cost.

    Attributes:
        result: the function's return value, after a round trip through JSON.
        seconds: wall time, including the start of the process.
        peak_bytes: peak of the resident memory of the process and all its descendants together, sampled.
        bytes_left: resident memory of those still alive afterwards; 0 unless one escaped.
    """

    result: Any
    seconds: float
    peak_bytes: int
    bytes_left: int


def call(
    target: str,
    arguments: Mapping[str, Any],
    progress: Log,
    variables: Mapping[str, str] | None = None,
    started: Callable[[int], None] = lambda pid: None,
    answer: Callable[[Any], Any] = lambda question: None,
    tell: Tell = lambda text, done: None,
) -> Outcome:
    """Calls `target(arguments, progress)` in a new process.

    Args:
        target: "module:function"; the function takes the arguments and a `Parent`, which is a callback for lines of progress.
        arguments: JSON types only.
        progress: called in this process with each line of progress.
        variables: of the environment, besides those of this process.
        started: told the process id, which is also that of its group.
        answer: called in this process with what the function asks (Parent.ask), JSON types only.
        tell: called in this process with the share that the function says is done (Parent.update).

    Raises:
        RetryError: the process was killed, most likely out of memory.
        RecsysError: the error that the function raised, with its class and message; for any other failure a plain RecsysError
            (exit 70), and the end of the child's log goes to this module's logger at level INFO.
    """
    began = time.monotonic()
    with storage.scratch("child") as temporary, tempfile.TemporaryFile() as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "recsys.spark.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            env={
                **os.environ,
                **(variables or {}),
                "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
                "TMPDIR": temporary,  # of the child, Spark and its workers: killed, they leave nothing behind
            },
        )
        meter = _Meter(child.pid)
        try:
            started(child.pid)
            found = _talk(child, {"target": target, "arguments": arguments}, progress, answer, tell)
            bytes_left = meter.finish(GRACE_SECONDS)
        finally:
            meter.stop()
            _kill_group(child)
        if found is None or "error" in found:
            _raise_failure(target, found, child.returncode, log)
        return Outcome(found["result"], time.monotonic() - began, meter.peak_bytes, bytes_left)  # type: ignore[index]


def _talk(
    child: subprocess.Popen[bytes], request: Mapping[str, Any], progress: Log, answer: Callable[[Any], Any], tell: Tell
) -> dict[str, Any] | None:
    """Sends the request, answers questions, and returns what came of it, or None if the child ended without that."""
    if child.stdout is None:
        return None
    _send(child.stdin, request)
    found: dict[str, Any] | None = None
    for line in child.stdout:
        message: dict[str, Any] = json.loads(line)
        if "progress" in message:
            progress(message["progress"])
        elif "update" in message:
            tell(*message["update"])
        elif "question" in message:
            _send(child.stdin, {"answer": answer(message["question"])})
        else:
            found = message
    child.wait()
    return found


def _send(pipe: IO[bytes] | None, message: Mapping[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):
        if pipe is not None:
            pipe.write(json.dumps(message).encode() + b"\n")
            pipe.flush()


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def _raise_failure(target: str, answer: Mapping[str, Any] | None, returncode: int, log: IO[bytes]) -> None:
    log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_TAIL))
    tail = log.read().decode(errors="replace").strip()
    if answer is not None:
        error = answer["error"]
        if not error["defect"]:
            raise BY_EXIT_CODE.get(error["code"], RecsysError)(error["message"])
        logger.info("%s failed:\n%s\n%s", target, error["traceback"], tail)
        raise RecsysError(f"{target} failed, a defect in recsys: {error['message']}")
    logger.info("%s ended with status %s; the end of its log:\n%s", target, returncode, tail)
    raise ended(f"the process of {target}", returncode, shortened(tail, 300))


class _Meter:
    """Samples the resident memory of a process and all its descendants from a thread."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._pid = pid
        self._seen: dict[int, psutil.Process] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def finish(self, grace: float) -> int:
        """Waits up to `grace` seconds until all are gone; returns the bytes of those that are not."""
        self.stop()
        end = time.monotonic() + grace
        while (left := self._living_bytes()) and time.monotonic() < end:
            time.sleep(0.05)
        return left

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with contextlib.suppress(psutil.Error):
                root = self._seen.get(self._pid) or psutil.Process(self._pid)
                for process in [root, *root.children(recursive=True)]:
                    self._seen.setdefault(process.pid, process)
            self.peak_bytes = max(self.peak_bytes, self._living_bytes())
            if self._ended.wait(SAMPLE_SECONDS):
                return

    def _living_bytes(self) -> int:
        total = 0
        for process in list(self._seen.values()):
            with contextlib.suppress(psutil.Error):
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    total += process.memory_info().rss
        return total


class Parent:
    """The process that called, as the function in the child sees it: called with a line of progress, it passes it on."""

    def __init__(self) -> None:
        self._out, self._sending = os.fdopen(os.dup(1), "w", encoding="utf-8"), threading.Lock()
        os.dup2(2, 1)  # whatever Python, Spark or the JVM print goes to the log
        self._said: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=self._listen, args=(os.getppid(),), daemon=True).start()

    def __call__(self, line: str) -> None:
        """Sends a line of progress."""
        self.send({"progress": line})

    def update(self, text: str, done: float) -> None:
        """Sends what is at hand and the share of it that is done; any thread may."""
        self.send({"update": [text, done]})

    def ask(self, question: Any) -> Any:
        """What the parent's `answer` returns for the question; JSON types only."""
        self.send({"question": question})
        return self.hear()["answer"]

    def send(self, message: Mapping[str, Any]) -> None:
        """Sends a message."""
        with self._sending:
            self._out.write(json.dumps(message) + "\n")
            self._out.flush()

    def hear(self) -> dict[str, Any]:
        """Waits for the next message."""
        return self._said.get()

    def _listen(self, pid: int) -> None:
        """Reads messages; kills this process group when the parent is gone: the pipe closes, or another becomes the parent."""
        begun = b""
        while os.getppid() == pid:
            if not select.select([0], [], [], 1.0)[0]:
                continue
            part = os.read(0, 65536)
            if not part:
                break
            *lines, begun = (begun + part).split(b"\n")
            for line in lines:
                self._said.put(json.loads(line))
        os.killpg(0, signal.SIGKILL)


def main() -> None:
    """The child: hears one request, sends progress, questions and one result."""
    parent = Parent()
    request, send = parent.hear(), parent.send
    try:
        module, _, name = request["target"].partition(":")
        send({"result": getattr(importlib.import_module(module), name)(request["arguments"], parent)})
    except Exception as error:
        known = error if isinstance(error, RecsysError) else storage.known(error)
        if known is not None:
            send({"error": {"defect": False, "code": known.exit_code, "message": str(known)}})
            return
        words = shortened(f"{type(error).__name__}: {error}")
        tail = traceback.format_exc()[-LOG_TAIL:]
        send({"error": {"defect": True, "code": EXIT_DEFECT, "message": words, "traceback": tail}})


if __name__ == "__main__":
    main()
