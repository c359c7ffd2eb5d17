"""Night by night: what each strategy's lists are worth, a panel for each data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib.pyplot as plt
import pandas as pd

STYLES: Final = {
    "full": ("#444444", "-"),
    "warm start": ("#0072b2", "-"),
    "window": ("#009e73", "-"),
    "fold-in": ("#e69f00", "-"),
    "nothing": ("#999999", "--"),
}
"""Colour and line of each strategy; the colours can be told apart by the colour-blind (Okabe and Ito)."""


def draw(found: Mapping[str, Mapping[str, list[dict[str, Any]]]], metric: str, path: Path) -> None:
    """Writes a picture, as its ending says.

    Args:
        found: the nights of each strategy, by data set.
        metric: which of their figures; the mean over seeds is drawn.
        path: of the picture.
    """
    with plt.rc_context({"svg.hashsalt": metric, "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure, panels = plt.subplots(
            1, len(found), figsize=(max(4.8, 3.2 * len(found)), 3.0), squeeze=False, layout="constrained"
        )
        for panel, (case, played) in zip(panels[0], found.items(), strict=True):
            for strategy, nights in played.items():
                mean = pd.DataFrame(nights).groupby("night")[metric].mean()
                colour, line = STYLES[strategy]
                panel.plot(mean.index, mean, line, color=colour, label=strategy, marker="o", markersize=3)
            panel.set(title=case, xlabel="night", ylim=(0, None), xticks=mean.index)
        panels[0][0].set_ylabel(metric.upper())
        lines = dict(zip(*reversed(panels[0][0].get_legend_handles_labels()), strict=True))
        figure.legend(
            lines.values(), lines.keys(), loc="outside lower center", ncols=min(len(lines), 3 * len(found)), frameon=False
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
        plt.close(figure)
