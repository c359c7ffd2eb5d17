"""Polls latest.json all the time: it must be absent, or whole and name a complete run."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import pyarrow.parquet as pq

INTERVAL: Final = 0.002


class Watcher:
    """Watches an output while the block runs.

    Attributes:
        polls: how often it has looked.
        problems: what was wrong, each thing once.
    """

    def __init__(self, output: Path) -> None:
        self.polls = 0
        self.problems: list[str] = []
        self._output = output
        self._seen: bytes | None = None
        self._rows = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            self.polls += 1
            if (problem := self.look()) and (said := f"latest.json {problem}") not in self.problems:
                self.problems.append(said)
            time.sleep(INTERVAL)

    def look(self) -> str:
        """What is wrong at this moment; empty if nothing is."""
        try:
            content = (self._output / "latest.json").read_bytes()
        except FileNotFoundError:
            return "was there and is gone" if self._seen is not None else ""
        try:
            latest = json.loads(content)
            folder, manifest = self._output / latest["recommendations"], self._output / latest["run"]
        except (ValueError, KeyError, TypeError):
            return f"is no whole JSON: {content[:80]!r}"
        try:
            if content == self._seen:
                return "" if (folder / "_SUCCESS").exists() and manifest.exists() else f"names {folder}, which is incomplete"
            self._seen = content
            return self._complete(folder, json.loads(manifest.read_bytes()))
        except Exception as error:
            return f"names {folder}, which cannot be read: {type(error).__name__}: {error}"

    def _complete(self, folder: Path, manifest: dict[str, Any]) -> str:
        """Reads all that a new latest.json names."""
        rows = pq.read_table(folder).num_rows
        if not (folder / "_SUCCESS").exists() or rows != manifest["stages"]["recommend"]["rows"]:
            return f"names {folder}, which has {rows} rows and is incomplete"
        return ""
