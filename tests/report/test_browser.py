"""The report in a browser: accessible in light and dark, no wider than a phone, loading nothing, usable by keyboard, on paper.

Debian's chromium is enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, sync_playwright

from tests.command import run_folder
from tests.report.picture import CHROMIUM

RULES = {"runOnly": ["wcag2a", "wcag2aa"]}
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM)
        yield found
        found.close()


def opened(browser: Any, built_in: Path, **options: Any) -> tuple[Page, list[str]]:
    """The report of the built-in data, and what it has said on the console or asked the network for."""
    page, said = browser.new_page(**options), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(("file:", "data:")) else said.append(request.url))
    page.goto((run_folder(built_in / "out") / "report" / "report.html").resolve().as_uri())
    return page, said


@pytest.mark.parametrize(("scheme", "size"), [("light", WIDE), ("dark", PHONE)], ids=["light and wide", "dark and narrow"])
def test_it_is_accessible_fits_and_loads_nothing(browser: Any, built_in: Path, scheme: Any, size: Any) -> None:
    page, said = opened(browser, built_in, color_scheme=scheme, viewport=size)
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    assert (page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)") == (scheme == "light")
    found = Axe().run(page, options=RULES).response
    assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []
    assert {"color-contrast", "scrollable-region-focusable", "svg-img-alt"} <= {one["id"] for one in found["passes"]}
    assert said == []
    page.close()


def test_text_in_figures_has_contrast_in_both_schemes(browser: Any, built_in: Path) -> None:
    """axe does not look at the text of an SVG. WCAG: at least 4.5 to 1 beside the page."""
    for scheme in ("light", "dark"):
        page, _ = opened(browser, built_in, color_scheme=scheme)
        ratios = page.evaluate(
            """() => {
              const light = text => { const c = text.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
                .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                return 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2] };
              const page = light(getComputedStyle(document.body).backgroundColor);
              return [...document.querySelectorAll("svg text")].filter(one => !one.style.fill.includes("--page"))
                .map(one => light(getComputedStyle(one).fill))
                .map(v => (Math.max(v, page) + 0.05) / (Math.min(v, page) + 0.05));
            }"""
        )
        assert len(ratios) > 100 and min(ratios) >= 4.5
        page.close()


def test_no_label_of_a_figure_is_cut_off(browser: Any, built_in: Path) -> None:
    page, _ = opened(browser, built_in, viewport=WIDE)
    cut = page.evaluate(
        """() => [...document.querySelectorAll("svg")].flatMap(svg => {
          const frame = svg.getBoundingClientRect();
          return [...svg.querySelectorAll("text")].filter(text => { const box = text.getBoundingClientRect();
            return box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1
              || box.bottom > frame.bottom + 1 }).map(text => text.textContent) })"""
    )
    assert cut == []
    page.close()


def test_the_keyboard_reaches_the_content_and_all_that_scrolls(browser: Any, built_in: Path) -> None:
    page, _ = opened(browser, built_in, viewport=PHONE)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.wait_for_url("**#main")
    unreachable = page.evaluate(
        """() => [...document.querySelectorAll("main *")].filter(one => one.scrollWidth > one.clientWidth
          && getComputedStyle(one).overflowX === "auto"
          && !(one.tabIndex === 0 && one.ariaLabel && one.role === "region")).length"""
    )
    assert unreachable == 0
    page.close()


def test_on_paper_everything_stands_in_dark_ink(browser: Any, built_in: Path) -> None:
    page, _ = opened(browser, built_in, color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert not page.locator(".contents").is_visible()
    assert page.locator("details table").first.evaluate("one => one.checkVisibility({contentVisibilityAuto: true})")
    page.close()
