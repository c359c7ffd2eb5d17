"""A figure as an element of the page."""

from __future__ import annotations

import html
import re

from recsys.report import charts, figures
from recsys.report.charts import Panel, Points


def test_what_the_data_say_stands_in_a_figure_as_it_is() -> None:
    label = f'{figures.INK} id="a" url(#b) <c>'
    with figures.drawing():
        svg = charts.points("name", "what", [label], [Panel("", [Points("", [0.5], [0.4], [0.6])])]).svg
    assert label in [html.unescape(text) for text in re.findall(r">([^<]*)</text>", svg)]
    tags = "".join(re.findall(r"<[^>]*>", svg))
    assert figures.INK not in tags and "var(--ink)" in tags
    assert all(one.startswith("name-") for one in re.findall(r'\bid="([^"]*)"', tags))
