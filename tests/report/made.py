"""A run made without Spark and TensorFlow, as far as the report reads it; and the tables of a page."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recsys import config, storage
from recsys.contract import schema
from recsys.evaluation.compare import evaluate_run
from recsys.progress import Progress
from recsys.recommend.lists import recommend
from recsys.run import runs
from recsys.run.reporting import write_report
from recsys.run.runs import Run
from tests.support import NextItem, chains, write_features

ITEMS = 40
CURVES = "phase,epoch,loss,seconds,ndcg@10\nfit,1,3.5,1.0,0.25\nfit,2,3.25,1.0,0.125\nrefit,1,3.0,1.0,\n"
BASELINES = ("popularity", "transitions")


def make(
    output: Path,
    histories: list[list[int]] | None = None,
    *,
    evaluated: bool = True,
    recommended: bool = True,
    titles: Mapping[int, str | None] | None = None,
    **features: Any,
) -> Run:
    """A run of the chains of tests.support, trained, and evaluated and with lists if that is asked for."""
    found = config.Config(
        output=str(output), evaluation=config.Evaluation(baselines=BASELINES, bootstrap=50), publish=config.Publish()
    )
    run = runs.create(found, "r")
    place = write_features(run.path("features"), histories or chains(items=ITEMS), ITEMS, **features)
    if titles:
        change_titles(Path(place), titles)
    run.record_stage("features", {"seconds": 1.0, "peak_bytes": 1 << 20, "spark_peak_bytes": 1 << 30})
    run.update({"inputs": [], "rejected": {}, "warnings": []})
    Path(run.path("model")).mkdir()
    Path(run.path("model", "history.csv")).write_text(CURVES)
    storage.mark_success(run.path("model"))
    run.record_stage("train", {"seconds": 12.5, "peak_bytes": 1 << 30, "parameters": 1234, "epochs": 3})
    if evaluated:
        evaluate_run(found, place, run.path("evaluation"), [NextItem()], Progress(quiet=True))
        storage.mark_success(run.path("evaluation"))
        run.record_stage("evaluate", {"seconds": 0.5, "peak_bytes": 1 << 30})
    if recommended:
        facts = recommend(found.recommend, place, run.path("recommendations"), "r", NextItem(), Progress(quiet=True))
        storage.mark_success(run.path("recommendations"))
        run.record_stage("recommend", {"seconds": 0.25, "peak_bytes": 1 << 30, **facts})
    return run


def change_titles(features: Path, titles: Mapping[int, str | None]) -> None:
    """Gives items other titles, by index."""
    path = features / "items" / "part-00000.parquet"
    table = pq.read_table(path)
    column = table.schema.get_field_index(schema.TITLE)
    changed = [titles.get(place + 1, title) for place, title in enumerate(table.column(column).to_pylist())]
    pq.write_table(table.set_column(column, schema.TITLE, pa.array(changed, pa.string())), path)


def report(run: Run) -> str:
    """The page of a run, made anew."""
    write_report(run.config(), run)
    return Path(run.path("report", "report.html")).read_text(encoding="utf-8")


@dataclasses.dataclass
class Page(HTMLParser):
    """The tables of a page by their label, rows of cells as text; all elements; all text but that of styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._label: str | None = None
        self._cell = self._style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        self._style = tag == "style"
        if (found.get("aria-label") or "").startswith("Table: "):
            self._label = str(found["aria-label"]).removeprefix("Table: ")
            self.tables[self._label] = []
        elif tag == "tr" and self._label is not None:
            self.tables[self._label].append([])
        elif tag in ("td", "th") and self._label is not None:
            self.tables[self._label][-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = False
        self._style = False

    def handle_data(self, data: str) -> None:
        if self._cell and self._label is not None:
            self.tables[self._label][-1][-1] += data
        if not self._style:
            self.text += data
