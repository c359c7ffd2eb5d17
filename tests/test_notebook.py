"""The demonstration: it runs from top to bottom, and the stored copy shows what it shows, made by this version."""

from __future__ import annotations

import re
from typing import Any

import nbformat
import pytest

from notebooks.execute import NOTEBOOK, execute, made_of
from tests.command import environment

BRIEF = {
    "RECSYS__SOURCE__SYNTHETIC__USERS": "150",
    "RECSYS__SOURCE__SYNTHETIC__ITEMS": "120",
    "RECSYS__SOURCE__SYNTHETIC__MEAN_EVENTS": "25",
    "RECSYS__SPARK__MASTER": "local[2]",
    "RECSYS__MODEL__WIDTH": "16",
    "RECSYS__MODEL__DILATIONS": "1,2",
    "RECSYS__TRAINING__EPOCHS": "2",
    "RECSYS__TRAINING__REFIT_EPOCHS": "1",
    "RECSYS__TRAINING__XLA": "off",
    "RECSYS__EVALUATION__BASELINES": "popularity,ease",
    "RECSYS__EVALUATION__BOOTSTRAP": "50",
    "RECSYS__PUBLISH__MUST_BEAT": "",
}
"""The notebook obeys the environment: small data and a small network, no ALS, which would start Spark once more."""
A_PATH = re.compile(r"(?<![\w.])/(bin|data|etc|home|mnt|opt|private|root|srv|tmp|usr|var|work|Users)/")

pytestmark = pytest.mark.slow


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell: Any) -> list[Any]:
    """What a cell shows, in order: text, a table, a picture."""
    return [output.name if output.output_type == "stream" else sorted(output.data) for output in cell.outputs]


@pytest.fixture(scope="module")
def stored() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The notebook, run anew in an empty folder; a cell that fails raises."""
    home = tmp_path_factory.mktemp("notebook")
    return execute(str(home), environment(home, **BRIEF))


def test_it_runs_from_top_to_bottom_and_its_stored_copy_shows_the_same(stored: Any, executed: Any) -> None:
    for old, new in zip(code_cells(stored), code_cells(executed), strict=True):
        assert kinds(old) == kinds(new), f"cell {old.id}: python -m notebooks.execute stores it again"


def test_the_stored_copy_was_made_in_one_go_from_these_cells_by_this_version(stored: Any) -> None:
    cells = code_cells(stored)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert stored.metadata["executed"] == made_of(stored), "python -m notebooks.execute stores it again"


def test_the_stored_copy_is_small_and_tells_nothing_of_a_machine(stored: Any) -> None:
    assert NOTEBOOK.stat().st_size < 1_000_000
    text = "\n".join(line for line in NOTEBOOK.read_text(encoding="utf-8").splitlines() if '"image/png"' not in line)
    assert not A_PATH.search(text)
    assert set(stored.metadata) == {"kernelspec", "language_info", "executed"} and not any(
        cell.metadata for cell in stored.cells
    )


def test_it_tells_of_no_warning_and_no_object_in_memory(executed: Any) -> None:
    for cell in code_cells(executed):
        for output in cell.outputs:
            said = output.get("text") or output.get("data", {}).get("text/plain", "")
            assert output.get("name") != "stderr" and " at 0x" not in said, f"cell {cell.id}: {said}"
