"""How to make a damaged file of an output again."""

from __future__ import annotations

from typing import Final

from recsys.contract import schema
from recsys.run.runs import FOLDERS, RUNS_DIR

_STAGES: Final = {folder: stage for stage, folder in FOLDERS.items() if stage != "features"} | {schema.SHARDS_DIR: "recommend"}
"""The stage that makes the content of a folder again. The features stage cannot be repeated: it begins a run."""


def remedy(uri: str) -> str:
    """What to do about a damaged file, for the end of a message.

    Args:
        uri: of a file or folder in an output.
    """
    if uri.endswith(f"/{schema.LATEST_FILE}"):
        output = uri.rpartition("/")[0]
        return f"delete it, and publish a run again: recsys rollback --output {output} --run-id RUN"
    output, _, rest = uri.rpartition(f"/{RUNS_DIR}/")
    run_id, _, path = rest.partition("/")
    if output and path and (stage := _STAGES.get(path.split("/")[0])):
        again = f"recsys {stage} --redo --output {output} --run-id {run_id}"
        return f"make it again: {again} (a published run must not change: start a new one)"
    if output and path:
        return f"start a new run: recsys run --output {output}; then delete the folder of run {run_id}"
    return "copy it again, or delete it"
