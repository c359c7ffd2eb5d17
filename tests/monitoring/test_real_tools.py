"""Prometheus' own Pushgateway and node exporter take what they are told at the end of `recsys run`."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

from recsys.errors import EXIT_REFUSED, RefusedError
from tests import servers
from tests.monitoring.test_telling import job, tell

SUCCESS = "recsys_last_success_timestamp_seconds"
CODE = "recsys_last_run_exit_code"


def figures(address: str) -> dict[str, float]:
    """Values of the job's figures, by what stands before them but for labels of the server's own."""
    text = urllib.request.urlopen(f"http://{address}/metrics", timeout=servers.SECONDS).read().decode()
    found = {}
    for name, labels, value in re.findall(r"^(recsys_\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        own = sorted(set(re.findall(r'\w+="[^"]*"', labels)) - {'instance=""', 'job="shop"', 'name="shop"'})
        found[name + "".join(own)] = float(value)
    return found


def answers(address: str) -> bool:
    try:
        urllib.request.urlopen(f"http://{address}/metrics", timeout=1).close()
    except OSError:
        return False
    return True


def test_pushgateway(tmp_path: Path, place: Path) -> None:
    address = f"127.0.0.1:{servers.free_port()}"
    program = servers.program("prometheus-pushgateway")
    with servers.running([program, f"--web.listen-address={address}"], place):
        servers.until(lambda: answers(address))
        tell(job(tmp_path, pushgateway=f"http://{address}"))
        good = figures(address)
        tell(job(tmp_path, "s", pushgateway=f"http://{address}"), RefusedError("too bad"))
        bad = figures(address)
    assert good[CODE] == 0 and bad[CODE] == EXIT_REFUSED
    assert good[SUCCESS] == bad[SUCCESS] > 0
    assert good['recsys_scoremetric="ndcg@10"'] == 0.25
    assert good['recsys_rejected_rowsreason="missing_id"table="interactions"'] == 6


def test_node_exporter(tmp_path: Path, place: Path) -> None:
    address = f"127.0.0.1:{servers.free_port()}"
    program = servers.program("prometheus-node-exporter")
    textfiles = place / "textfiles"
    textfiles.mkdir()
    place.chmod(0o755)
    tell(job(tmp_path, textfile=str(textfiles / "recsys.prom")))
    options = ["--collector.disable-defaults", "--collector.textfile", f"--collector.textfile.directory={textfiles}"]
    with servers.running([program, f"--web.listen-address={address}", *options], place):
        servers.until(lambda: answers(address))
        found = figures(address)
    assert found[CODE] == 0 and found[SUCCESS] > 0
    assert found['recsys_stage_duration_secondsstage="features"'] == 2.5
