"""The options of the command line, and how they become a configuration or a job."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable
from typing import Any

import click

from recsys import settings
from recsys.config import Config
from recsys.errors import ConfigError, RecsysError
from recsys.progress import Progress, Voice
from recsys.progress.voice import FORMATS, OPTION, VARIABLE
from recsys.redaction import without_controls
from recsys.run import job, latest, opening, runs
from recsys.run.ending import Stop
from recsys.run.stages import Job
from recsys.settings import Resolved
from recsys.shortcuts import SHORTCUTS

Command = Callable[..., Any]

_DEFAULTS = Config()
_WIDTHS = (64, 128)

_SHORTCUTS: list[tuple[str, str, str]] = [
    (
        "dataset",
        "synthetic, tabular or a MovieLens data set; see recsys dataset list.",
        _DEFAULTS.source.dataset,
    ),
    ("dataset_path", "Zip or folder of the MovieLens data set, instead of a download.", ""),
    ("split", "leave-one-out, per-user-ratio, global-time or none.", _DEFAULTS.split.method),
    ("k", "Recommendations per user.", str(_DEFAULTS.recommend.k)),
    ("epochs", "Training epochs.", "depends on the size of the data"),
    (
        "warm_start",
        "latest or a run's id: go on from that run's network, which learns the new events.",
        "a new network",
    ),
    ("seed", "Seed of everything random.", str(_DEFAULTS.seed)),
    ("device", "auto, cpu or gpu; gpu fails if there is none.", _DEFAULTS.training.device),
    ("precision", "auto, float32, mixed_bfloat16 or mixed_float16.", _DEFAULTS.training.precision),
    ("xla", "auto, on or off.", _DEFAULTS.training.xla),
    ("spark_master", "Spark master URL.", _DEFAULTS.spark.master),
]

output_option = click.option(
    "--output", help=f"Folder or URI of the output. [env: RECSYS__OUTPUT; default: {_DEFAULTS.output}]"
)
set_option = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="SECTION.FIELD=VALUE",
    help="Any setting, such as training.epochs=5; repeatable. recsys config lists them all.",
)


def _speak(context: click.Context, _parameter: click.Parameter, form: str | None) -> Voice:
    """The voice of this process, which also says why it ends (run.ending)."""
    voice = context.ensure_object(Voice)
    voice.form = form or voice.form
    return voice


log_option = click.option(
    OPTION,
    "voice",
    type=click.Choice(FORMATS),
    envvar=VARIABLE,
    is_eager=True,
    callback=_speak,
    help=f"Progress and errors as text or as one JSON object a line. [env: {VARIABLE}; default: text]",
)


class Seconds(click.FloatRange):
    """A number of seconds from 0; FloatRange lets nan pass."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number.

        Raises:
            click.BadParameter: it is none, or negative.
        """
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value} is not a number of seconds; give one of at least 0.", param, ctx)
        return number


def _wait_option(text: str) -> Callable[[Command], Command]:
    return click.option("--wait", type=Seconds(0), metavar="SECONDS", help=f"Wait up to SECONDS at a time {text}")


wait_for_stages = _wait_option(
    "for other processes to finish the stages that this one needs, or to release the run; then exit with 75. Needs --run-id."
)
wait_for_lock = _wait_option("for another process that is working on the same run, or publishing; then exit with 75.")
redo_option = click.option(
    "--redo",
    is_flag=True,
    help="Run the stage again even if it is done, and discard what depends on it. A run that was published never changes.",
)


def config_options(command: Command) -> Command:
    """Options of the commands that take a whole configuration; passed on to `resolve` or `begin` as they are."""
    for name, text, default in reversed(_SHORTCUTS):
        complete = _data_sets if name == "dataset" else None
        told = f"{text} [default: {default}]" if default else text
        command = click.option(f"--{name.replace('_', '-')}", name, help=told, shell_complete=complete)(command)
    command = click.option("--spark-conf", multiple=True, metavar="KEY=VALUE", help="A Spark property; repeatable.")(command)
    command = click.option("--config", "file", type=click.Path(), help="TOML file; docs/data.md describes it.")(command)
    return _run_options(
        command, "Name of the run. [default: the newest if unfinished and with the same settings, else a new one]"
    )


def _run_options(command: Command, run_id: str) -> Command:
    for decorate in (
        log_option,
        click.option("--quiet", is_flag=True, help="Print no progress."),
        set_option,
        click.option("--run-id", help=run_id, shell_complete=run_names),
        output_option,
    ):
        command = decorate(command)
    return command


def stage_options(command: Command) -> Command:
    """Options of the commands for one later stage."""
    return _run_options(redo_option(wait_for_stages(command)), "Name of the run. [default: the newest]")


def bench_options(command: Command) -> Command:
    """Options of the command that times combinations; passed on to `combinations` as they are."""
    for decorate in (
        log_option,
        click.option("--quiet", is_flag=True, help="Print no progress."),
        set_option,
        click.option("--batch-tokens", multiple=True, help="Positions a step; repeatable. [default: follows from the events]"),
        click.option("--xla", multiple=True, help="auto, on or off; repeatable. [default: auto]"),
        click.option("--precision", multiple=True, help="As for recsys run; repeatable. [default: auto]"),
        click.option("--width", multiple=True, help="Width of the network; repeatable. [default: 64 and 128]"),
        click.option("--device", help=f"auto, cpu or gpu; gpu fails if there is none. [default: {_DEFAULTS.training.device}]"),
    ):
        command = decorate(command)
    return command


def combinations(given: dict[str, Any]) -> list[Config]:
    """The configurations that the options of `bench_options` ask for, one for each combination.

    Raises:
        ConfigError: a setting is unknown or wrong.
    """
    shared = [*pairs(given["changes"], "--set"), ("training.device", given["device"])]
    as_set = (None,)
    axes = {
        "model.width": given["width"] or (as_set if settings.load(None, os.environ, shared).model.width else _WIDTHS),
        "training.precision": given["precision"] or as_set,
        "training.xla": given["xla"] or as_set,
        "training.batch_tokens": given["batch_tokens"] or as_set,
    }
    chosen = (zip(axes, values, strict=True) for values in itertools.product(*axes.values()))
    return [settings.load(None, os.environ, [*shared, *one]) for one in chosen]


def resolve(given: dict[str, Any]) -> Resolved:
    """The configuration that the options of `config_options` ask for.

    Raises:
        ConfigError: a setting is unknown or wrong.
    """
    options = [(field, given[name]) for name, field in SHORTCUTS.items()]
    options += pairs(given["changes"], "--set")
    options += [(f"spark.conf.{name}", value) for name, value in pairs(given["spark_conf"], "--spark-conf")]
    return settings.resolve(given["file"], os.environ, options)


def stored(given: dict[str, Any]) -> Resolved:
    """The configuration that the run named by --run-id was made with.

    Raises:
        ConfigError: there is no such run, or other settings are given, which it could not have.
    """
    others = {name for name, value in given.items() if value and name not in ("output", "run_id", "quiet", "voice")}
    if others:
        raise ConfigError("--run-id shows the settings that the run was made with; drop the other options")
    run = runs.find(settings.output(os.environ, given["output"]), given["run_id"], given["voice"].warn)
    made = run.config()
    places = settings.leaves(run.manifest()["config"])
    return Resolved(made, {place: f"run {run.run_id}" for place in places if places[place] is not None})


def checked(given: dict[str, Any], names: tuple[str, ...]) -> Config:
    """The configuration that the options of `config_options` ask for, to run the named stages on this machine.

    Raises:
        ConfigError: a setting is wrong, also for this machine.
    """
    asked = resolve(given).config
    opening.check(asked, names)
    return asked


def begin(given: dict[str, Any], names: tuple[str, ...]) -> Job:
    """The job of a run that is begun, or resumed, with the options of `config_options`, to run the named stages.

    Raises:
        ConfigError: a setting is wrong, also for this machine, or the run was made with others.
    """
    asked, patience = resolve(given).config, given.get("wait") or 0.0
    warn = given["voice"].warn
    return opening.begin(asked, names, given["run_id"], lambda run: progress(given, run), _stop(), patience, warn)


def resume(stage: str, given: dict[str, Any]) -> Job:
    """The job of a run that a later stage works on, with the options of `stage_options`.

    Settings of the stage's own sections may be changed by the environment and, winning over it, by --set.

    Raises:
        ConfigError: there is no such run, or a setting is wrong or belongs to an earlier stage.
        RetryError: what the stage needs is not there in time.
    """
    place, run_id, warn = settings.output(os.environ, given["output"]), given["run_id"], given["voice"].warn
    if given["wait"] is not None:
        if run_id is None:
            raise ConfigError("--wait needs --run-id: the newest run may have finished long ago")
        awaited = runs.Run(place, run_id)
        job.wait(awaited, stage, given["wait"], progress(given, awaited))
    found, changes = runs.find(place, run_id, warn), pairs(given["changes"], "--set")
    patience = given["wait"] or 0.0
    return opening.resume(stage, found, changes, os.environ, progress(given, found), _stop(), patience, warn)


def published(given: dict[str, Any]) -> tuple[Config, runs.Run, Progress]:
    """The named run, by default the published one, with its configuration but for settings of the section recommend.

    Raises:
        ConfigError: there is no such run, or nothing is published.
    """
    found = latest.followed(settings.output(os.environ, given["output"]), given["run_id"])
    asked = settings.change(found.config(), pairs(given["changes"], "--set"), job.SECTIONS["recommend"], os.environ)
    return asked, found, progress(given, found)


def progress(given: dict[str, Any], run: runs.Run | None = None) -> Progress:
    """The progress of a command, with the options `--quiet` and `--log-format`, on a run if it works on one."""
    voice: Voice = given["voice"]
    if run is not None:
        voice.run_id = run.run_id
    return Progress(quiet=given["quiet"], voice=voice)


def print_result(text: str, nl: bool = True) -> None:
    """Prints a result, which may hold text from the data."""
    click.echo(without_controls(text), nl=nl)


def run_names(context: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """Completes the id of a run of the output."""
    try:
        names = runs.names(settings.output(os.environ, context.params.get("output")))
    except RecsysError:
        return []
    return [name for name in names if name.startswith(begun)]


def _data_sets(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    """Completes the name of a data set."""
    from recsys.sources.movielens import CATALOGUE

    return [name for name in ("synthetic", "tabular", *CATALOGUE) if name.startswith(begun)]


def pairs(given: tuple[str, ...], option: str) -> list[tuple[str, Any]]:
    """NAME=VALUE in two parts.

    Raises:
        ConfigError: there is no name, or no equals sign.
    """
    found = []
    for setting in given:
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise ConfigError(f"{option} {setting!r}: expected NAME=VALUE")
        found.append((name.strip(), value.strip()))
    return found


def _stop() -> Stop:
    stop = Stop()
    stop.install()
    return stop
