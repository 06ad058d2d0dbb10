"""The card and the Croissant metadata of a release describe what was published, and hostile names stay text."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import zstandard

from baicai.artefact import read_json
from baicai.data.readers import read_documents
from baicai.wholesale.release.dataset_card import CARD, CROISSANT, card
from baicai.wholesale.release.takedown import TakedownRecipe, take_down
from tests.wholesale.release.test_catalog import KEY, manifest
from tests.wholesale.test_release import Shop, write_pages

HOSTILE = 'a<script>alert(1)</script>"&'


class Page(HTMLParser):
    """Tags and visible text of a page."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    for domain, numbers, licence in (("books", range(20), "CC0-1.0"), ("law", range(20, 25), "MIT")):
        write_pages(tmp_path / domain, numbers)
        shop.gather(tmp_path / domain, licence, domain, f"https://{domain}.example/p")
    return shop


def test_card_counts_published_documents(shop: Shop) -> None:
    shop.publish(description="Texts of books.", homepage="https://corpus.example")
    page = Page((shop.release / CARD).read_text())
    text = re.sub(r"\s+", " ", page.text)
    for part in ("corpus, version 1", "Texts of books.", "books 20", "law 5", "CC0-1.0 20", "MIT 5", "2026 25"):
        assert part in text, part
    assert not page.tags & {"script", "link", "iframe"}


def test_removed_documents_are_not_counted(shop: Shop) -> None:
    shop.publish()
    take_down(TakedownRecipe(warehouse=str(shop.warehouse), host="law.example"))
    shop.publish()
    text = re.sub(r"\s+", " ", Page((shop.release / CARD).read_text()).text)
    assert "books 20" in text
    assert "law 5" not in text
    assert "documents removed so far 5" in text


def test_hostile_names_are_escaped() -> None:
    counts = {name: {HOSTILE: 3} for name in ("domain", "language", "licence", "year")} | {"quality": {"0.9": 3}}
    page = Page(card(manifest(HOSTILE), counts, KEY, HOSTILE, "javascript:alert(1)").decode())
    assert "script" not in page.tags
    assert "a" not in page.tags
    assert page.text.count("alert(1)") == 7


def test_small_counts_are_added_up() -> None:
    counts = {"domain": {f"d{number}": number for number in range(1, 41)}}
    counts |= {name: {} for name in ("language", "licence", "year", "quality")}
    text = re.sub(r"\s+", " ", Page(card(manifest(), counts, KEY, "", "").decode()).text)
    assert "d40 40" in text
    assert "10 others 55" in text


@pytest.mark.filterwarnings("ignore")
def test_croissant_is_valid_and_names_every_shard(shop: Shop) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    published = shop.publish(homepage="https://corpus.example")
    dataset = mlcroissant.Dataset(str(shop.release / CROISSANT))
    assert not dataset.metadata.issues.errors
    metadata = read_json(shop.release / CROISSANT)
    files = {file["contentUrl"]: file["sha256"] for file in metadata["distribution"] if "contentUrl" in file}
    assert set(files.values()) == {shard.file for shard in published.shards}
    assert all((shop.release / path).is_file() for path in files)
    assert set(metadata["license"]) == {"CC0-1.0", "MIT"}


def test_croissant_fields_exist_in_the_documents(shop: Shop) -> None:
    shop.publish()
    (shard, *_) = (shop.release / "shards").glob("*.jsonl.zst")
    with zstandard.open(shard, "rt", encoding="utf-8") as lines:
        document = json.loads(lines.readline())
    (records,) = read_json(shop.release / CROISSANT)["recordSet"]
    assert {field["name"] for field in records["field"]} <= set(document)
    assert next(read_documents(shard)).text == document["text"]
