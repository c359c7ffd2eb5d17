"""Work on several cores: results in order, errors as they come, and no more is read than can be worked on."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from recsys.measure import threads


def test_results_come_in_order_and_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda process: set(range(9)))
    read, together = [], threading.Barrier(threads.MOST)

    def given() -> Iterator[int]:
        for number in range(threads.MOST * 5):
            read.append(number)
            yield number

    def work(number: int) -> int:
        together.wait(20)  # breaks unless so many work at the same time
        return -number

    for number, result in enumerate(threads.in_order(work, given())):
        assert result == -number
        assert len(read) <= number + threads.MOST + 1


def test_an_error_is_that_of_the_work_and_ends_it() -> None:
    done = []

    def work(number: int) -> None:
        done.append(number)
        if number == 3:
            raise ValueError("three")

    with pytest.raises(ValueError, match="three"):
        list(threads.in_order(work, range(1000)))
    assert len(done) < 50
