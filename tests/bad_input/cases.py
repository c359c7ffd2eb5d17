"""Cases of bad input as data: one TOML file for each kind, one table for each case; this module makes the files they describe.

Every case has `exit`, the expected exit code, and `says`, fragments of the message. What else a case may have:

    events          text of the file of events; {good} stands for 30 good rows, {header} for the header. Default: both
    file            its name (events.csv); encoding (utf-8), gzip, cut (bytes cut off the end), destroy (a range of bytes)
    parquet         the events are 30 good rows of Parquet, with these columns replaced
    files           a folder of events instead: texts by name
    path            what the configuration names instead of the file
    source, table   lines for [source] and [source.interactions]; without: a line to leave out
    config          the whole configuration instead
    zip             a zip of a MovieLens data set, see `make_zip`
    damage          a file of a finished run, see `damage_run`
    command         the command line instead of `run`, with {run} for the name of the finished run; environment: variables
"""

from __future__ import annotations

import dataclasses
import gzip
import shutil
import struct
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.command import run_folder, unpublish, write_toml
from tests.sources import formats

HERE = Path(__file__).resolve().parent
HEADER = "user,item,stars,time\n"
GOOD = "".join(f"u{user},i{item},3,{1_600_000_000 + 10 * user + item}\n" for user in range(6) for item in range(5))
WRITERS = {"ml-1m": formats.write_1m, "ml-10m": formats.write_10m}


@dataclasses.dataclass(frozen=True)
class Case:
    """One case; `kind` is the name of its file."""

    kind: str
    name: str
    fields: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


def read(*kinds: str) -> list[Case]:
    """All cases of some kinds."""
    trees = {kind: tomllib.loads((HERE / f"{kind}.toml").read_text(encoding="utf-8")) for kind in kinds}
    return [Case(kind, name, fields) for kind, tree in trees.items() for name, fields in tree.items()]


def make(case: Case, folder: Path) -> list[str]:
    """Makes the files of a case in the folder, the working directory; returns the command line without `--output`."""
    fields = case.fields
    if "zip" in fields:
        archive = make_zip(fields["zip"], folder)
        return ["run", "--dataset", archive.stem, "--dataset-path", str(archive)]
    if "command" in fields:
        return list(fields["command"])
    config = folder / "shop.toml"
    if "config" in fields:
        config.write_text(fields["config"], encoding="utf-8")
    else:
        path = fields.get("path", make_events(fields, folder))
        write_toml(folder, path, fields.get("source", ""), fields.get("table", ""))
        config.write_text(config.read_text(encoding="utf-8").replace(fields.get("without", "\0"), ""), encoding="utf-8")
    return ["run", "--config", str(config)]


def make_events(fields: dict[str, Any], folder: Path) -> str:
    """Writes the events; returns the name of the file or folder."""
    if "files" in fields:
        (folder / "events").mkdir()
        for name, text in fields["files"].items():
            (folder / "events" / name).write_text(filled(text), encoding="utf-8")
        return "events"
    name: str = fields.get("file", "events.parquet" if "parquet" in fields else "events.csv")
    if "parquet" in fields:
        content = parquet(fields["parquet"], folder / name)
    else:
        content = filled(fields.get("events", "{header}{good}")).encode(fields.get("encoding", "utf-8"))
    if fields.get("gzip"):
        content = gzip.compress(content)
    if "destroy" in fields:
        start, end = fields["destroy"]
        content = content[:start] + b"\xff" * (end - start) + content[end:]
    (folder / name).write_bytes(content[: len(content) - fields.get("cut", 0)])
    return name


def filled(text: str) -> str:
    """A text of events with its header and good rows."""
    return text.replace("{header}", HEADER).replace("{good}", GOOD)


def parquet(columns: dict[str, Any], path: Path) -> bytes:
    """The good rows as uncompressed Parquet, with some columns replaced."""
    users, items = [f"u{n % 6}" for n in range(30)], [f"i{n // 6}" for n in range(30)]
    table = {"user": users, "item": items, "stars": [3.0] * 30, "time": list(range(1_600_000_000, 1_600_000_030))}
    pq.write_table(pa.table({**table, **columns}), path, compression="none")
    return path.read_bytes()


def make_zip(how: dict[str, Any], folder: Path) -> Path:
    """Packs a small MovieLens data set, then damages the zip.

    Args:
        how: `dataset`; `member`, a further member's name; `without`, a file to leave out; `zeros`, a file's name and the size
            of its content; `declared`, the size that the zip states for it; `cut`, bytes cut off the end; `flip`, a range of
            bytes; `text` instead of everything.
        folder: where.
    """
    inner, archive = WRITERS[how["dataset"]](folder), folder / f"{how['dataset']}.zip"
    if "without" in how:
        (inner / how["without"]).unlink()
    if "zeros" in how:
        name, size = how["zeros"]
        (inner / name).write_bytes(bytes(size))
    formats.zipped(inner, archive)
    if "member" in how:
        with zipfile.ZipFile(archive, "a") as file:
            file.writestr(how["member"], "1::1::1::1\n")
    content = how["text"].encode() if "text" in how else archive.read_bytes()
    if "declared" in how:
        content = content.replace(struct.pack("<I", size), struct.pack("<I", how["declared"]))
    start, end = how.get("flip", (0, 0))
    content = content[:start] + bytes(255 - byte for byte in content[start:end]) + content[end:]
    archive.write_bytes(content[: len(content) - how.get("cut", 0)])
    return archive


def damage_run(how: dict[str, Any], finished: Path, output: Path) -> str:
    """Copies a finished output, and damages one of its files; returns the name of its run.

    Args:
        how: `file`, its path in the run or latest.json; `by`: cut (to half), empty, flip (30 bytes in the middle), remove, or
            `text` instead; `published`: whether it was, since such a run is not changed.
        finished: the output.
        output: where the copy goes.
    """
    shutil.copytree(finished, output)
    if not how.get("published", how["file"] == "latest.json"):
        unpublish(output)
    run = run_folder(output)
    path = (output if how["file"] == "latest.json" else run) / how["file"]
    content = path.read_bytes()
    middle = len(content) // 2
    damaged = {
        "cut": content[:middle],
        "empty": b"",
        "flip": content[:middle] + bytes(255 - byte for byte in content[middle : middle + 30]) + content[middle + 30 :],
    }
    if "text" in how:
        path.write_text(how["text"], encoding="utf-8")
    elif how["by"] == "remove":
        path.unlink()
    else:
        path.write_bytes(damaged[how["by"]])
    return run.name
