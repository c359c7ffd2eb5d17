"""A user's own events, as a configuration file describes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys import config, settings
from recsys.errors import DataError
from recsys.sources import open_source

FILE = """
[source]
dataset = "tabular"
timestamp_unit = "ms"
[source.interactions]
path = "events/*.csv"
user_id = "user"
item_id = "product"
timestamp = "time"
[source.items]
path = "products.csv"
item_id = "product"
[source.items.features.brand]
kind = "categorical"
"""


def test_tables_come_as_configured_and_are_checked(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "a.csv").write_text("user,product,time\n1,2,3\n")
    (tmp_path / "products.csv").write_text("product,brand\n2,x\n")
    (tmp_path / "shop.toml").write_text(FILE)
    loaded = settings.load(str(tmp_path / "shop.toml"), {}, [])
    found = open_source(loaded, str(tmp_path), lambda line: None)
    assert found.id_type == "auto" and found.timestamp_unit == "ms" and found.users is None
    assert [(entry["table"], Path(entry["path"]).name) for entry in found.inputs] == [
        ("interactions", "a.csv"),
        ("items", "products.csv"),
    ]
    (tmp_path / "products.csv").write_text("product;brand\n2;x\n")
    with pytest.raises(DataError, match=r"products\.csv.*delimiter ',' is probably wrong"):
        open_source(loaded, str(tmp_path), lambda line: None)


@pytest.mark.data
def test_another_domain_with_other_names(data_dir: Path, tmp_path: Path) -> None:
    source = config.Source(
        "tabular",
        interactions=config.Table(
            str(data_dir / "amazon/interactions.csv.gz"), user_id="user", item_id="product", rating="stars", timestamp="time"
        ),
    )
    found = open_source(config.Config(source=source), str(tmp_path), lambda line: None)
    assert found.inputs[0]["bytes"] > 1000
