"""The commands with which people look at runs; each parses its options and calls one function."""

from __future__ import annotations

import json
import os
from typing import Any

import click

from recsys import cli_options, settings, text_table
from recsys.cli_options import print_result
from recsys.errors import ConfigError
from recsys.progress import Voice


@click.command()
@cli_options.output_option
@click.option("--run-id", help="A run. Defaults to the published one.", shell_complete=cli_options.run_names)
@click.option("--user", help="A user's id, as in the source.")
@click.option("--random", "anyone", is_flag=True, help="Instead: a user at random.")
@click.option("--seed", type=int, help="With --random: the same user every time.")
@click.option(
    "--item",
    help="Instead: an item's id. Shows similar items, by the cosine of the published network's item vectors, and what users had"
    " soon after it. Takes a few seconds, in which TensorFlow starts.",
)
@click.option("--history", type=click.IntRange(1), default=10, show_default=True, help="Number of latest events to show.")
@click.option("--similar", type=click.IntRange(1), default=10, show_default=True, help="With --item: number of items to show.")
@click.option(
    "--why",
    is_flag=True,
    help="Also show which past items each recommendation owes most to: those of the 20 latest without which its score would be"
    " lowest, with the share of its weight that would go. Takes a few seconds, in which TensorFlow starts.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; docs/looking.md explains the keys.")
def show(output: str | None, run_id: str | None, item: str | None, similar: int, as_json: bool, **given: Any) -> None:
    """Shows one user, or the items like one item.

    Of a user: the latest events and the recommendations, with titles and features, and with --why what they are due to.

    Scores are logarithms: exp(score) is an item's weight. The column "of 100" is the weight beside that of the first item.
    """
    from recsys.recommend import show as shown
    from recsys.run import showing

    user, seed = given["user"], given["seed"]
    if (user is not None) + given["anyone"] + (item is not None) != 1:
        raise ConfigError("expected one of --user ID, --random and --item ID")
    if (seed is not None and not given["anyone"]) or (given["why"] and item is not None):
        raise ConfigError("--seed needs --random; --why goes with --user or --random")
    place, width = settings.output(os.environ, output), text_table.line_width()
    if item is not None:
        found = showing.show_item(place, run_id, item, similar)
        print_result(json.dumps(shown.item_as_json(found), indent=2) if as_json else shown.item_as_text(found, width))
        return
    view = showing.show_user(place, run_id, user, given["history"], given["why"], seed)
    print_result(json.dumps(shown.user_as_json(view), indent=2) if as_json else shown.user_as_text(view, width))


@click.command()
@click.argument("first", metavar="RUN", shell_complete=cli_options.run_names)
@click.argument("second", metavar="RUN", shell_complete=cli_options.run_names)
@cli_options.output_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON; docs/looking.md explains the keys.")
@cli_options.log_option
def compare(first: str, second: str, output: str | None, as_json: bool, voice: Voice) -> None:
    """Shows two runs of an output side by side.

    That is: the settings that differ, sizes of the data, metrics, how much the lists have in common, seconds and memory.

    RUN is a run's id, latest for the published run, or previous for the one published before it, as in recsys compare previous
    latest. Differences are those of the second run from the first. Metrics are compared user by user if both runs were measured
    on the same test events; otherwise they are only shown.
    """
    from recsys.run import side_by_side, side_by_side_text

    found = side_by_side.compare(settings.output(os.environ, output), first, second, voice.warn)
    print_result(
        json.dumps(found, indent=2) if as_json else side_by_side_text.format_comparison(found, text_table.line_width())
    )
