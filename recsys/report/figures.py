"""Figures as inline SVG: drawn by matplotlib without a window, the same bytes every time, in the colours of the page.

matplotlib writes colours as numbers. Each colour here is a sign that stands for a CSS variable of the page (page.css), so that
a figure follows the light or dark scheme, and print.
"""

from __future__ import annotations

import contextlib
import dataclasses
import html
import io
import os
import re
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from recsys import storage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK: Final = "#010203"
MUTED: Final = "#010204"
GRID: Final = "#010205"
PAGE: Final = "#010206"
FIRST: Final = "#010207"
SECOND: Final = "#010208"
THIRD: Final = "#010209"
_VARIABLES: Final = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    PAGE: "page",
    FIRST: "first",
    SECOND: "second",
    THIRD: "third",
}
_FOLDER: Final = "MPLCONFIGDIR"
POINTS_PER_INCH: Final = 72
WIDE: Final = 11.6
"""Width in inches of a figure as wide as the page."""
HALF: Final = 5.7
"""Width of one that has another beside it."""
_STYLE: Final[Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "recsys",
    "text.parse_math": False,
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # where nothing is in its way, looking for what is would take a fifth of the time
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
}


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A figure of the page.

    Attributes:
        svg: the element.
        width: in CSS pixels at full size.
        label: what it shows, in a sentence.
    """

    svg: str
    width: int
    label: str


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """In the block matplotlib draws in the page's style, and keeps its font cache in the job's temporary folder.

    A home folder may be read-only, or not there.
    """
    with contextlib.ExitStack() as stack:
        if _FOLDER not in os.environ:
            os.environ[_FOLDER] = stack.enter_context(storage.scratch("matplotlib"))
            stack.callback(os.environ.pop, _FOLDER)
        import matplotlib

        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the browser has more scripts than matplotlib's font
        stack.enter_context(matplotlib.rc_context(_STYLE))
        yield


def blank(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), facecolor="none")


def render(figure: Figure, name: str, label: str) -> Drawing:
    """The figure as an element of the page.

    Args:
        figure: what was drawn.
        name: distinguishes its ids from those of the other figures of the page.
        label: what it shows, for those who do not see it.
    """
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"<[^>]*>", lambda tag: _of_page(tag[0], name), text)
    width, height = (round(inches * POINTS_PER_INCH, 2) for inches in figure.get_size_inches())
    head = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-labelledby="{name}-title"><title id="{name}-title">'
    body = text[text.index(">") + 1 :].strip()
    return Drawing(f"{head}{html.escape(label)}</title>{body}", round(width * 96 / POINTS_PER_INCH), label)


def _of_page(tag: str, name: str) -> str:
    """A tag with the figure's own ids, and the page's font and colours; text between tags may come from the data and stays."""
    tag = re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\1{name}-", tag)
    tag = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", tag)
    for colour, variable in _VARIABLES.items():
        tag = tag.replace(colour, f"var(--{variable})")
    return tag
