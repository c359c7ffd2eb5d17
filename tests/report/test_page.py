"""report.html and MODEL_CARD.md say what the run's files say, and nothing of the data becomes markup."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from tests.command import recommendations, run_folder
from tests.report.made import Page, make, report
from tests.support import chains

LIMIT = 2_000_000
BAD = "<script>alert(1)</script> & $x_1$ \x1b[31m \u202e"


@pytest.fixture(scope="module")
def page(built_in: Path) -> tuple[Page, Path]:
    """The report of the run on the built-in data, and the run's folder."""
    folder = run_folder(built_in / "out")
    return Page((folder / "report" / "report.html").read_text(encoding="utf-8")), folder


def test_the_figures_are_those_that_were_measured(page: tuple[Page, Path]) -> None:
    found, folder = page
    metrics = json.loads((folder / "evaluation" / "metrics.json").read_text())
    for k in metrics["protocol"]["ks"]:
        head, *rows = found.tables[f"All methods, lists of {k}"]
        assert [row[0] for row in rows] == list(metrics["methods"])
        for name, *cells in rows:
            method = metrics["methods"][name]
            for metric, cell in zip(head[1:], cells, strict=True):
                mean, _, reach = cell.partition(" ± ")
                assert mean == f"{method['metrics'][metric]:.4f}"
                assert (reach or "0.0000") == f"{1.96 * method['std_errors'].get(metric, 0):.4f}"
    for name, ndcg, recall, f1 in found.tables["blend minus each other method"][1:]:
        for metric, cell in (("ndcg@10", ndcg), ("recall@10", recall), ("f1@10", f1)):
            one = metrics["comparison"]["minus"][name][metric]
            assert cell == f"{one['difference']:+.4f} ({one['low']:+.4f} to {one['high']:+.4f})"
    for feature in ("gender", "age", "occupation", "region"):
        sizes = [int(row[1].replace(",", "")) for row in found.tables[f"Users by {feature}"][1:]]
        assert sum(sizes) == metrics["protocol"]["users"]


def test_ten_users_with_what_they_had_and_get(page: tuple[Page, Path], built_in: Path) -> None:
    found, folder = page
    titles = {row["item_id"]: row["title"] for row in pq.read_table(folder / "features" / "items").to_pylist()}
    lists: dict[str, list[str]] = {}
    for row in recommendations(built_in / "out").to_pylist():
        lists.setdefault(str(row["user_id"]), []).append(titles[row["item_id"]])
    shown = re.findall(r"User (\d+): (\d+) events?\s(.*?)is recommended(.*?)(?=User \d+:|The data and)", found.text, re.DOTALL)
    assert len(shown) == 10
    lengths = [int(events) for _, events, _, _ in shown]
    assert lengths == sorted(lengths) and lengths[0] == 0 and lengths[-1] > 12
    for user, _, _, listed in shown:
        assert [line.strip() for line in listed.splitlines() if line.strip()] == lists[user]


def test_one_small_file_that_loads_nothing(page: tuple[Page, Path]) -> None:
    found, folder = page
    assert (folder / "report" / "report.html").stat().st_size < LIMIT
    assert not [tag for tag, _ in found.tags if tag in ("script", "img", "iframe", "object")]
    for tag, given in found.tags:
        for name in ("href", "src", "xlink:href"):
            assert given.get(name, "#").startswith(("#", "data:")), (tag, given)  # type: ignore[union-attr]
    ids = [given["id"] for _, given in found.tags if "id" in given]
    assert len(ids) == len(set(ids))
    targets = {str(given["href"])[1:] for tag, given in found.tags if tag == "a"}
    assert targets <= set(ids)
    assert "http" not in re.sub(r"<svg.*?</svg>", "", (folder / "report" / "report.html").read_text(), flags=re.DOTALL)


def test_the_card_has_what_model_hubs_read(page: tuple[Page, Path]) -> None:
    _, folder = page
    card = (folder / "report" / "MODEL_CARD.md").read_text(encoding="utf-8")
    _, front, text = card.split("---\n", 2)
    (model,) = yaml.safe_load(front)["model-index"]
    (result,) = model["results"]
    metrics = json.loads((folder / "evaluation" / "metrics.json").read_text())["methods"]["blend"]["metrics"]
    assert {one["type"]: one["value"] for one in result["metrics"]} == pytest.approx(metrics, abs=1e-6)
    assert result["task"]["type"] and result["dataset"]["name"] == result["dataset"]["type"] == "synthetic"
    assert f"| blend | {metrics['precision@10']:.4f}" in text


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    run = make(tmp_path / "out")
    assert report(run) == report(run)


def test_text_of_the_data_stays_text(tmp_path: Path) -> None:
    text = report(make(tmp_path / "out", titles=dict.fromkeys(range(1, 41), BAD)))
    assert "<script" not in text and "\x1b" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; $x_1$" in text
    assert "cnn &lt;b&gt;" in text and "cnn <b>" not in text
    card = Path(tmp_path, "out", "runs", "r", "report", "MODEL_CARD.md").read_text()
    assert "<b>" not in card.split("---\n", 2)[2].replace(r"\<b\>", "")
    assert yaml.safe_load(card.split("---\n", 2)[1])["model-index"][0]["name"] == "recsys r cnn <b>"


def test_items_without_a_title_are_named_by_their_ids_as_in_show(tmp_path: Path) -> None:
    run = make(tmp_path / "out", titles=dict.fromkeys(range(1, 41)))
    found = Page(report(run))
    most, *_ = [row[0] for row in found.tables["Items in the most lists"][1:]]
    assert int(most) in {row["item_id"] for row in pq.read_table(run.path("recommendations")).to_pylist()}
    assert f"\n{most}\n" in found.text and "item 1" not in found.text


def test_without_evaluation_and_lists_it_says_so(tmp_path: Path) -> None:
    found = Page(report(make(tmp_path / "out", evaluated=False, recommended=False)))
    assert "The run was not evaluated" in found.text and "There are no recommendations yet." in found.text
    assert "it was not evaluated" in found.text, "the gate's reason"
    assert "Epochs" in found.tables and not [name for name in found.tables if name.startswith("All methods")]
    card = Path(tmp_path, "out", "runs", "r", "report", "MODEL_CARD.md").read_text()
    assert "model-index" not in yaml.safe_load(card.split("---\n", 2)[1])


def test_a_run_that_held_nothing_out_says_why_nothing_was_measured(tmp_path: Path) -> None:
    found = Page(report(make(tmp_path / "out", test=0, valid=0)))
    assert "Nothing was measured: the split" in found.text
    assert "recommendations" in [row[0] for row in found.tables["Popularity"]]


@pytest.mark.parametrize("cold", [0, 1])
def test_a_single_user_is_enough_for_a_report_but_for_no_claim(tmp_path: Path, cold: int) -> None:
    found = Page(report(make(tmp_path / "out", [[1, 2, 3, 4]], cold_users=cold)))
    assert f"{1 + cold} users" in found.text
    assert "Only 1 user was measured: too few to tell one method from another." in found.text
    assert found.text.count(": too few users to tell.") == 3 and ": ahead." not in found.text
    assert not [tag for tag, given in found.tags if tag == "td" and given.get("class") in ("ahead", "behind")]


def test_a_group_that_is_served_worse_is_named_with_what_else_it_may_come_from(tmp_path: Path) -> None:
    run = make(tmp_path / "out", chains(users=150))
    path = Path(run.path("evaluation", "metrics.json"))
    metrics = json.loads(path.read_text())
    (first, *_) = metrics["methods"].values()
    told = first["user_groups"]["gender"][0]["beside_others"]["ndcg@10"]
    clear = {"difference": -0.2, "low": -0.3, "high": -0.1}
    for significant in (False, True):
        told |= {**clear, "significant": significant}
        path.write_text(json.dumps(metrics))
        text = " ".join(Page(report(run)).text.split())
        card = Path(run.path("report", "MODEL_CARD.md")).read_text()
        assert (", which may also come from how many events these users have." in text) == significant
        assert ("That a group is served worse may also come from how many events" in card) == significant
        assert ("have an NDCG@10 clearly below that of all other users (mean" in text) == significant


@pytest.mark.parametrize("final", [False, True])
def test_it_says_which_events_the_network_has_learned(tmp_path: Path, final: bool) -> None:
    run = make(tmp_path / "out")
    if final:
        with Path(run.path("model", "history.csv")).open("a") as history:
            history.write("final,1,2.5,1.0,\n")
    text = " ".join(Page(report(run)).text.split())
    assert "refit: again, with the validation events." in text and ("final: with all events." in text) == final
    card = Path(run.path("report", "MODEL_CARD.md")).read_text()
    assert ("has learned all events" in card) == final and ("has learned the training part alone" in card) == (not final)


def test_what_is_not_published_yet_is_not_said_to_be(tmp_path: Path) -> None:
    run = make(tmp_path / "out")
    page, card = report(run), Path(run.path("report", "MODEL_CARD.md")).read_text()
    for text in (Page(page).text, card):
        assert "passes the quality gate and would be published." in text
        assert "is published" not in text and "published method" not in text and "published lists" not in text


def test_lists_that_are_all_the_same_are_warned_of(tmp_path: Path) -> None:
    assert "Lists have collapsed: 100% of the users have the very same list." in report(
        make(tmp_path / "same", [[40]] * 30, test=0, valid=0, cold_users=0)
    )
    assert "collapsed" not in report(make(tmp_path / "out", chains()))


def test_rows_set_aside_are_counted(tmp_path: Path) -> None:
    run = make(tmp_path / "out")
    path = Path(run.path("features", "features.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "rejected": {"interactions": {"duplicate": 1234, BAD: 1}}}))
    found = Page(report(run))
    rows = found.tables["Rows set aside"]
    assert rows[1] == ["interactions", "duplicate", "1,234"] and rows[2][1].startswith("<script>")
    assert ["duplicates set aside", "1,234"] in found.tables["Data quality"]


def test_what_is_new_since_the_earlier_run(tmp_path: Path) -> None:
    run = make(tmp_path / "out")
    news = {"events": 4000, "share": 0.05, "new_items": 0.0, "new_users": 31, "shift": 0.2279}
    run.update(
        {"warm_start": {"asked": "latest", "from": "n4", "ancestry": ["n4", "n3"], "learned_forgotten": True, "news": news}}
    )
    lists = run.manifest()["stages"]["recommend"]
    run.record_stage("recommend", {**lists, "changes": {"users": 61, "jaccard": 0.5, "new_items": 0.025, "same_list": 0.1}})
    found = Page(report(run))
    told = dict(found.tables["Beside the earlier run"])
    assert (told["weights come from"], told["refreshed in a row"], told["new events"]) == ("n4", "2 times", "4,000")
    assert (told["users who had no event before"], told["new events, share of all"]) == ("31", "5.0%")
    assert told["items in both of a user's lists (Jaccard)"] == "50.0%"
    assert "events of users who are to be forgotten" in found.text
    run.update({"warm_start": {"asked": "latest", "run_id": None, "since": None, "why_not": "no run is published yet"}})
    told = dict(Page(report(run)).tables["Beside the earlier run"])
    assert told["weights come from"] == "nothing earlier: no run is published yet"
