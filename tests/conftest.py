"""Fixtures shared by all tests, and the real data sets for tests marked `data`."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys.run.ending import Stop
from tests import store as object_store
from tests.building import build, built_in, csv, spark, with_spark  # noqa: F401 (fixtures)
from tests.servers import place  # noqa: F401 (a fixture)

os.environ["NUMBA_DISABLE_JIT"] = "1"  # ranx would compile for a minute what then takes a second
DATA = os.environ.get("RECSYS_TEST_DATA")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--release", action="store_true", help="also run the long forms, as before a release")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Puts the files with the most slow tests first, so that two processes end together; skips tests whose data are missing."""
    if not config.getoption("--release"):
        long = [item for item in items if item.get_closest_marker("release")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if not item.get_closest_marker("release")]
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])
    if DATA:
        return
    skip = pytest.mark.skip(reason="needs the real data sets: set RECSYS_TEST_DATA to the folder with ml-100k.zip and others")
    for item in items:
        if item.get_closest_marker("data"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with the real data sets. Tests that use it must be marked `data`."""
    if not DATA:
        pytest.skip("needs the real data sets: set RECSYS_TEST_DATA")
    return Path(DATA).resolve()


@pytest.fixture(scope="session")
def store() -> Iterator[object_store.Store]:
    """An S3 server with a bucket."""
    with object_store.running() as found:
        yield found


@pytest.fixture
def stop() -> Iterator[Stop]:
    """This process's handler for SIGTERM."""
    before, hook = signal.getsignal(signal.SIGTERM), sys.unraisablehook
    found = Stop()
    found.install()
    yield found
    signal.signal(signal.SIGTERM, before)
    sys.unraisablehook = hook
