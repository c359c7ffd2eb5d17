"""Locks in an object store, against an S3 server (moto) on this machine: real processes, real conditional writes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from moto.s3.responses import S3Response

from recsys import storage
from recsys.errors import ConfigError, RetryError, TerminatedError
from recsys.run.ending import Stop
from recsys.storage import object_lock, objects
from tests.command import ROOT
from tests.store import Store

HOLD = """
import sys, time
from recsys import storage
from recsys.errors import RetryError
from recsys.run.ending import Stop
from recsys.storage import object_lock
Stop().install()
object_lock.RENEW_SECONDS, object_lock.POLL_SECONDS = 0.3, 0.2
folder, start, seconds, times = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
for _ in range(times):
    time.sleep(max(0, start - time.time()))
    start += 2 * seconds
    try:
        with storage.lock(folder):
            print("held", flush=True)
            time.sleep(seconds)
    except RetryError as error:
        print(error, flush=True)
"""


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks that live fast."""
    for name, seconds in (("RENEW_SECONDS", 0.3), ("DEAD_SECONDS", 4.0), ("POLL_SECONDS", 0.2)):
        monkeypatch.setattr(object_lock, name, seconds)


@pytest.fixture
def stop() -> Iterator[Stop]:
    """SIGTERM as in a run."""
    before, stop = signal.getsignal(signal.SIGTERM), Stop()
    stop.install()
    yield stop
    signal.signal(signal.SIGTERM, before)


def holder(folder: str, start: float = 0, seconds: float = 0, times: int = 1) -> subprocess.Popen[str]:
    """A process that locks the folder at the given time for so many seconds, and again after as many without it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", HOLD, folder, str(start), str(seconds), str(times)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)


def test_a_held_folder_is_refused_and_free_afterwards(store: Store, hurried: None) -> None:
    folder = f"{store.bucket}/held"
    with storage.lock(folder):
        assert store.names("held") == {".lock"}
        with pytest.raises(RetryError, match="another process is working on s3://"), storage.lock(folder):
            pass
        assert store.names("held") == {".lock"}
    assert not store.names("held")


def test_a_free_folder_is_had_without_waiting(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_sleep(seconds: float) -> None:
        raise AssertionError(f"slept for {seconds} seconds")

    monkeypatch.setattr(object_lock.time, "sleep", no_sleep)
    with storage.lock(f"{store.bucket}/free"):
        pass


def test_a_held_folder_is_waited_for_as_long_as_was_said(store: Store, hurried: None) -> None:
    process = holder(f"{store.bucket}/waited", seconds=2)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    with storage.lock(f"{store.bucket}/waited", patience=30):
        process.communicate(timeout=60)
        assert process.returncode == 0


@pytest.mark.slow
def test_of_processes_that_race_one_wins_each_time(store: Store) -> None:
    racers = [holder(f"{store.bucket}/race", time.time() + 4, 1.5, times=4) for _ in range(3)]
    said = [racer.communicate(timeout=60)[0].splitlines() for racer in racers]
    for race in zip(*said, strict=True):
        assert sorted(race)[2] == "held" and all("another process is working on" in words for words in sorted(race)[:2]), said
    assert len(said[0]) == 4


@pytest.mark.slow
def test_of_threads_that_race_one_wins_each_time(store: Store, hurried: None) -> None:
    for race in range(5):
        start, got = threading.Barrier(4), []

        def compete(folder: str, start: threading.Barrier, got: list[str]) -> None:
            start.wait()
            try:
                with storage.lock(folder):
                    got.append("held")
                    time.sleep(1)
            except RetryError:
                got.append("refused")

        arguments = (f"{store.bucket}/threads-{race}", start, got)
        threads = [threading.Thread(target=compete, args=arguments) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(got) == ["held", "refused", "refused", "refused"]


@pytest.mark.slow
def test_what_a_killed_process_held_is_free_after_a_while(store: Store, hurried: None) -> None:
    folder = f"{store.bucket}/dead"
    process = holder(folder, seconds=600)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    with pytest.raises(RetryError), storage.lock(folder):
        pass
    process.kill()
    process.communicate()
    assert store.names("dead") == {".lock"}
    began = time.monotonic()
    with storage.lock(folder):
        assert time.monotonic() - began >= object_lock.DEAD_SECONDS
        assert str(process.pid) not in store.get("dead/.lock").decode().split()


@pytest.mark.slow
def test_of_those_who_watch_a_dead_lock_one_takes_it(store: Store, hurried: None) -> None:
    store.put("watched/.lock", "somebody 1 0")
    start, got = threading.Barrier(4), []

    def compete() -> None:
        start.wait()
        try:
            with storage.lock(f"{store.bucket}/watched"):
                got.append("held")
                time.sleep(2)
        except RetryError:
            got.append("refused")

    threads = [threading.Thread(target=compete) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == ["held", "refused", "refused", "refused"]


def test_a_holder_that_was_overtaken_ends_and_leaves_the_other_one_alone(store: Store, hurried: None, stop: Stop) -> None:
    with (
        pytest.raises(RetryError, match=r"another process took over s3://.*/lost/\.lock"),
        storage.lock(f"{store.bucket}/lost"),
    ):
        store.put("lost/.lock", "another 1 0")
        time.sleep(30)
        raise AssertionError("did not notice")
    assert store.get("lost/.lock") == b"another 1 0"


@pytest.mark.slow
def test_a_process_that_was_frozen_and_overtaken_ends_when_it_wakes_up(store: Store, hurried: None) -> None:
    folder = f"{store.bucket}/frozen"
    process = holder(folder, seconds=600)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    process.send_signal(signal.SIGSTOP)
    with storage.lock(folder):
        process.send_signal(signal.SIGCONT)
        assert "another process took over s3://" in process.communicate(timeout=60)[0]
        time.sleep(1)
        assert f" {os.getpid()} " in store.get("frozen/.lock").decode(), "still ours, and renewed"
    assert not store.names("frozen")


def test_a_holder_that_is_only_terminated_says_so(store: Store, hurried: None, stop: Stop) -> None:
    with pytest.raises(TerminatedError), storage.lock(f"{store.bucket}/terminated"):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
    assert not store.names("terminated")


def test_a_renewal_that_seemed_to_fail_is_not_taken_for_another_holder(
    store: Store, hurried: None, stop: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = []

    def answer_is_lost(*arguments: Any, write: Any = objects.write) -> None:
        lost.append(write(*arguments))
        raise RetryError("no answer")

    with storage.lock(f"{store.bucket}/renewals"):
        with monkeypatch.context() as patch:
            patch.setattr(objects, "write", answer_is_lost)
            time.sleep(0.5)
        time.sleep(1)
    assert lost and not stop()
    assert not store.names("renewals")


@pytest.mark.parametrize("ignored", ["If-Match", "If-None-Match"])
def test_a_store_that_ignores_conditions_is_refused(store: Store, hurried: None, ignored: str) -> None:
    put = S3Response.put_object

    def ignorant(response: S3Response) -> object:
        response.headers = {name: value for name, value in response.headers.items() if name.lower() != ignored.lower()}
        return put(response)

    with mock.patch.object(S3Response, "put_object", ignorant):  # noqa: SIM117
        with pytest.raises(ConfigError, match="ignores conditional writes"), storage.lock(f"{store.bucket}/ignored"):
            pass
    assert not store.names("ignored")
