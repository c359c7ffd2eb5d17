"""Takes a picture of the first screen of a report, such as README has: python -m tests.report.picture REPORT PNG."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
"""A browser, if there is one; playwright's own is not downloaded."""
SIZE = (1180, 1340)
COLOURS = 64
"""Enough for a page, and a fifth of the bytes."""


def take(report: Path, target: Path) -> None:
    """Writes a PNG."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        page.goto(report.resolve().as_uri())
        image = Image.open(io.BytesIO(page.screenshot()))
        browser.close()
    image.quantize(COLOURS).save(target, optimize=True)


if __name__ == "__main__":
    take(Path(sys.argv[1]), Path(sys.argv[2]))
