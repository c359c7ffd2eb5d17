"""What an Airflow task returns: with KubernetesPodOperator's do_xcom_push, the content of /airflow/xcom/return.json."""

from __future__ import annotations

import os
from typing import Final

from recsys import storage
from recsys.monitoring.run_figures import Figures

FOLDER: Final = "/airflow/xcom"
FILE: Final = "return.json"


def write(figures: Figures, folder: str = FOLDER) -> None:
    """Writes run id, exit code, output, recommendations and metrics, if there is such a folder.

    Raises:
        RecsysError: the file cannot be written.
    """
    if not os.path.isdir(folder):
        return
    found = {
        "run_id": figures.run_id,
        "exit_code": figures.exit_code,
        "output": figures.output,
        "recommendations": figures.recommendations if figures.succeeded else None,
        "metrics": dict(figures.scores()),
        **figures.counts(),
    }
    storage.write_json(storage.join(folder, FILE), found)
