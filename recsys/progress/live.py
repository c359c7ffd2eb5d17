"""Progress on a terminal: the lines scroll, and below them one line shows the stage, the share done and the time left."""

from __future__ import annotations

import atexit
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text


class Live:
    """Draws with rich, which honours NO_COLOR and leaves out the bar where TERM is dumb; see voice.Display."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False)
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[stage]}", style="bold", markup=False),
            BarColumn(24),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
            console=self._console,
            transient=True,
            expand=True,
            redirect_stdout=False,
            redirect_stderr=False,
            refresh_per_second=4,
        )
        self._task: TaskID | None = None
        self._stage, self._done = "", 0.0
        atexit.register(self.end)  # else the cursor would stay hidden after a failure outside of a stage

    def line(self, text: str) -> None:
        """Writes it above the bar."""
        self._console.print(Text(text), soft_wrap=True)

    def update(self, text: str, done: float | None) -> None:
        """Moves the bar; from the beginning if less is done than before, since that is other work."""
        task = self._shown()
        if done is not None and done < self._done:
            self._bars.reset(task, total=1.0)
        self._done = self._done if done is None else done
        self._bars.update(task, description=text, total=None if done is None else 1.0, completed=done)

    def begin(self, stage: str) -> None:
        """Shows the stage; how much of it is done is not known yet."""
        self.end()
        self._stage = stage
        self._shown()

    def end(self) -> None:
        """Takes the bar away."""
        if self._task is not None:
            self._bars.stop()
            self._bars.remove_task(self._task)
        self._task, self._stage, self._done = None, "", 0.0

    def _shown(self) -> TaskID:
        """The task of the bar, which is drawn if it was not."""
        if self._task is None:
            self._task = self._bars.add_task("", total=None, stage=self._stage)
            self._bars.start()
        return self._task
