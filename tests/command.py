"""Runs the command line as a user does, in a child process or in this one, and holds a small configuration for it."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
from click.testing import CliRunner

from recsys.cli import main
from recsys.errors import EXIT_DEFECT
from recsys.spark.child import Outcome
from recsys.spark.tasks import Tell

Command = Callable[..., subprocess.CompletedProcess[str]]

ROOT = Path(__file__).resolve().parent.parent
SPARK = ("--spark-master", "local[2]")
SMALL = ("--set", "model.width=16", "--set", "model.dilations=1,2", "--set", "training.refit_epochs=1")
SMALL += ("--set", "training.xla=off", "--set", "evaluation.bootstrap=20", "--set", "publish.must_beat=")
SMALL += ("--set", "split.allow_few=true")
"""For tiny data: the network trains in seconds and is published however poor it is."""
ONLY_POPULARITY = ("--set", "evaluation.baselines=popularity")
"""The cheapest baseline. ALS would start Spark twice."""
SYNTHETIC = (
    "--set",
    "source.synthetic.users=60",
    "--set",
    "source.synthetic.items=80",
    "--set",
    "source.synthetic.mean_events=12",
)
BUILT_IN = (*SYNTHETIC, *SMALL, *SPARK, "--epochs", "2", "--set", "recommend.block_users=16")
USERS, ITEMS = range(1, 61), range(1, 81)
"""Ids of the built-in data of that size."""
USERS_WITHOUT_EVENTS = {58}
"""One in a hundred."""

TOML = """\
[source]
dataset = "tabular"
{source}
[source.interactions]
path = "{path}"
user_id = "user"
item_id = "item"
rating = "stars"
timestamp = "time"
{table}
"""


def environment(home: Path, **changes: str) -> dict[str, str]:
    """This environment without recsys settings, with its own home and therefore its own cache."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RECSYS")}
    path = os.pathsep.join(filter(None, (changes.pop("PYTHONPATH", ""), str(ROOT), kept.get("PYTHONPATH", ""))))
    return {**kept, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PYTHONPATH": path, **changes}


def command(*words: object) -> list[str]:
    """The command as an argument list for subprocess."""
    return [sys.executable, "-m", "recsys.cli", *map(str, words)]


def recsys(
    *words: object, home: Path, changes: Mapping[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Runs a command in a child process; `home` is its working directory and home. An exit with 70 fails."""
    done = subprocess.run(
        command(*words),
        env=environment(home, **(changes or {})),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        **options,
    )
    return without_defect(done)


def without_defect(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """Checks that the command did not end as a bug in recsys: whatever is wrong, it says what that is."""
    assert done.returncode != EXIT_DEFECT, f"{done.args} ended as a defect: {done.stderr}"
    return done


def invoke(
    *words: object, home: Path, changes: Mapping[str, str] | None = None, session: Any = None
) -> subprocess.CompletedProcess[str]:
    """Like `recsys`, but in this process, so TensorFlow is imported only once.

    Work that the command would hand to a child process runs here too. Spark's working directory is not `home`: when you pass
    a session, pass absolute paths.

    Args:
        words: the command's arguments.
        home: working directory and home.
        changes: environment variables to set.
        session: Spark session to use. Without one, a command that starts Spark fails.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.chdir(home))
        stack.enter_context(mock.patch.dict(os.environ, environment(home, **(changes or {})), clear=True))
        stack.callback(signal.signal, signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        stack.callback(setattr, sys, "unraisablehook", sys.unraisablehook)
        stack.enter_context(children_here(session))
        done = CliRunner().invoke(main, [*map(str, words)], prog_name="recsys")
    return without_defect(subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr))


@contextlib.contextmanager
def children_here(session: Any) -> Iterator[None]:
    """Runs child calls in this process and in `session`. Arguments and results still go through JSON."""

    @contextlib.contextmanager
    def given(*_: object, **__: object) -> Iterator[Any]:
        assert session is not None, "Spark was started"
        yield session

    @contextlib.contextmanager
    def given_context(*_: object, **__: object) -> Iterator[Any]:
        with given() as found:
            yield found.sparkContext

    class Here:
        def __init__(self, progress: Callable[[str], None], answer: Callable[[Any], Any], tell: Tell) -> None:
            self._progress, self._answer, self._tell = progress, answer, tell

        def __call__(self, line: str) -> None:
            self._progress(line)

        def update(self, text: str, done: float) -> None:
            self._tell(text, done)

        def ask(self, question: Any) -> Any:
            return json.loads(json.dumps(self._answer(json.loads(json.dumps(question)))))

    def call(
        target: str,
        arguments: Mapping[str, Any],
        progress: Callable[[str], None],
        variables: Mapping[str, str] | None = None,
        answer: Callable[[Any], Any] = json.dumps,
        tell: Tell = lambda text, done: None,
    ) -> Outcome:
        module, _, name = target.partition(":")
        parent = Here(progress, answer, tell)
        result = getattr(importlib.import_module(module), name)(json.loads(json.dumps(arguments)), parent)
        return Outcome(json.loads(json.dumps(result)), seconds=0.0, peak_bytes=1, bytes_left=0)

    with (
        mock.patch("recsys.spark.child.call", call),
        mock.patch("recsys.spark.session.spark_session", given),
        mock.patch("recsys.features.pipeline.spark_context", given_context),
    ):
        yield


def succeed(*words: object, home: Path, run: Command = recsys) -> subprocess.CompletedProcess[str]:
    """Runs a command that must exit with 0."""
    done = run(*words, home=home)
    assert done.returncode == 0, done.stderr
    return done


def assert_refused(done: subprocess.CompletedProcess[str], code: int, *words: str, output: Path | None = None) -> None:
    """Checks exit code and message, and that there is no Python or Java traceback and nothing published."""
    said = done.stderr + done.stdout
    assert done.returncode == code, said
    for word in words:
        assert word in said, f"{word!r} is not in: {said}"
    for noise in ("Traceback", "\tat ", "py4j", "java.lang", "internal error"):
        assert noise not in said, said
    if output is not None:
        assert not (output / "latest.json").exists()
        assert not list(output.glob("runs/*/features/_SUCCESS"))


def recommendations(output: Path) -> pa.Table:
    """The published recommendations, without the files' metadata."""
    latest = json.loads((output / "latest.json").read_text(encoding="utf-8"))
    return pq.read_table(output / latest["recommendations"]).replace_schema_metadata(None)


def histories(run: Path) -> dict[Any, set[Any]]:
    """Item ids by user id, from the features of a run."""
    users, items, rows = (pq.read_table(run / "features" / name) for name in ("users", "items", "histories"))
    user_ids, item_ids = users.column("user_id").to_pylist(), items.column("item_id").to_pylist()
    found = rows.select(["user_index", "items"]).to_pylist()
    return {user_ids[row["user_index"] - 1]: {item_ids[item - 1] for item in row["items"]} for row in found}


def run_folder(output: Path) -> Path:
    """The folder of the only run of an output."""
    (found,) = (output / "runs").iterdir()
    return found


def manifest(output: Path) -> dict[str, Any]:
    """run.json of the only run of an output."""
    value: dict[str, Any] = json.loads((run_folder(output) / "run.json").read_text(encoding="utf-8"))
    return value


def unpublish(output: Path) -> None:
    """Makes the only run of an output one that is finished but was never published, since those that were never change."""
    (output / "latest.json").unlink()
    facts = manifest(output)
    del facts["stages"]["publish"]
    (run_folder(output) / "run.json").write_text(json.dumps({**facts, "status": "running"}, indent=2), encoding="utf-8")


def write_toml(folder: Path, path: str, source: str = "", table: str = "") -> Path:
    """Writes a configuration for events in the columns user, item, stars and time; returns its path."""
    file = folder / "shop.toml"
    file.write_text(TOML.format(path=path, source=source, table=table), encoding="utf-8")
    return file
