"""The report of a run, with what the quality gate says of it."""

from __future__ import annotations

from typing import Any

from recsys import storage
from recsys.config import Config
from recsys.contract import schema
from recsys.report import gathering, render
from recsys.report.gathering import Gate
from recsys.run import latest
from recsys.run.gate import measured, refusals
from recsys.run.runs import Run


def write_report(config: Config, run: Run) -> dict[str, Any]:
    """Writes report/ anew; nothing of the run changes.

    Args:
        config: of the run; `config.publish` is the gate.
        run: at least trained.

    Returns:
        For run.json: `bytes` of the page.

    Raises:
        DamagedError: a file of the run is not what was written.
    """
    manifest, before = run.manifest(), latest.read(run.output)
    if latest.was_published(manifest, before):
        gate = Gate("published")
    else:
        reasons = refusals(config, run, measured(run), before)
        gate = Gate("refused" if reasons else "passes", reasons)
    folder = run.path(schema.REPORT_DIR)
    storage.create_folder(folder)
    return {"bytes": render.write(gathering.gather(run.folder, manifest, gate, config.seed), folder)}
