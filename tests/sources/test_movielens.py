"""MovieLens: every layout from zip and folder, and archives that must be refused."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from recsys.config import Config, Source
from recsys.errors import ConfigError, DataError
from recsys.sources import SourceTables, catalogue, first_rows, movielens, open_source
from tests.sources import formats


def _flipped(data: bytes) -> bytes:
    middle = data.index(b"movies.dat") + 60
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


def opened(name: str, path: Path, cache: Path) -> SourceTables:
    return open_source(Config(source=Source(name, str(path), str(cache))), str(cache), lambda line: None)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("ml-1m", formats.write_1m),
        ("ml-10m", formats.write_10m),
        ("ml-20m", formats.write_csv),
        ("ml-32m", lambda folder: formats.write_csv(folder, "ml-32m")),
    ],
)
def test_zip_folder_and_folder_around_it_open_alike(tmp_path: Path, name: str, write: Callable[[Path], Path]) -> None:
    inner = write(tmp_path / "published")
    (tmp_path / "zips").mkdir()
    packed = formats.zipped(inner, tmp_path / "zips" / f"{name}.zip")
    found = [opened(name, path, tmp_path / "cache") for path in (inner, inner.parent, packed, packed.parent)]
    assert {tuple(entry["sha256"] for entry in one.inputs) for one in found} == {
        tuple(entry["sha256"] for entry in found[0].inputs)
    }
    assert found[0].id_type == "integer" and found[0].timestamp_unit == "s"
    assert (found[0].users is not None) == (name == "ml-1m")
    assert found[2].inputs == found[3].inputs  # unpacked once
    rows = first_rows(found[0].items, 40) if found[0].items else []
    assert [tuple(row) for row in rows] == [(str(item), title, genres) for item, title, genres in formats.movies()]


def test_year_and_words_come_out_of_titles() -> None:
    features = movielens.tables("csv", "x")[2].features
    year, words = (re.compile(features[name].pattern or "") for name in ("year", "title_words"))
    expected = {
        "Toy Story (1995)": ("1995", "Toy Story"),
        "City of Lost Children, The (Cité des enfants perdus, La) (1995)": (
            "1995",
            "City of Lost Children, The (Cité des enfants perdus, La)",
        ),
        "Fawlty Towers (1975-1979)": ("1975", "Fawlty Towers"),
        "Land Before Time III (1995) (V)": ("1995", "Land Before Time III"),
        "Babylon 5 (1994) ": ("1994", "Babylon 5"),
        "No year at all": (None, "No year at all"),
        "2001": (None, "2001"),
    }
    for title, (when, name) in expected.items():
        found, text = year.search(title), words.search(title)
        assert (found.group(1) if found else None, text.group(1) if text else None) == (when, name)


def test_a_zip_of_another_data_set_says_what_is_missing(tmp_path: Path) -> None:
    packed = formats.zipped(formats.write_csv(tmp_path), tmp_path / "x.zip")
    with pytest.raises(DataError, match=r"x\.zip lacks u\.data, u\.user, u\.item.*found ml-20m/README.txt"):
        opened("ml-100k", packed, tmp_path / "cache")
    with pytest.raises(DataError, match=r"lacks ratings\.dat, movies\.dat"):
        opened("ml-10m", tmp_path / "ml-20m", tmp_path / "cache")
    with pytest.raises(DataError, match="does not exist"):
        opened("ml-10m", tmp_path / "absent.zip", tmp_path / "cache")
    with pytest.raises(ConfigError, match=r"'ml-7m' is unknown.*ml-32m"):
        opened("ml-7m", packed, tmp_path / "cache")


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"no zip", _flipped])
def test_damaged_zips_are_refused_and_leave_nothing(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    packed = formats.zipped(formats.write_10m(tmp_path), tmp_path / "ml-10m.zip")
    packed.write_bytes(damage(packed.read_bytes()))
    with pytest.raises(DataError, match=r"ml-10m\.zip is not a complete zip file"):
        opened("ml-10m", packed, tmp_path / "cache")
    assert list((tmp_path / "cache" / "unpacked").iterdir()) == []


def test_what_a_process_that_was_killed_has_unpacked_is_removed(tmp_path: Path) -> None:
    unpacked = tmp_path / "cache" / "unpacked"
    unpacked.mkdir(parents=True)
    words = (
        "import sys, time; from recsys import storage\n"
        "with storage.scratch('ml-10m', sys.argv[1]) as folder:\n"
        "    open(folder + '/ratings.dat', 'w').close(); print('half', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", words, unpacked], stdout=subprocess.PIPE) as dead:
        assert dead.stdout is not None and dead.stdout.readline() == b"half\n"
        dead.kill()
    assert list(unpacked.rglob("ratings.dat"))
    opened("ml-10m", formats.zipped(formats.write_10m(tmp_path), tmp_path / "ml-10m.zip"), tmp_path / "cache")
    (left,) = unpacked.iterdir()
    assert left.name.startswith("ml-10m-") and (left / "ratings.dat").stat().st_size


@pytest.mark.parametrize("member", ["../evil.txt", "/etc/evil", "ml-10M100K/../../evil", "..\\evil", "C:\\evil", "link"])
def test_members_that_leave_their_folder_are_refused(tmp_path: Path, member: str) -> None:
    packed = formats.zipped(formats.write_10m(tmp_path / "in"), tmp_path / "ml-10m.zip")
    with zipfile.ZipFile(packed, "a") as archive:
        info = zipfile.ZipInfo(member)
        if member == "link":
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match="is refused: its member"):
        opened("ml-10m", packed, tmp_path / "cache")
    assert not list(tmp_path.rglob("evil*"))


def test_describe_and_list(tmp_path: Path) -> None:
    inner = formats.write_csv(tmp_path, "ml-25m")
    config = Config(source=Source("ml-25m", str(inner), str(tmp_path / "cache")))
    found = catalogue.describe(config, lambda line: None, rows=2)
    assert [(table.table, len(table.first_rows)) for table in found.tables] == [("interactions", 2), ("items", 2)]
    assert ("user_id", "userId") in found.tables[0].mapping and found.tables[0].bytes > 0
    rows = catalogue.available(config)
    assert [row.name for row in rows][:2] == ["synthetic", "ml-100k"] and not rows[1].cached


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("ml-100k", ["196", "242", "3", "881250949"]),
        ("ml-1m", ["1", "1193", "5", "978300760"]),
        ("ml-latest-small", ["1", "1", "4.0", "964982703"]),
    ],
)
def test_real_zips_open(data_dir: Path, tmp_path: Path, name: str, first: list[str]) -> None:
    found = opened(name, data_dir / f"{name}.zip", tmp_path)
    assert first_rows(found.interactions, 1) == [first]
    assert found.items is not None and "Toy Story (1995)" in first_rows(found.items, 1)[0]
    assert (found.users is not None) == (name != "ml-latest-small")
