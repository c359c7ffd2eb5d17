"""Secrets stand neither in run.json nor in anything printed, and data cannot send commands to a terminal."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from recsys import settings
from recsys.cli import main
from recsys.config import Config, Recommend, Source, Spark
from recsys.errors import DataError
from recsys.progress import Progress
from recsys.redaction import MASK, printable, redacted
from recsys.run import ending, runs
from recsys.spark import session
from tests.run.test_show_user import make, write

KEY, PASSWORD = "spark.hadoop.fs.s3a.secret.key", "spark.ssl.keystorepassword"
SECRET, OTHER = "hunter2hunter2", "correct-horse"
MIRROR = f"http://user:{SECRET}@mirror.example/data"
EVIL = "Alien\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\r (1979)"
CONTROLS = [chr(code) for code in (*range(9), *range(11, 32), *range(127, 160))]
Call = Callable[..., Result]


@pytest.fixture
def recsys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.chdir(tmp_path)
    return lambda *words, **variables: CliRunner().invoke(main, [str(word) for word in words], env=variables)


def secretive(**changes: Any) -> Config:
    """A configuration with a secret in each place that may hold one."""
    conf = {KEY: SECRET, PASSWORD: SECRET, "spark.driver.extraJavaOptions": f"-Da=b -Dx.trustStorePassword={SECRET} -Dc=d"}
    return Config(source=Source(mirror=MIRROR), spark=Spark(conf={**conf, "spark.executor.cores": "2"}), **changes)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:pw@host/x", "http://***@host/x"),
        ("https://t0ken@host and ftp://u:p@ss:w@host", "https://***@host and ftp://***@host"),
        ("k8s://https://u:p@host:6443", "k8s://https://***@host:6443"),
        ("--spark-conf 'spark.x.secret.key=X'", "--spark-conf 'spark.x.secret.key=***'"),
        ('{"spark.ssl.keyPassword": "a b", "c": "d"}', '{"spark.ssl.keyPassword": "***", "c": "d"}'),
        ("x.password='it is, (a) secret;' y=z", "x.password='***' y=z"),
        ('cut off: x.password="it is', 'cut off: x.password="*** is'),
        ("x.password=a,b;c)d y=z", "x.password=*** y=z"),
        ("https://host/f?a=1&sig=abc%3D&X-Amz-Signature=9f", "https://host/f?a=1&sig=***&X-Amz-Signature=***"),
        ("Authorization: Bearer eyJhbGciOi.x-y_z", "Authorization: Bearer ***"),
    ],
)
def test_a_secret_is_known_by_its_form(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        *("training.batch_tokens=5", "abfs://container@account.dfs.core.windows.net/a", "s3://bucket/a@b", "http://host/a@b:c"),
        *("write to me@example.org", "the secret of: the grain", "http://host:80/x", "tab\there\nline"),
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert printable(text) == text


def test_a_secret_is_known_by_its_name() -> None:
    names = [KEY, PASSWORD, "spark.hadoop.fs.azure.account.key.x.net", "spark.hadoop.fs.s3a.access.key", "SPARK.AUTH.TOKEN"]
    plain = {"spark.hadoop.fs.s3a.aws.credentials.provider": "org.Class", "spark.executor.cores": "2"}
    assert redacted({**dict.fromkeys(names, SECRET), **plain}) == {**dict.fromkeys(names, MASK), **plain}


def test_run_json_and_config_have_no_secret(recsys: Call, tmp_path: Path) -> None:
    made = runs.create(secretive(output=str(tmp_path / "out")), "r")
    recorded = Path(made.path("run.json")).read_text()
    assert SECRET not in recorded and recorded.count(MASK) == 4
    options = ["--set", f"source.mirror={MIRROR}", "--spark-conf", f"{KEY}={SECRET}"]
    variables = {f"RECSYS__SPARK__CONF__{PASSWORD.upper()}": SECRET}
    for form in ("table", "toml"):
        for words in ((*options,), ("--run-id", "r", "--output", tmp_path / "out")):
            shown = recsys("config", "--format", form, *words, **(variables if words[0] == "--set" else {}))
            assert shown.exit_code == 0 and SECRET not in shown.output and MASK in shown.output


def test_a_run_is_found_again_though_its_secrets_are_not_recorded(tmp_path: Path) -> None:
    asked = secretive(output=str(tmp_path))
    made = runs.open_or_create(asked, None)
    assert runs.open_or_create(asked, None) == made
    renewed = Config(output=str(tmp_path), source=asked.source, spark=Spark(conf={**asked.spark.conf, KEY: OTHER}))
    assert runs.open_or_create(renewed, None) == made, "a renewed password is no other configuration"
    other = Config(
        output=str(tmp_path), source=asked.source, spark=Spark(conf={**asked.spark.conf, "spark.executor.cores": "3"})
    )
    assert runs.open_or_create(other, None) != made


def test_a_run_of_an_earlier_version_with_secrets_is_found_too(tmp_path: Path) -> None:
    asked = secretive(output=str(tmp_path))
    made = runs.open_or_create(asked, None)
    made.update({"config": settings.to_dict(asked)})
    assert runs.open_or_create(asked, None) == made


def test_changed_settings_are_recorded_without_secrets(tmp_path: Path) -> None:
    asked = secretive(output=str(tmp_path))
    made = runs.create(asked, "r")
    made.change_config(secretive(output=str(tmp_path), recommend=Recommend(k=5)), ("source", "recommend", "spark"))
    recorded = Path(made.path("run.json")).read_text()
    assert json.loads(recorded)["config"]["recommend"]["k"] == 5 and SECRET not in recorded


def test_a_later_stage_takes_the_secret_from_the_environment_and_spark_never_gets_the_mask(tmp_path: Path) -> None:
    made = runs.create(secretive(output=str(tmp_path)), "r").config()
    without = session.options(settings.change(made, [], ("evaluation",), {}), str(tmp_path))
    assert KEY not in without and PASSWORD not in without and without["spark.executor.cores"] == "2"
    variables = {f"RECSYS__SPARK__CONF__{KEY}": SECRET}
    given = settings.change(made, [], ("evaluation",), variables)
    assert session.options(given, str(tmp_path))[KEY] == SECRET
    assert settings.same(given, made) and settings.ignored(made, ("evaluation",), variables) == []


def test_no_message_repeats_a_secret(recsys: Call, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ("--set", f"spark.conf={{'{KEY}': '{SECRET}'}}"),
        ("--set", f"source.mirror=gopher://user:{SECRET}@host"),
        (f"{KEY}={SECRET}",),
    ):
        done = recsys("run", *words)
        assert done.exit_code == 2 and "***" in done.output and SECRET not in done.output, done.output
    Progress()(f"{MIRROR}/ml-1m.zip: trying again")
    assert "http://***@mirror.example/data/ml-1m.zip" in capsys.readouterr().err


def test_the_last_words_have_neither_secrets_nor_controls(tmp_path: Path) -> None:
    path = tmp_path / "termination-log"
    path.touch()
    ending.leave_last_words(DataError(f"{MIRROR}: {EVIL}"), str(path))
    assert path.read_text() == "exit 65: http://***@mirror.example/data: Alien]0;owned[2J31m (1979)"


def test_titles_cannot_command_the_terminal(recsys: Call, tmp_path: Path) -> None:
    run = make(str(tmp_path / "out"), [f"u{n}\x1b[31m" for n in range(1, 7)], pa.string())
    items = {
        "item_index": pa.array(range(1, 10), pa.int32()),
        "item_id": [f"i{n}" for n in range(1, 10)],
        "title": [EVIL + "\n  1"] * 9,
        "genres": pa.array([[1]] * 9, pa.list_(pa.int32())),
    }
    write(run.path("features", "items"), items, 9)
    shown = recsys("show", "--output", tmp_path / "out", "--run-id", "r", "--user", "u1\x1b[31m")
    assert shown.exit_code == 0 and "Alien]0;owned[2J31m (1979)   1 (i9)" in shown.output
    refused = recsys("show", "--output", tmp_path / "out", "--run-id", "r", "--user", "nobody\x1b]0;x\x07")
    assert refused.exit_code == 2 and "ids look like: u1[31m, u2[31m" in refused.output
    assert not [one for one in CONTROLS if one in shown.output + refused.output]


def test_described_rows_and_messages_cannot_either(recsys: Call, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(f"user,item,time\x1b[2J,note\n1,2,3,{EVIL.replace(chr(13), '')}\n")
    (tmp_path / "shop.toml").write_text(
        "[source]\ndataset = 'tabular'\n[source.interactions]\npath = 'events.csv'\nuser_id = 'user'\nitem_id = 'item'\n"
        "timestamp = 'time'\n"
    )
    refused = recsys("dataset", "describe", "--config", "shop.toml")
    assert refused.exit_code == 65 and "time[2J" in refused.output
    (tmp_path / "events.csv").write_text(f"user,item,time,note\n1,2,3,{EVIL.replace(chr(13), '')}\n")
    shown = recsys("dataset", "describe", "--config", "shop.toml")
    assert shown.exit_code == 0 and "Alien]0;owned[2J31m (1979)" in shown.output
    assert not [one for one in CONTROLS if one in shown.output + refused.output]


def test_the_changing_line_is_one_line_whatever_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for name, value in (("COLUMNS", "200"), ("TERM", "xterm"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    stream = Terminal()
    progress = Progress(stream)
    with progress.stage("features"):
        progress.update(f"reading {EVIL}\n{MIRROR}")
    assert "reading Alien]0;owned[2J31m (1979) http://***@mirror.example/data " in stream.getvalue()
    assert SECRET not in stream.getvalue() and "\x1b]0" not in stream.getvalue()
