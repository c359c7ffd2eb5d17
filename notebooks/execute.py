"""Runs the notebook from top to bottom, in an empty folder, and stores it with what it shows: python -m notebooks.execute"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import nbformat
from nbclient import NotebookClient

from recsys import __version__

NOTEBOOK: Final = Path(__file__).with_name("recommendation_system_demo.ipynb")


def execute(folder: str, environment: Mapping[str, str]) -> Any:
    """The notebook as it was run, without what is of this machine or this moment alone.

    Args:
        folder: where it runs.
        environment: of its kernel.

    Raises:
        CellExecutionError: a cell has failed.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=None, kernel_name="python3", record_timing=False, coalesce_streams=True)
    done = client.execute(cwd=folder, env=dict(environment))
    done.metadata["language_info"] = {"name": "python"}
    done.metadata["executed"] = made_of(notebook)
    return done


def made_of(notebook: Any) -> dict[str, str]:
    """What outputs are made of: this version of the package, and the hash of all cells."""
    sources = "\0".join(cell.source for cell in notebook.cells)
    return {"recsys": __version__, "sha256": hashlib.sha256(sources.encode()).hexdigest()}


def main() -> None:
    """Replaces the stored copy."""
    with tempfile.TemporaryDirectory() as folder:
        done = execute(folder, {**os.environ, "PYTHONPATH": str(NOTEBOOK.parent.parent)})
    nbformat.write(done, NOTEBOOK)


if __name__ == "__main__":
    main()
