"""How a process ends at SIGTERM: in the words meant for that, wherever it arrives."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import Any

import click
import pytest
from click.testing import CliRunner

from recsys.errors import EXIT_RETRY, EXIT_TERMINATED, EXIT_USAGE, TerminatedError
from recsys.run import ending
from recsys.run.ending import TERMINATED, Group, Stop
from recsys.run.remedies import remedy


def end() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def traced() -> Any:
    """As when TensorFlow traces the network, in evaluate or in the export."""
    import tensorflow as tf

    def inner(x: Any) -> Any:
        end()
        return x

    return tf.function(lambda x: inner(x) + 1)(tf.constant(1))


def swallowing() -> None:
    """As where a failure does not matter, such as in the release of a lock."""
    with contextlib.suppress(Exception):
        end()


def deleting() -> None:
    """As where Python drops every exception."""

    class Last:
        def __del__(self) -> None:
            end()

    Last()
    threading.Event().wait(60)


def converting() -> None:
    """As in the middle of an import or of loading a network, where a library tells of it in words of its own."""
    try:
        end()
    except TerminatedError:
        raise ImportError("to use this, install that") from None


@pytest.mark.parametrize("work", [end, traced, swallowing, deleting, converting])
def test_sigterm_ends_the_process_in_its_own_words(stop: Stop, work: Any) -> None:
    main = click.command()(work)
    done = CliRunner().invoke(Group(commands={"work": main}), ["work"])
    assert done.exit_code == EXIT_TERMINATED
    assert done.stderr == f"recsys: {TERMINATED}\n"


def too_large() -> Any:
    """More than any machine holds."""
    import tensorflow as tf

    return tf.zeros([1 << 46])


@pytest.mark.slow
def test_when_tensorflow_runs_out_of_memory_it_says_what_to_lower() -> None:
    done = CliRunner().invoke(Group(commands={"work": click.command()(too_large)}), ["work"])
    assert done.exit_code == EXIT_USAGE
    assert "TensorFlow ran out of memory" in done.stderr and "lower model.width" in done.stderr


def test_the_last_words_have_the_code_that_the_process_ends_with(monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy() -> None:
        bytes(1 << 62)

    words: list[Any] = []
    monkeypatch.setattr(ending, "leave_last_words", words.append)
    done = CliRunner().invoke(Group(commands={"work": click.command()(greedy)}), ["work"])
    assert (done.exit_code, words[0].exit_code) == (EXIT_RETRY, EXIT_RETRY)
    assert done.stderr.startswith("recsys: out of memory; give the container more") and "out of memory" in str(words[0])


@pytest.mark.parametrize("output", ["out", "/data/runs/out", "s3://bucket/runs/out"])
def test_a_damaged_file_can_be_made_again_wherever_the_output_is(output: str) -> None:
    assert remedy(f"{output}/latest.json").endswith(f"recsys rollback --output {output} --run-id RUN")
    again = f"recsys train --redo --output {output} --run-id r "
    assert again in remedy(f"{output}/runs/r/model/model.keras")
    assert f"recsys run --output {output}; then delete the folder of run r" in remedy(f"{output}/runs/r/run.json")


def test_where_work_polls_sigterm_waits_for_the_end_of_the_block(stop: Stop) -> None:
    done = []
    with pytest.raises(TerminatedError), stop.softly():
        end()
        done.append(stop())
    assert done == [True]


def test_a_signal_that_was_swallowed_counts_at_the_next_safe_point(stop: Stop) -> None:
    stop.check()
    with contextlib.suppress(BaseException):
        end()
    with pytest.raises(TerminatedError):
        stop.check()
