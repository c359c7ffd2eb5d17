"""What keeps Spark from starting is found first, with a remedy."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from types import SimpleNamespace

import pytest

from recsys.config import Config
from recsys.errors import MissingComponentError
from recsys.run import doctor
from recsys.spark import session

NOBODY = 4_242_424


def test_this_machine_is_fit_for_spark(tmp_path: Path) -> None:
    assert session.obstacles(str(tmp_path)) == []


def test_a_scratch_folder_that_nothing_can_be_run_from_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag=os.ST_NOSUID | os.ST_NOEXEC))
    (said,) = session.obstacles(str(tmp_path))
    assert said.startswith(f"{tmp_path} is mounted noexec") and "--tmpfs /tmp:exec" in said and "TMPDIR" in said


def test_a_user_without_a_name_is_told_before_spark_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        pwd.getpwuid(NOBODY)
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with (
        pytest.raises(MissingComponentError, match=rf"user {NOBODY} has no name .*/etc/passwd"),
        session.spark_session(Config(), "test"),
    ):
        pass
    spark = doctor._spark(Config())
    assert not spark["ok"] and str(NOBODY) in spark["problem"]
