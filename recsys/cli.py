"""The command line: each command parses its options and calls one function. Errors become exit codes in run/ending.py."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

import click

from recsys import __version__, cli_looking, cli_options, settings, settings_text, text_table
from recsys.cli_options import print_result as _print
from recsys.errors import ConfigError
from recsys.progress import Progress, Voice
from recsys.progress.voice import LogFormatter
from recsys.redaction import one_line, printable
from recsys.run import fold_in, job
from recsys.run.ending import EXIT_CODES, Group


@click.group(cls=Group, epilog=EXIT_CODES, context_settings={"max_content_width": 110, "help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="recsys")
@click.pass_obj
def main(voice: Voice) -> None:
    """Turns events into the best next items for every user, as Parquet.

    \b
    recsys run                                        built-in data, on a CPU, about two minutes
    recsys run --dataset ml-1m --output out           MovieLens 1M: download, train, measure, recommend
    recsys run --config shop.toml --output out        your own CSV or Parquet events
    recsys show --output out --user 42                one user's history and recommendations
    recsys compare --output out previous latest       what has changed from one run to the next

    Settings come from the defaults, then the file (--config), then the environment (RECSYS__SECTION__FIELD), then the
    command line; the last one wins. recsys config shows them.
    """
    if os.environ.get("RECSYS_DEBUG"):
        handler = logging.StreamHandler()
        handler.setFormatter(LogFormatter(voice))
        logging.basicConfig(level=logging.INFO, handlers=[handler])


@main.command()
@click.option("--dry-run", is_flag=True, help="Only check the settings and the data, and tell what would be done.")
@cli_options.wait_for_lock
@cli_options.config_options
def run(dry_run: bool, **given: Any) -> None:
    """Runs everything: features, train, evaluate, recommend, report, publish.

    An unfinished run with the same settings is resumed: finished stages are skipped, training continues from its checkpoint.
    If another process is working on it, --wait waits for that one and then does what is left.
    """
    if dry_run:
        from recsys.run import dry_run as plan

        asked, progress = cli_options.checked(given, job.STAGES), cli_options.progress(given)
        _print(printable(plan.describe(asked, given["run_id"], progress, given["voice"].warn, text_table.line_width())))
        return
    job.execute(cli_options.begin(given, job.STAGES), job.STAGES)


@main.command()
@cli_options.wait_for_lock
@cli_options.config_options
def features(**given: Any) -> None:
    """Starts a run: cleans, indexes, splits and encodes the events with Spark."""
    job.execute(cli_options.begin(given, ("features",)), ("features",))


@main.command()
@cli_options.stage_options
def train(redo: bool, **given: Any) -> None:
    """Trains the network on a run's features and fits the blend; resumes from a checkpoint."""
    job.execute(cli_options.resume("train", given), ("train",), redo)


@main.command()
@cli_options.stage_options
def evaluate(redo: bool, **given: Any) -> None:
    """Measures the blend, its network and the traditional methods on the test events."""
    job.execute(cli_options.resume("evaluate", given), ("evaluate",), redo)


@main.command()
@click.option(
    "--shard",
    metavar="[INDEX/]COUNT",
    help="Score one of COUNT parts of the users, counted from 0; the last process to finish merges them all."
    " [default INDEX: JOB_COMPLETION_INDEX]",
)
@click.option(
    "--events",
    metavar="PATH",
    help="Instead: add the events of these files to the histories of their users, new users too, count anew, and write only"
    " their lists, with the network as it is. Columns as in the run's [source.interactions]. Needs --to."
    " [default run: the published one]",
)
@click.option(
    "--to", metavar="FOLDER", help="Where the lists of --events go: a new folder, or one that they have filled before."
)
@click.option("--all-users", is_flag=True, help="With --events: write the lists of all users, which recent popularity changes.")
@cli_options.stage_options
def recommend(redo: bool, shard: str | None, events: str | None, to: str | None, all_users: bool, **given: Any) -> None:
    """Writes the top K items of every user as Parquet."""
    if events is not None or to is not None or all_users:
        if events is None or to is None or redo or shard is not None or given["wait"] is not None:
            raise ConfigError(
                "--events and --to need each other, and go without --redo, --shard and --wait; --all-users needs them"
            )
        fold_in.fold_in(*cli_options.published(given), events, to, all_users)
        return
    work = cli_options.resume("recommend", given)
    if shard is None:
        job.execute(work, ("recommend",), redo)
        return
    from recsys.recommend import shards

    if redo or not settings.same(work.config, work.run.config()):
        raise ConfigError(
            "--shard takes the run as it is: drop --redo, --set and RECSYS__RECOMMEND__ variables that differ from the run"
        )
    job.execute_shard(work, shards.parse(shard, os.environ))


@main.command()
@cli_options.stage_options
def report(redo: bool, **given: Any) -> None:
    """Writes report.html and MODEL_CARD.md from what the run has so far; also of a published run, with --redo."""
    job.execute(cli_options.resume("report", given), ("report",), redo)


@main.command()
@cli_options.stage_options
def publish(redo: bool, **given: Any) -> None:
    """Points latest.json to the run if it passes the quality gate, then deletes old runs (publish.keep_runs).

    To return to a run that was published before, use recsys rollback.
    """
    job.execute(cli_options.resume("publish", given), ("publish",), redo)


@main.command()
@cli_options.output_option
@click.option("--run-id", help="A run that was published before. Defaults to the one before the current run.")
@cli_options.log_option
def rollback(output: str | None, run_id: str | None, voice: Voice) -> None:
    """Points latest.json back to a run that was published before.

    The quality gate is not applied again, not even publish.max_drop, but the run must be complete and undamaged. The next run
    is compared with the restored one. No run is deleted.
    """
    from recsys.run.publish import roll_back

    latest = roll_back(settings.output(os.environ, output), run_id, voice.warn)
    _print(f"{latest['run_id']} is published again, instead of {latest['replaced']}")


@main.command("export")
@click.option(
    "--to",
    required=True,
    metavar="FOLDER",
    help="Where it goes: a new folder, or an earlier export, which is replaced.",
)
@cli_options.output_option
@click.option("--run-id", help="A run. Defaults to the published one.")
@click.option("--quiet", is_flag=True, help="Print no progress.")
@cli_options.log_option
def export_blend(to: str, output: str | None, run_id: str | None, quiet: bool, voice: Voice) -> None:
    """Writes what recommends, the network and what the blend counts, as one SavedModel with a serving signature."""
    from recsys.run.export import export
    from recsys.run.latest import followed

    found = followed(settings.output(os.environ, output), run_id)
    export(found.config(), found, to, Progress(quiet=quiet, voice=voice))


main.add_command(cli_looking.show)
main.add_command(cli_looking.compare)


@main.command()
@click.option(
    "--format", "form", type=click.Choice(["table", "toml"]), default="table", show_default=True, help="Output format."
)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of the TOML file instead, for editors.")
@cli_options.config_options
def config(form: str, schema: bool, **given: Any) -> None:
    """Shows the settings in force, and where each comes from: default, file, environment variable or command line.

    '-' means that the value is left out and follows from the data, the hardware or another setting. --format toml prints a
    file for --config. With --run-id: the settings that the run was made with.
    """
    if schema:
        click.echo(settings_text.schema())
        return
    found = cli_options.stored(given) if given["run_id"] is not None else cli_options.resolve(given)
    _print(settings_text.toml(found.config) if form == "toml" else settings_text.table(found), nl=form != "toml")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@cli_options.config_options
def doctor(as_json: bool, **given: Any) -> None:
    """Checks Java, Spark, TensorFlow, devices, memory and folders: what was found and what will be used."""
    from recsys.run import doctor as checks

    asked = cli_options.resolve(given).config
    report = checks.examine(asked.output, asked)
    click.echo(printable(json.dumps(report, indent=2) if as_json else checks.format_report(report)))
    checks.raise_if_unfit(report)


@main.command()
@click.option("--items", type=click.IntRange(1), default=3_416, show_default=True, help="Items of the made-up catalogue.")
@click.option("--events", type=click.IntRange(1_000, 4_000_000), default=1_000_000, show_default=True, help="Made-up events.")
@click.option(
    "--repeats", type=click.IntRange(1), default=3, show_default=True, help="Calls to time, of about a second or less."
)
@cli_options.bench_options
def bench(items: int, events: int, repeats: int, **given: Any) -> None:
    """Times training and scoring on this machine, on made-up events, and prints JSON.

    Every combination of the repeatable options is timed. docs/scale.md explains the fields.
    """
    from recsys.run import speed

    report = speed.measure(cli_options.combinations(given), items, events, repeats, cli_options.progress(given))
    _print(json.dumps(report, indent=2))


@main.group()
def dataset() -> None:
    """Lists, downloads and describes data sets."""


@dataset.command("list")
def list_datasets() -> None:
    """Lists the data sets that need no configuration file."""
    from recsys.sources import catalogue

    _print(f"{'name':<16} {'users':>9} {'items':>8} {'events':>12} {'download':>9}  cached  licence")
    for row in catalogue.available(settings.load(None, os.environ, [])):
        size = f"{row.bytes / 1e6:,.0f} MB" if row.bytes else "-"
        cached = "yes" if row.cached else "no"
        _print(f"{row.name:<16} {row.users:>9,} {row.items:>8,} {row.events:>12,} {size:>9}  {cached:<6}  {row.licence}")


@dataset.command()
@click.argument("name")
@cli_options.set_option
@cli_options.log_option
def fetch(name: str, changes: tuple[str, ...], voice: Voice) -> None:
    """Downloads a MovieLens data set into the cache, verifies it and prints its path."""
    from recsys.sources import catalogue

    _print(catalogue.fetch(name, settings.load(None, os.environ, cli_options.pairs(changes, "--set")), Progress(voice=voice)))


@dataset.command()
@cli_options.config_options
def describe(**given: Any) -> None:
    """Shows a source's tables: files, columns, how they are mapped, first rows."""
    from recsys.sources import catalogue

    described = catalogue.describe(cli_options.resolve(given).config, cli_options.progress(given))
    _print(f"{described.name}: ids {described.id_type}, timestamps in {described.timestamp_unit}")
    for table in described.tables:
        _print(f"\n{table.table}: {len(table.files)} file(s), {table.bytes:,} bytes, {table.format}")
        _print("  mapped: " + ", ".join(f"{key} = {column}" for key, column in table.mapping))
        for row in (table.columns, *table.first_rows):
            _print("  " + " | ".join(map(one_line, row)))


if __name__ == "__main__":
    main()
