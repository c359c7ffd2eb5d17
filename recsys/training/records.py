"""history.csv: one row per epoch, over all phases of training."""

from __future__ import annotations

import csv
import io
from typing import Any

from recsys import storage
from recsys.contract.model_files import HISTORY

Rows = list[dict[str, Any]]


def write(folder: str, rows: Rows) -> None:
    """Writes all rows; missing values are empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(rows)
    with storage.atomic_output(storage.join(folder, HISTORY)) as stream:
        stream.write(text.getvalue().encode())


def read(folder: str, *phases: str) -> Rows:
    """Reads the rows of some phases back as they were written."""
    with storage.open_input(storage.join(folder, HISTORY)) as stream:
        rows = csv.DictReader(io.StringIO(stream.read().decode()))
        found = [{name: _number(value) for name, value in row.items() if value != ""} for row in rows]
    return [row for row in found if row["phase"] in phases]


def used_xla(rows: Rows, otherwise: bool) -> bool:
    """Whether XLA compiled the steps of the last phase; `otherwise` if a version wrote the rows that did not tell."""
    return rows[-1]["xla"] == "on" if "xla" in rows[-1] else otherwise


def xla_milliseconds(rows: Rows) -> dict[str, float]:
    """What a step took with XLA and without, by "on" and "off"; empty if that was not measured."""
    prefix = "step_ms_xla_"
    return {name.removeprefix(prefix): value for row in rows for name, value in row.items() if name.startswith(prefix)}


def _number(text: str) -> Any:
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        return text
