"""Mutual exclusion in an object store, against a real S3 server (moto's) on this machine."""

from __future__ import annotations

import signal
import threading

import pytest

from recsys import storage
from recsys.errors import RetryError
from recsys.storage import lease
from tests.store import Store


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases that live quickly."""
    for name, seconds in (("SETTLE_SECONDS", 0.2), ("RENEW_SECONDS", 0.3), ("DEAD_SECONDS", 4.0)):
        monkeypatch.setattr(lease, name, seconds)


def test_a_held_folder_is_refused_and_free_afterwards(store: Store, hurried: None) -> None:
    folder = f"{store.bucket}/held"
    with storage.lock(folder):
        assert store.names("held") == {".lock"}
        with pytest.raises(RetryError, match="another process is working on s3://"), storage.lock(folder):
            pass
        assert store.names("held") == {".lock"}
    assert not store.names("held")


def test_of_two_at_once_one_gets_the_folder(store: Store, hurried: None) -> None:
    start, got = threading.Barrier(2), []

    def compete() -> None:
        start.wait()
        try:
            with storage.lock(f"{store.bucket}/two"):
                got.append("held")
        except RetryError:
            got.append("refused")

    threads = [threading.Thread(target=compete) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == ["held", "refused"]


def test_what_a_killed_process_held_is_free_after_a_while(store: Store, hurried: None) -> None:
    store.put("dead/.lock", "somebody 1 0")
    with storage.lock(f"{store.bucket}/dead"):
        assert b"somebody" not in store.get("dead/.lock")


def test_who_has_lost_a_folder_ends(store: Store, hurried: None) -> None:
    ended = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: ended.set())
    try:
        with storage.lock(f"{store.bucket}/lost"):
            store.put("lost/.lock", "another 1 0")
            assert ended.wait(30)
        assert store.get("lost/.lock") == b"another 1 0"
    finally:
        signal.signal(signal.SIGTERM, before)
