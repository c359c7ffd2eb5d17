"""The command line: every command parses, calls one function and turns errors into exit codes."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from typing import Any

import click

from recsys import __version__, settings
from recsys.config import Config
from recsys.errors import ConfigError
from recsys.progress import Progress
from recsys.run import job
from recsys.run.ending import EXIT_CODES, Group, Stop
from recsys.run.stages import Job

Command = Callable[..., Any]

_RUN_OPTIONS: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    (
        ("--dataset", "source.dataset"),
        {"help": "synthetic, tabular, or a MovieLens data set (recsys dataset list). [default: synthetic]"},
    ),
    (("--dataset-path", "source.path"), {"help": "Zip or folder of the MovieLens data set, instead of a download."}),
    (("--split", "split.method"), {"help": "leave-one-out, per-user-ratio, global-time or none. [default: global-time]"}),
    (("--k", "recommend.k"), {"help": "Recommendations a user. [default: 10]"}),
    (("--epochs", "training.epochs"), {"help": "Epochs. [default: from the size of the data]"}),
    (("--seed", "seed"), {"help": "Seed of everything random. [default: 0]"}),
    (("--device", "training.device"), {"help": "auto, cpu or gpu. gpu fails where there is none; auto falls back to the CPU."}),
    (("--precision", "training.precision"), {"help": "auto, float32, mixed_bfloat16 or mixed_float16."}),
    (("--xla", "training.xla"), {"help": "auto, on or off."}),
    (("--spark-master", "spark.master"), {"help": "Spark master URL. [default: local[*]]"}),
]

_SET = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="SECTION.FIELD=VALUE",
    help="Any setting of recsys/config.py, such as training.epochs=5; may be repeated.",
)


def _options(command: Command) -> Command:
    """Options of the commands that begin a run."""
    for (flag, field), extra in reversed(_RUN_OPTIONS):
        command = click.option(flag, field.replace(".", "__"), **extra)(command)
    command = click.option("--spark-conf", multiple=True, metavar="KEY=VALUE", help="A Spark property; may be repeated.")(
        command
    )
    command = click.option("--config", "file", type=click.Path(), help="TOML file; see README, 'Your own events'.")(command)
    return _place(command)


def _place(command: Command) -> Command:
    """Options that say which run."""
    for decorate in (
        click.option("--quiet", is_flag=True, help="No progress."),
        _SET,
        click.option("--run-id", help="Name of the run; the newest, or a new one, when left out."),
        click.option("--output", help="Folder or URI of the output. [default: out]"),
    ):
        command = decorate(command)
    return command


@click.group(cls=Group, epilog=EXIT_CODES, context_settings={"max_content_width": 110, "help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="recsys")
def main() -> None:
    """Events in, the best next items for every user out, as Parquet.

    \b
    recsys run                                        built-in data, on a CPU, in a minute
    recsys run --dataset ml-1m --output out           MovieLens 1M: download, train, measure, recommend
    recsys run --config shop.toml --output out        your own CSV or Parquet events
    recsys show --output out --user 42                what one user had, and gets

    Settings come from defaults, then the file (--config), then the environment (RECSYS__SECTION__FIELD), then the
    command line.
    """
    if os.environ.get("RECSYS_DEBUG"):
        logging.basicConfig(level=logging.INFO)


@main.command()
@_options
def run(file: str | None, output: str | None, run_id: str | None, quiet: bool, **given: Any) -> None:
    """Does everything: features, train, evaluate, recommend, publish.

    An unfinished run with the same settings is gone on with: finished stages are skipped, training resumes from its checkpoint.
    """
    _begin(file, output, run_id, quiet, given, job.STAGES)


@main.command()
@_options
def features(file: str | None, output: str | None, run_id: str | None, quiet: bool, **given: Any) -> None:
    """Begins a run: cleans, indexes, splits and encodes the events with Spark."""
    _begin(file, output, run_id, quiet, given, ("features",))


def _stage(name: str, sections: tuple[str, ...], text: str, *options: Callable[[Command], Command]) -> None:
    """Declares the command of one later stage; it may change the settings of its own sections alone."""

    @_place
    @click.option("--redo", is_flag=True, help="Do it again though it is done, and forget the stages that follow from it.")
    @click.option(
        "--wait",
        type=click.FloatRange(0),
        metavar="SECONDS",
        help="Wait for what it needs, made by other processes; exit code 75 when that is not there by then. Needs --run-id.",
    )
    def command(
        output: str | None,
        run_id: str | None,
        quiet: bool,
        changes: tuple[str, ...],
        redo: bool,
        wait: float | None,
        shard: str | None = None,
    ) -> None:
        from recsys.run import runs

        place, progress = output or Config().output, Progress(quiet=quiet)
        if wait is not None:
            if run_id is None:
                raise ConfigError("--wait needs --run-id: the newest run may be one that has finished long ago")
            job.wait(runs.Run(place, run_id), name, wait, progress)
        found = runs.find(place, run_id)
        asked = settings.change(found.config(), _pairs(changes, "--set"), sections)
        work = Job(asked, found, progress, Stop())
        if shard is None:
            _work(work, (name,), redo)
        else:
            _work_on_shard(work, shard, redo or bool(changes), wait or 0.0)

    for decorate in options:
        command = decorate(command)
    main.command(name, help=text)(command)


_stage("train", ("model", "training"), "Trains the network on a run's features; resumes from a checkpoint.")
_stage("evaluate", ("evaluation",), "Measures the network and the traditional methods on the test events.")
_stage(
    "recommend",
    ("recommend",),
    "Writes the top K items of every user as Parquet.",
    click.option(
        "--shard",
        metavar="[INDEX/]COUNT",
        help="Score one of COUNT parts of the users, from 0 on; the last to finish merges all. [index: JOB_COMPLETION_INDEX]",
    ),
)
_stage(
    "publish",
    ("publish",),
    "Moves latest.json to the run, if it passes the quality gate, and deletes old runs (publish.keep_runs).\n\n"
    "To go back to a run that was published before: recsys rollback.",
)


@main.command()
@click.option("--output", default="out", show_default=True, help="Folder or URI of the output.")
@click.option("--run-id", help="A run published before; the newest that is older than the present one when left out.")
def rollback(output: str, run_id: str | None) -> None:
    """Moves latest.json back to a run that was published before.

    The run has passed the quality gate once and is not asked again, however much it is behind the present one (max_drop). The
    next run is compared with it. No run is deleted.
    """
    from recsys.run.publish import roll_back

    latest = roll_back(output, run_id)
    click.echo(f"{latest['run_id']} is published again, instead of {latest['replaced']}")


@main.command()
@click.option("--output", default="out", show_default=True, help="Folder or URI of the output.")
@click.option("--run-id", help="A run; the published one when left out.")
@click.option("--user", required=True, help="Id of the user, as in the source.")
@click.option("--history", default=10, show_default=True, help="Latest events shown.")
def show(output: str, run_id: str | None, user: str, history: int) -> None:
    """Shows one user's latest events and recommendations, with titles."""
    from recsys.recommend.show import describe_user

    click.echo(describe_user(output, run_id, user, history))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@_options
def doctor(file: str | None, output: str | None, run_id: str | None, quiet: bool, as_json: bool, **given: Any) -> None:
    """Looks at Java, Spark, TensorFlow, devices, memory and folders: what was found, and what will be used."""
    from recsys.run import doctor as checks

    asked = _resolve(file, output, given)
    report = checks.examine(asked.output, asked)
    click.echo(json.dumps(report, indent=2) if as_json else checks.format_report(report))
    checks.raise_if_unfit(report)


@main.group()
def dataset() -> None:
    """Lists, fetches and describes data sets."""


@dataset.command("list")
def list_datasets() -> None:
    """Lists the data sets that need no configuration file."""
    from recsys.sources import catalogue

    click.echo(f"{'name':<16} {'users':>9} {'items':>8} {'events':>12} {'download':>9}  cached  licence")
    for row in catalogue.available(settings.load(None, os.environ, [])):
        size = f"{row.bytes / 1e6:,.0f} MB" if row.bytes else "-"
        cached = "yes" if row.cached else "no"
        click.echo(f"{row.name:<16} {row.users:>9,} {row.items:>8,} {row.events:>12,} {size:>9}  {cached:<6}  {row.licence}")


@dataset.command()
@click.argument("name")
@_SET
def fetch(name: str, changes: tuple[str, ...]) -> None:
    """Downloads a MovieLens data set into the cache, checks it, and prints where it lies."""
    from recsys.sources import catalogue

    click.echo(catalogue.fetch(name, settings.load(None, os.environ, _pairs(changes, "--set")), Progress()))


@dataset.command()
@_options
def describe(file: str | None, output: str | None, run_id: str | None, quiet: bool, **given: Any) -> None:
    """Shows the tables of a source: files, columns, what they are mapped to, first rows."""
    from recsys.sources import catalogue

    described = catalogue.describe(_resolve(file, output, given), Progress(quiet=quiet))
    click.echo(f"{described.name}: ids {described.id_type}, timestamps in {described.timestamp_unit}")
    for table in described.tables:
        click.echo(f"\n{table.table}: {len(table.files)} file(s), {table.bytes:,} bytes, {table.format}")
        click.echo("  mapped: " + ", ".join(f"{key} = {column}" for key, column in table.mapping))
        for row in (table.columns, *table.first_rows):
            click.echo("  " + " | ".join(row))


def _begin(
    file: str | None, output: str | None, run_id: str | None, quiet: bool, given: dict[str, Any], stages: tuple[str, ...]
) -> None:
    from recsys.run import runs

    asked = _resolve(file, output, given)
    found = runs.open_or_create(asked, run_id)
    progress = Progress(quiet=quiet)
    progress(f"run {found.run_id} in {found.folder}")
    _work(Job(asked, found, progress, Stop()), stages, redo=False)


def _resolve(file: str | None, output: str | None, given: dict[str, Any]) -> Config:
    changes, spark_conf = given.pop("changes", ()), given.pop("spark_conf", ())
    pairs: list[tuple[str, Any]] = [("output", output)]
    pairs += [(name.replace("__", "."), value) for name, value in given.items()]
    pairs += _pairs(changes, "--set")
    conf = dict(_pairs(spark_conf, "--spark-conf"))
    return settings.load(file, os.environ, [*pairs, ("spark.conf", conf or None)])


def _pairs(given: tuple[str, ...], option: str) -> list[tuple[str, Any]]:
    pairs = []
    for setting in given:
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise ConfigError(f"{option} {setting!r}: expected NAME=VALUE")
        pairs.append((name.strip(), value.strip()))
    return pairs


def _work(work: Job, stages: tuple[str, ...], redo: bool) -> None:
    work.stop.install()
    job.execute(work, stages, redo)


def _work_on_shard(work: Job, shard: str, changed: bool, patience: float) -> None:
    from recsys.recommend import shards

    if changed:
        raise ConfigError("--shard takes the run as it is: neither --redo nor --set can be given with it")
    work.stop.install()
    job.execute_shard(work, shards.parse(shard, os.environ), patience)


if __name__ == "__main__":
    main()
