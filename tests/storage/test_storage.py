"""Writes that are whole or absent, markers, locks, URIs."""

import json
import subprocess
import sys

import pytest
from pyarrow import fs

from recsys import storage
from recsys.errors import ConfigError, RetryError


def test_a_write_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a" / "b.json"
    storage.write_json(str(path), {"x": "é"})
    assert json.loads(path.read_text()) == {"x": "é"}
    with pytest.raises(ValueError, match="stop"), storage.atomic_output(str(path)) as stream:
        stream.write(b"half")
        raise ValueError("stop")
    assert json.loads(path.read_text()) == {"x": "é"}
    assert [p.name for p in path.parent.iterdir()] == ["b.json"]


def test_nothing_that_is_no_number_gets_into_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        storage.write_json(str(tmp_path / "a.json"), {"x": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_folder_is_whole_by_its_marker_and_loses_it_first(tmp_path):
    folder = str(tmp_path / "f")
    storage.create_folder(folder)
    assert not storage.is_whole(folder)
    storage.mark_success(folder)
    assert storage.is_whole(folder)
    storage.delete_folder(folder)
    assert not storage.exists(folder)
    storage.delete_folder(folder)


def test_files_and_folders_come_in_order_without_hidden_ones(tmp_path):
    for name in ("b.parquet", "a.parquet", "_SUCCESS", ".a.parquet.crc", "c.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "folder").mkdir()
    assert storage.list_files(str(tmp_path), ".parquet") == [f"{tmp_path}/a.parquet", f"{tmp_path}/b.parquet"]
    assert storage.list_folders(str(tmp_path)) == ["folder"]
    assert storage.list_files(str(tmp_path / "none")) == []


def test_a_uri_of_this_machine_is_the_same_place(tmp_path):
    storage.write_json(f"file://{tmp_path}/x.json", {"a": 1})
    assert storage.read_json(str(tmp_path / "x.json")) == {"a": 1}
    assert storage.is_local(f"file://{tmp_path}")


def test_an_unknown_scheme_and_a_missing_or_broken_file_are_told(tmp_path):
    with pytest.raises(ConfigError, match="cannot be used"):
        storage.resolve("nowhere://x")
    with pytest.raises(RetryError, match=r"x\.json cannot be read"):
        storage.read_json(str(tmp_path / "x.json"))
    (tmp_path / "y.json").write_text("{")
    with pytest.raises(RetryError, match=r"y\.json cannot be read"):
        storage.read_json(str(tmp_path / "y.json"))


def test_a_second_process_is_refused_and_a_killed_one_leaves_no_lock(tmp_path):
    code = "import time; from recsys import storage\nwith storage.lock({!r}): print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code.format(str(tmp_path))], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(RetryError, match="another process"), storage.lock(str(tmp_path)):
        pass
    holder.kill()
    holder.wait()
    with storage.lock(str(tmp_path)):
        pass


def test_an_object_appears_whole_or_not_at_all(store):
    uri = f"{store.bucket}/atomic/a b?%20.json"
    storage.write_json(uri, {"x": 1})
    with pytest.raises(ValueError, match="stop"), storage.atomic_output(uri) as stream:
        stream.write(b"half")
        raise ValueError("stop")
    assert storage.read_json(uri) == {"x": 1}
    assert storage.list_files(f"{store.bucket}/atomic", ".json") == [uri]
    storage.mark_success(f"{store.bucket}/atomic")
    assert storage.is_whole(f"{store.bucket}/atomic") and storage.list_folders(store.bucket).count("atomic") == 1
    storage.delete_folder(f"{store.bucket}/atomic")
    assert not store.names("atomic")


@pytest.mark.parametrize(
    ("uri", "kind", "path"),
    [
        ("s3://bucket/a/b c?.csv", fs.S3FileSystem, "bucket/a/b c?.csv"),
        ("gs://bucket/a/b", fs.GcsFileSystem, "bucket/a/b"),
        ("abfs://container@account.dfs.core.windows.net/a/b", fs.AzureFileSystem, "container/a/b"),
    ],
)
def test_uris_lead_to_the_file_system_of_their_store(store, uri, kind, path):
    system, found = storage.resolve(uri)
    assert isinstance(system, kind) and found == path
    assert not storage.is_local(uri)
    assert storage.at(uri, path) == uri
    assert storage.at(uri, path.replace("/a/", "/x/")) == uri.replace("/a/", "/x/")


def test_what_is_shared_is_not_had_alone_and_parts_are_independent(tmp_path):
    folder = str(tmp_path)
    with storage.lock(folder, shared=True), storage.lock(folder, shared=True), storage.lock(folder, "train"):
        with storage.lock(folder, "evaluate"):
            pass
        for part in ("", "train"):
            with pytest.raises(RetryError, match="another process"), storage.lock(folder, part):
                pass
    with storage.lock(folder), pytest.raises(RetryError, match="another process"), storage.lock(folder, shared=True):
        pass


def test_a_lock_is_waited_for_as_long_as_was_said(tmp_path):
    code = "import time; from recsys import storage\nwith storage.lock({!r}): print('held', flush=True); time.sleep(1)"
    holder = subprocess.Popen([sys.executable, "-c", code.format(str(tmp_path))], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    with storage.lock(str(tmp_path), patience=60):
        pass
    holder.wait()
