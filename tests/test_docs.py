"""README and docs/: every link leads somewhere, and the marked commands run as they stand and show what the pages show.

A block of commands is run if the line before it is `<!-- run -->`. A block without a language right after it is output: each of
its lines must be printed, in this order; `…` stands for anything, and decimals may differ from machine to machine.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import ROOT, environment

PAGES = {
    page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8")
    for page in (ROOT / "README.md", *ROOT.glob("docs/*.md"))
}
FIRST = "docs/first-hour.md"
"""Makes the folder that the commands of all other pages are run in."""
FENCED = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)
MARKED = re.compile(r"^<!-- run -->\n```(bash|python)\n(.*?)^```\n(?:\n```\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
SHELL = {"bash": ["bash", "-o", "pipefail", "-ec"], "python": [sys.executable, "-c"]}


def anchors(text: str) -> set[str]:
    """The names of a page's headings, as GitHub makes them: small, without punctuation, repeated ones with a number."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", FENCED.sub("", text), re.MULTILINE):
        words = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-")
        number = sum(1 for other in found if re.fullmatch(rf"{re.escape(name)}(-\d+)?", other))
        found.add(f"{name}-{number}" if number else name)
    return found


def links(text: str) -> list[str]:
    """What a page links to or shows, but for other sites."""
    found = re.findall(r"\]\(([^()\s]+)\)", re.sub(r"`[^`\n]*`", "", FENCED.sub("", text)))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    for link in links(PAGES[name]):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name}: {link}"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{name}: {link}"


def test_readme_leads_to_every_page() -> None:
    assert {name for name in PAGES if name.startswith("docs/")} <= {
        link.partition("#")[0] for link in links(PAGES["README.md"])
    }


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which somebody has followed the first hour."""
    folder = tmp_path_factory.mktemp("shop")
    follow(FIRST, folder)
    return folder


@pytest.mark.slow
def test_the_first_hour_ends_with_the_second_night(shop: Path) -> None:
    latest = json.loads((shop / "out" / "latest.json").read_text(encoding="utf-8"))
    assert (latest["run_id"], latest["replaced"]) == ("june-01", "may")
    facts = json.loads((shop / "out" / latest["run"]).read_text(encoding="utf-8"))
    assert facts["warm_start"]["ancestry"] == ["may"]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(name for name in PAGES if name != FIRST and MARKED.search(PAGES[name])))
def test_marked_commands_run(name: str, shop: Path) -> None:
    follow(name, shop)


def follow(name: str, folder: Path) -> None:
    """Runs the marked blocks of a page, one after the other, as a user would in this folder."""
    blocks = MARKED.findall(PAGES[name])
    assert len(blocks) == PAGES[name].count("<!-- run -->"), f"{name}: a mark without a block"
    programs = folder.parent / "programs"
    programs.mkdir(exist_ok=True)
    (programs / "recsys").write_text(f'#!/bin/sh\nexec {sys.executable} -m recsys.cli "$@"\n', encoding="utf-8")
    (programs / "recsys").chmod(0o755)
    path = os.pathsep.join((str(programs), str(Path(sys.executable).parent), os.environ["PATH"]))
    for language, commands, shown in blocks:
        done = subprocess.run(
            [*SHELL[language], commands],
            cwd=folder,
            env=environment(folder.parent, PATH=path, COLUMNS="110"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{name}: {commands}\n{done.stdout}"
        printed = iter(done.stdout.splitlines())
        for line in (line.strip() for line in shown.splitlines() if line.strip() not in ("", "…")):
            assert any(pattern(line).fullmatch(" ".join(other.split())) for other in printed), f"{name}: {line}\n{done.stdout}"


def pattern(line: str) -> re.Pattern[str]:
    """What a line of a page stands for, whatever the widths of its columns."""
    parts = re.split(r"(…|[+-]?\d+\.\d+\*?)", " ".join(line.split()))
    return re.compile(
        "".join(re.escape(part) if n % 2 == 0 else ".*" if part == "…" else r"[+-]?\d+\.\d+\*?" for n, part in enumerate(parts))
    )
