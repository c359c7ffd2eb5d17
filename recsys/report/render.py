"""Writes report.html and MODEL_CARD.md from what was gathered."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from recsys import storage
from recsys.contract import schema
from recsys.measure.intervals import LEAST_USERS, NORMAL_95
from recsys.redaction import one_line
from recsys.report import about_data, about_methods, about_run, cells, examples, figures, verdict
from recsys.report.gathering import Gathered

_MARKDOWN: Final = re.compile(r"([\\`*_\[\]<>#|~&$])")


def write(found: Gathered, folder: str) -> int:
    """Writes both files, each whole or not at all; nothing if one of them cannot be made.

    Args:
        found: what is shown.
        folder: where they go.

    Returns:
        Bytes of the page.
    """
    shown = _shown(found)
    page = _render("page.html.j2", {**shown, **_drawn(found)}).encode()
    card = _render("card.md.j2", shown).encode()
    for name, content in ((schema.REPORT_FILE, page), (schema.CARD_FILE, card)):
        with storage.atomic_output(storage.join(folder, name)) as stream:
            stream.write(content)
    return len(page)


def _drawn(found: Gathered) -> dict[str, Any]:
    with figures.drawing():
        return {"drawings": {**about_methods.drawings(found), **about_run.drawings(found), **about_data.drawings(found)}}


def _shown(found: Gathered) -> dict[str, Any]:
    """What both templates know."""
    manifest, events = found.manifest, found.events
    training = manifest["stages"].get("train", {})
    return {
        "run_id": manifest["run_id"],
        "created_at": manifest["created_at"],
        "data": cells.words(manifest["config"]["source"]["dataset"]),
        "version": manifest.get("versions", {}).get("recsys", ""),
        "parameters": training.get("parameters"),
        "split": about_run.split(found.info),
        "info": found.info,
        "gate": found.gate,
        "measured": bool(found.methods),
        "first": found.first,
        "metrics": found.methods[found.first]["metrics"] if found.methods else {},
        "protocol": found.metrics.get("protocol", {}),
        "comparison": found.metrics.get("comparison", {}),
        "features": [cells.words(name) for name in about_methods.features(found)],
        "verdict": verdict.judge(found),
        "tables": {**about_methods.tables(found), **about_run.tables(found), **about_data.tables(found)},
        "lists": found.lists,
        "examples": found.examples,
        "latest": examples.LATEST,
        "with_history": int(np.count_nonzero(events.lengths)),
        "phases": {row["phase"] for row in found.curves},
        "reach": NORMAL_95,
        "least_compared": LEAST_USERS,
        "contents": _contents(found),
    }


def _contents(found: Gathered) -> dict[str, str]:
    """Titles of the sections by their anchors."""
    titles = {"verdict": "Verdict", "run": "Run", "methods": "Methods"}
    if found.methods:
        titles |= {"slices": "Slices", "groups": "Groups"}
    titles["lists"] = "Lists"
    if "freshness" in about_run.tables(found):
        titles["freshness"] = "Freshness"
    return titles | {"training": "Training", "examples": "Users", "quality": "Data", "stages": "Stages"}


def _render(template: str, shown: Mapping[str, Any]) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("recsys.report"),
        autoescape=jinja2.select_autoescape(("html.j2",)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "count": cells.count,
        "share": cells.share,
        "day": lambda seconds: about_data.day(seconds // schema.DAY),
        "md": lambda text: _MARKDOWN.sub(r"\\\1", one_line(str(text))),
        "quoted": lambda text: json.dumps(one_line(str(text)), ensure_ascii=False),  # YAML reads JSON
    }
    return environment.get_template(template).render(shown)
