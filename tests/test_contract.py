"""The contract checker finds every kind of damage; otherwise its silence would prove nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import contract

RUN = Path("runs/r1")
RECOMMENDATIONS = RUN / "recommendations"
USERS, ITEMS = (1, 2, 3), (10, 11, 12, 13)
HAD = {1: {10}, 2: {11, 12, 13}}
ROWS = {
    "user_id": [1, 1, 2, 3, 3],
    "item_id": [12, 11, 10, 10, 13],
    "rank": [1, 2, 1, 1, 2],
    "score": [0.9, 0.5, 0.1, 0.3, 0.3],
}
FOURTH = {"user_id": 3, "item_id": 11, "rank": 3, "score": 0.1}
STAGES = ("features", "train", "evaluate", "recommend", "publish")


def schema(user: pa.DataType | None = None, nullable: bool = False, **metadata: str) -> pa.Schema:
    kinds = {"user_id": user or pa.int64(), "item_id": pa.int64(), "rank": pa.int32(), "score": pa.float32()}
    given = metadata or {"run_id": "r1", "generated_at": "2026-01-02T03:04:05+00:00"}
    return pa.schema([pa.field(name, kind, nullable=nullable) for name, kind in kinds.items()], metadata=given)


def write(output: Path, rows: dict[str, list[Any]], name: str = "part-00000.parquet", **options: Any) -> None:
    keep = {key: options.pop(key) for key in ("row_group_size", "write_statistics") if key in options}
    table = pa.table(rows, options.pop("table_schema", None) or schema(**options))
    pq.write_table(table, output / RECOMMENDATIONS / name, **keep)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A small valid output: three users with two rows each, except one row for the user with one item left."""
    (tmp_path / RECOMMENDATIONS).mkdir(parents=True)
    write(tmp_path, ROWS)
    (tmp_path / RECOMMENDATIONS / "_SUCCESS").touch()
    (tmp_path / RUN / ".lock").touch()
    latest = {
        "run_id": "r1",
        "recommendations": str(RECOMMENDATIONS),
        "run": str(RUN / "run.json"),
        "published_at": "2026-01-02T03:04:05+00:00",
        "measured": True,
    }
    manifest = {
        "run_id": "r1",
        "config": {"split": {"method": "global-time"}},
        "versions": {"recsys": "0", "pyarrow": "0"},
        "image": None,
        "revision": None,
        "host": {"cores": 2},
        "inputs": [{"table": "interactions", "path": "events.csv", "bytes": 5, "sha256": "00"}],
        "rejected": {"interactions": {"duplicate": 1}},
        "stages": {stage: {"seconds": 1.5, "peak_bytes": 1} for stage in STAGES},
        "metrics": {"cnn": {"ndcg@10": 0.1}},
    }
    manifest["stages"]["features"] |= {"users": 3, "items": 4, "events": 4}
    manifest["stages"]["train"]["hardware"] = {"device": "cpu"}
    (tmp_path / "latest.json").write_text(json.dumps(latest))
    (tmp_path / RUN / "run.json").write_text(json.dumps(manifest))
    record(tmp_path)
    return tmp_path


def record(output: Path) -> None:
    """Writes the checksums of the files as they are into run.json."""
    files = sorted((output / RECOMMENDATIONS).glob("*.parquet"))
    written = [{"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in files]
    edit(RUN / "run.json", "stages", "recommend", "written", value=written)(output)


def check(output: Path) -> dict[str, Any]:
    return contract.check_output(output, HAD, USERS, ITEMS, 2)


def changed(name: str, place: int, value: Any) -> Callable[[Path], None]:
    return lambda output: write(output, {**ROWS, name: [*ROWS[name][:place], value, *ROWS[name][place + 1 :]]})


def rows(*kept: int, **options: Any) -> Callable[[Path], None]:
    return lambda output: write(output, {name: [values[i] for i in kept] for name, values in ROWS.items()}, **options)


def edit(file: Path | str, *keys: str, value: Any = None) -> Callable[[Path], None]:
    """Sets a key in a JSON file, or removes it if the value is None."""

    def damage(output: Path) -> None:
        tree = json.loads((output / file).read_text())
        inner = tree
        for key in keys[:-1]:
            inner = inner[key]
        inner.pop(keys[-1]) if value is None else inner.update({keys[-1]: value})
        (output / file).write_text(json.dumps(tree))

    return damage


def remove(path: Path | str) -> Callable[[Path], None]:
    return lambda output: shutil.rmtree(output / path) if (output / path).is_dir() else (output / path).unlink()


def touch(path: Path) -> Callable[[Path], None]:
    return lambda output: (output / path).touch()


def as_text(output: Path) -> None:
    write(output, {**ROWS, "user_id": [str(user) for user in ROWS["user_id"]]}, user=pa.string())


def without_rank(output: Path) -> None:
    table = pa.table(ROWS, schema()).drop_columns(["rank"])
    pq.write_table(table, output / RECOMMENDATIONS / "part-00000.parquet")


def files_out_of_order(output: Path) -> None:
    rows(2, 3, 4)(output)
    rows(0, 1, name="part-00001.parquet")(output)


MANIFEST = RUN / "run.json"
DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "no latest.json": (remove("latest.json"), "latest.json is missing"),
    "latest.json cut off": (lambda output: (output / "latest.json").write_text("{"), "no JSON"),
    "latest.json points nowhere": (edit("latest.json", "recommendations", value="runs/r0/recommendations"), "not there"),
    "latest.json names no run": (edit("latest.json", "run_id"), "lacks 'run_id'"),
    "latest.json with an absolute path": (edit("latest.json", "run", value="/runs/r1/run.json"), "is absolute"),
    "latest.json does not say whether it was measured": (edit("latest.json", "measured"), "whether the run was measured"),
    "a file without a checksum": (edit(MANIFEST, "stages", "recommend", "written"), "no checksum of part-00000.parquet"),
    "a file that was not written so": (changed("score", 0, 0.95), "is not what was written"),
    "no _SUCCESS": (remove(RECOMMENDATIONS / "_SUCCESS"), "no _SUCCESS"),
    "no run.json": (remove(MANIFEST), "not there"),
    "run.json of another run": (edit(MANIFEST, "run_id", value="r2"), "is of run r2"),
    **{f"run.json without {key}": (edit(MANIFEST, key), f"lacks {key}") for key in contract.RUN_KEYS},
    "run.json without metrics": (edit(MANIFEST, "metrics"), "metrics are missing"),
    "input without fingerprint": (edit(MANIFEST, "inputs", value=[{"path": "a", "bytes": 1}]), "no fingerprint"),
    "inputs not counted": (edit(MANIFEST, "stages", "features", "events"), "does not count events"),
    "rejected rows not counted": (edit(MANIFEST, "rejected", "interactions", value={"duplicate": "many"}), "not counted"),
    **{f"{stage} not in run.json": (edit(MANIFEST, "stages", stage), f"'{stage}' is missing") for stage in STAGES},
    "seconds missing": (edit(MANIFEST, "stages", "evaluate", "seconds"), "no seconds"),
    "memory missing": (edit(MANIFEST, "stages", "train", "peak_bytes"), "no peak_bytes"),
    "hardware missing": (edit(MANIFEST, "stages", "train", "hardware"), "hardware"),
    "temporary file in the run": (touch(RUN / ".run.json.7.tmp"), "left over"),
    "temporary file beside a part": (touch(RECOMMENDATIONS / ".part-00001.parquet.7.tmp"), "left over"),
    "checkpoint left": (touch(RUN / "checkpoint.npz"), "left over"),
    "odd name": (touch(RECOMMENDATIONS / "recommendations.parquet"), "part-NNNNN"),
    "no files": (remove(RECOMMENDATIONS / "part-00000.parquet"), "no Parquet"),
    "first file lost": (
        lambda output: (output / RECOMMENDATIONS / "part-00000.parquet").rename(
            output / RECOMMENDATIONS / "part-00001.parquet"
        ),
        "a part is missing",
    ),
    "column missing": (without_rank, "columns are"),
    "ids of another type": (as_text, "user_id is string, expected int64"),
    "nullable": (rows(0, 1, 2, 3, 4, nullable=True), "user_id may be null"),
    "null score": (
        lambda output: write(output, {**ROWS, "score": [0.9, None, 0.1, 0.3, 0.3]}, nullable=True),
        "may be null",
    ),
    "NaN score": (changed("score", 4, float("nan")), "finite"),
    "infinite score": (changed("score", 0, float("inf")), "finite"),
    "score rises with rank": (changed("score", 1, 0.95), "above that of the rank before"),
    "rank from 0": (changed("rank", 2, 0), "ranks"),
    "rank left out": (changed("rank", 1, 3), "ranks"),
    "ranks in disorder": (rows(1, 0, 2, 3, 4), "ranks"),
    "users in disorder": (rows(2, 0, 1, 3, 4), "not in order"),
    "files in disorder": (files_out_of_order, "not in order"),
    "item twice": (changed("item_id", 1, 12), "twice"),
    "item already had": (changed("item_id", 1, 10), "already had"),
    "unknown item": (changed("item_id", 0, 99), "item id that is not in the source"),
    "unknown user": (lambda output: write(output, {**ROWS, "user_id": [1, 1, 2, 4, 4]}), "user id that is not"),
    "too few rows": (rows(0, 1, 2, 3), "user 3 has 1 rows, expected 2"),
    "user left out": (rows(0, 1, 3, 4), "user 2 has 0 rows"),
    "too many rows": (
        lambda output: write(output, {name: [*ROWS[name], extra] for name, extra in FOURTH.items()}),
        "user 3 has 3 rows, expected 2",
    ),
    "no run id in the file": (rows(0, 1, 2, 3, 4, generated_at="2026-01-02T03:04:05+00:00"), "'run_id' is missing"),
    "no time in the file": (rows(0, 1, 2, 3, 4, run_id="r1"), "'generated_at' is missing"),
    "file of another run": (rows(0, 1, 2, 3, 4, run_id="r0", generated_at="2026-01-02T03:04:05+00:00"), "is of run r0"),
    "time without zone": (rows(0, 1, 2, 3, 4, run_id="r1", generated_at="2026-01-02T03:04:05"), "time zone"),
    "user divided": (rows(0, 1, 2, 3, 4, row_group_size=4), "divided"),
    "row groups without statistics": (rows(0, 1, 2, 3, 4, write_statistics=False), "which users"),
}


def test_an_output_that_keeps_the_contract_passes(output: Path) -> None:
    assert check(output)["run_id"] == "r1"


def test_users_may_be_spread_over_several_files(output: Path) -> None:
    rows(0, 1)(output)
    rows(2, 3, 4, name="part-00001.parquet")(output)
    record(output)
    check(output)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found(output: Path, damage: str) -> None:
    apply, words = DAMAGES[damage]
    apply(output)
    with pytest.raises(AssertionError, match=words.replace("(", r"\(")):
        check(output)


def test_command_line(output: Path, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("person|thing\n1|10\n2|11\n2|12\n2|13\n")
    (tmp_path / "people.csv").write_text("1|a\n2|b\n3|c\n")
    words = [str(output), "--events", str(tmp_path / "events.csv"), "--user", "person", "--item", "thing", "--delimiter", "|"]
    words += ["--users", str(tmp_path / "people.csv"), "--users-id", "0", "--k", "2", "--integer-ids"]
    command = [sys.executable, contract.__file__, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "run r1 keeps the contract: 3 users, 4 items" in done.stdout
    rows(0, 1, 3, 4)(output)
    record(output)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "the contract is broken: user 2 has 0 rows, expected 1 (K is 2)\n"
