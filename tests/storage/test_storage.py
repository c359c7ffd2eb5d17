"""Writes that appear whole or not at all, conditional writes, markers, locks, URIs."""

import errno
import json
import os
import subprocess
import sys
import tempfile
import threading
from unittest import mock

import pytest
from moto.s3.responses import S3Response
from pyarrow import fs

from recsys import storage
from recsys.errors import ConfigError, DamagedError, RetryError
from recsys.storage import objects
from tests.store import SECRET


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
    with pytest.raises(DamagedError, match=r"x\.json is missing"):
        storage.read_json(str(tmp_path / "x.json"))
    for content in ("", "{", "[1]", "\xff"):
        (tmp_path / "y.json").write_text(content, encoding="latin-1")
        with pytest.raises(DamagedError, match=r"y\.json is damaged"):
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


def test_what_was_written_although_the_answer_was_lost_counts_as_written(store):
    uri, put, lost = f"{store.bucket}/answers/latest.json", S3Response.put_object, []

    def answer_is_lost(response):
        answer = put(response)
        if "answers/latest" in response.path and len(lost) < 1:
            lost.append(answer)
            return 500, {}, "lost"
        return answer

    with mock.patch.object(S3Response, "put_object", answer_is_lost):
        storage.replace_json(storage.read_snapshot(uri), {"a": 1})
        lost.clear()
        storage.update_json(uri, lambda value: value.update(b=2))
    assert lost and storage.read_json(uri) == {"a": 1, "b": 2}


def test_what_changed_since_it_was_read_is_not_replaced_in_a_store(store):
    uri = f"{store.bucket}/changed/latest.json"
    absent = storage.read_snapshot(uri)
    assert absent.value == {}
    storage.replace_json(absent, {"a": 1})
    with pytest.raises(RetryError, match="another process has just written"):
        storage.replace_json(absent, {"a": 2})
    before = storage.read_snapshot(uri)
    storage.write_json(uri, {"a": 3})
    with pytest.raises(RetryError, match="another process has just written"):
        storage.replace_json(before, {"a": 4})
    assert storage.read_json(uri) == {"a": 3}
    with pytest.raises(DamagedError, match="is missing"):
        storage.update_json(f"{store.bucket}/changed/run.json", lambda value: None)


def test_of_several_that_replace_the_same_version_at_once_one_wins_each_time(store):
    uri = f"{store.bucket}/raced/latest.json"
    for race in range(10):
        before, start, won = storage.read_snapshot(uri), threading.Barrier(4), []

        def replace(number, before=before, start=start, won=won, race=race):
            start.wait()
            try:
                storage.replace_json(before, {"race": race, "by": number})
                won.append(number)
            except RetryError:
                pass

        threads = [threading.Thread(target=replace, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [storage.read_json(uri)] == [{"race": race, "by": number} for number in won]


def test_keys_are_taken_literally_in_conditional_writes_too(store):
    uri = f"{store.bucket}/odd/a b?%20/é[1]^~.json"
    storage.replace_json(storage.read_snapshot(uri), {"a": 1})
    assert storage.read_json(uri) == {"a": 1} and storage.list_files(uri.rpartition("/")[0]) == [uri]


@pytest.mark.parametrize("call", [storage.read_snapshot, lambda uri: storage.replace_json(storage.Snapshot(uri, {}, None), {})])
def test_a_missing_bucket_is_a_configuration_error_in_conditional_writes_too(store, call):
    with pytest.raises(ConfigError, match=r"refused: .*NoSuchBucket.*check bucket"):
        call("s3://no-such-bucket-either/latest.json")


def test_refused_credentials_are_a_configuration_error_in_conditional_writes_too(store):
    with store.asking_for_rights(), pytest.raises(ConfigError, match=r"refused: .*InvalidAccessKeyId") as found:
        storage.read_snapshot(f"{store.bucket}/latest.json")
    assert SECRET not in str(found.value)


def test_a_store_that_cannot_be_reached_is_a_reason_to_try_again_in_conditional_writes_too(store, monkeypatch):
    monkeypatch.setattr(objects, "_RETRY", {"max_retries": 1})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(RetryError, match=r"object store failed: .*nothing was lost"):
        storage.read_snapshot("s3://out-of-reach-too/latest.json")


def test_credentials_come_from_the_profile_where_the_environment_has_none(tmp_path):
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id = one\n[other]\naws_access_key_id = two\naws_secret_access_key = %x\nregion = y\n"
    )
    environment = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials")}
    assert objects.profile(environment) == {"access_key_id": "one"}
    assert objects.profile({**environment, "AWS_PROFILE": "other"}) == {"access_key_id": "two", "secret_access_key": "%x"}
    assert objects.profile({**environment, "AWS_PROFILE": "none"}) == {}
    assert objects.profile({**environment, "AWS_ACCESS_KEY_ID": "three"}) == {}
    assert objects.profile({"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "absent")}) == {}


@pytest.mark.parametrize("uri", ["gs://bucket/a/latest.json", "abfs://container@account.dfs.core.windows.net/a/latest.json"])
def test_other_stores_have_a_client_for_conditional_writes(uri, monkeypatch):
    """No more than that: no such store is within reach of the tests."""
    monkeypatch.setenv("CLOUD_STORAGE_EMULATOR_ENDPOINT", "127.0.0.1:9")
    store, key = objects.locate(uri)
    assert key == "a/latest.json" and type(store).__name__ in ("GCSStore", "AzureStore")


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


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_a_volume_without_locks_is_not_another_process(tmp_path, code):
    """Refused by the kernel, as an NFS volume without a lock service does."""
    words = (
        "import sys; from tests.refused_calls import refuse_flock; from recsys import storage\n"
        "refuse_flock(int(sys.argv[2]))\n"
        "with storage.lock(sys.argv[1], patience=600): print('held')"
    )
    given = [sys.executable, "-c", words, str(tmp_path), str(code)]
    done = subprocess.run(given, capture_output=True, text=True, timeout=60, check=False)
    assert "ConfigError" in done.stderr and "held" not in done.stdout
    assert f"the volume of {tmp_path}" in done.stderr and "no locks" in done.stderr and "--output" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_lock_of_another_user_is_told_with_its_file_and_this_user():
    words = "import os, sys; from recsys import storage; os.seteuid(10001)\nwith storage.lock(sys.argv[1]): print('held')"
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to other users
        os.chmod(folder, 0o755)
        with storage.lock(folder):
            pass
        os.chmod(f"{folder}/.lock", 0o600)
        done = subprocess.run([sys.executable, "-c", words, folder], capture_output=True, text=True, timeout=60, check=False)
    assert "ConfigError" in done.stderr and "held" not in done.stdout
    assert f"{folder}/.lock" in done.stderr and "runs as user 10001" in done.stderr and "Permission denied" in done.stderr
