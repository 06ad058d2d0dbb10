"""Gather, publish and pull: from text to a slice on a subscriber's disk, and its updates."""

import dataclasses
import json
import random
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import baicai.wholesale.pull as pulling
import baicai.wholesale.release.publish as publishing
import baicai.wholesale.release.shards as shard_files
from baicai.artefact import read_json
from baicai.data.readers import read_documents
from baicai.errors import ArtefactError, BaicaiError, ConfigError
from baicai.wholesale.gather import GatherRecipe, GatherSourceConfig, gather
from baicai.wholesale.processing.clean import CleanConfig, document_id
from baicai.wholesale.pull import PullRecipe, pull
from baicai.wholesale.release.manifest import MANIFEST, Takedown, open_signing_key, sign_manifest
from baicai.wholesale.release.publish import PublishRecipe, publish, read_release
from baicai.wholesale.release.warehouse import Warehouse

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
WORDS = (
    "river", "stone", "window", "garden", "morning", "letter", "kitchen", "market", "teacher", "winter", "story",
)  # fmt: skip


def text_of(number: int, edit: str = "") -> str:
    draw = random.Random(number)
    sentences = [
        " ".join(["The", *(draw.choice(WORDS) for _ in range(9)), str(draw.randrange(100))]) for _ in range(10)
    ]
    return "\n".join([f"Page {number} of that book. {edit}", *(f"{sentence}." for sentence in sentences)])


def write_pages(folder: Path, numbers: range, edit: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / f"{number:03}.txt").write_text(text_of(number, edit))


class Shop:
    """A publisher with a warehouse and a release, and a subscriber."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.warehouse, self.release, self.out = folder / "warehouse", folder / "release", folder / "out"
        self.hours = 0

    def gather(
        self, path: Path, licence: str = "CC0-1.0", domain: str = "books", url: str = "https://books.example/p"
    ) -> Any:
        source = GatherSourceConfig(path=str(path), base_url=url, clean=CleanConfig(licence=licence, domain=domain))
        return gather(GatherRecipe(sources=[source], workers=1), self.warehouse)

    def publish(self, **changes: Any) -> Any:
        self.hours += 1
        return publish(
            PublishRecipe(warehouse=str(self.warehouse), **changes), self.release, NOW + timedelta(hours=self.hours)
        )

    def pull(self, conditions: str = "", **changes: Any) -> Any:
        now = NOW + timedelta(hours=self.hours)
        return pull(PullRecipe(source=str(self.release), slice=conditions, **changes), self.out, now)

    def texts(self) -> dict[str, str]:
        rows: dict[str, str] = {}
        for file in (self.out / "documents").glob("*.jsonl.zst"):
            rows |= {document.id: document.text for document in read_documents(file)}
        return rows


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def address(number: int) -> str:
    return document_id(f"https://books.example/p/{number:03}.txt")


def test_gathered_documents_can_be_pulled(shop: Shop) -> None:
    write_pages(shop.folder / "books", range(60))
    assert shop.gather(shop.folder / "books") == {"documents": 60}
    assert shop.gather(shop.folder / "books") == {"documents": 60}, "gathering twice adds nothing"
    manifest = shop.publish()
    assert (manifest.version, sum(shard.documents for shard in manifest.shards)) == (1, 60)
    assert {(shard.domain, shard.language, shard.licence_class) for shard in manifest.shards} == {
        ("books", "en", "open")
    }
    pulled = shop.pull()
    assert (pulled.version, pulled.documents) == (1, 60)
    assert shop.texts() == {address(number): text_of(number).strip() for number in range(60)}
    assert shop.pull().fetched_bytes < 5000, "only the manifest is fetched again"


def test_an_update_fetches_only_new_documents(shop: Shop) -> None:
    write_pages(shop.folder / "books", range(300))
    shop.gather(shop.folder / "books")
    shop.publish()
    full_pull_bytes = shop.pull().fetched_bytes
    write_pages(shop.folder / "more", range(300, 303))
    write_pages(shop.folder / "changed", range(10, 12), edit="It was changed today, you see.")
    shop.gather(shop.folder / "more")
    shop.gather(shop.folder / "changed")
    manifest = shop.publish()
    assert manifest.previous
    pulled = shop.pull()
    assert (pulled.version, pulled.documents) == (2, 303)
    assert pulled.fetched_bytes < full_pull_bytes / 4
    expected = {address(number): text_of(number) for number in range(303)}
    expected |= {address(number): text_of(number, "It was changed today, you see.") for number in range(10, 12)}
    assert shop.texts() == {document: text.strip() for document, text in expected.items()}


def test_a_takedown_removes_documents_everywhere(shop: Shop) -> None:
    write_pages(shop.folder / "books", range(40))
    shop.gather(shop.folder / "books")
    shop.publish()
    shop.pull()
    removed = [address(number) for number in (3, 17)]
    deadline = (NOW + timedelta(days=7)).isoformat()
    request = Takedown(
        documents=removed, reason="requested by the author", requested=NOW.isoformat(), deadline=deadline
    )
    Warehouse(shop.warehouse).add_takedown(request)
    shop.publish()
    pulled = shop.pull()
    assert (pulled.documents, pulled.purged) == (38, 2)
    assert not set(removed) & set(shop.texts())
    proof = [json.loads(line) for line in (shop.out / "purges.jsonl").read_text().splitlines()]
    assert [line["takedown"]["documents"] for line in proof] == [removed]
    assert not any(text_of(3)[:30].encode() in file.read_bytes() for file in shop.release.rglob("*") if file.is_file())
    assert shop.pull().purged == 0, "each takedown is proven once"


def test_versions_can_be_skipped(shop: Shop) -> None:
    write_pages(shop.folder / "books", range(50))
    shop.gather(shop.folder / "books")
    shop.publish()
    full_pull_bytes = shop.pull().fetched_bytes
    for number in (5, 6, 7):
        request = Takedown(documents=[address(number)], reason="", requested=NOW.isoformat(), deadline=NOW.isoformat())
        Warehouse(shop.warehouse).add_takedown(request)
        shop.publish()
    pulled = shop.pull()
    assert (pulled.version, pulled.documents) == (4, 47)
    assert pulled.fetched_bytes < full_pull_bytes
    assert not {address(number) for number in (5, 6, 7)} & set(shop.texts())


def test_only_the_contents_of_the_newest_release_are_kept(shop: Shop) -> None:
    write_pages(shop.folder / "books", range(20))
    shop.gather(shop.folder / "books")
    versions = [shop.publish() for _ in range(3)]
    files = sorted(path.name for path in (shop.warehouse / "releases").iterdir())
    assert files == [f"{versions[-1].hash}.parquet"]
    shutil.rmtree(shop.warehouse / "releases")
    assert shop.publish().shards == versions[-1].shards, "a lost file is rebuilt"


def test_a_takedown_decompresses_only_the_affected_frames(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_files, "FRAME_BYTES", 8000)
    write_pages(shop.folder / "books", range(60))
    shop.gather(shop.folder / "books")
    shop.publish()
    shop.pull()
    decompressed: list[str] = []
    for module in (publishing, pulling):

        def read(block: bytes, frame: shard_files.Frame, where: str, original: Any = shard_files.read_frame) -> Any:
            decompressed.append(frame.root)
            return original(block, frame, where)

        monkeypatch.setattr(module, "read_frame", read)
    monkeypatch.setattr(
        pulling, "decompress", lambda *args: decompressed.append("local") or shard_files.decompress(*args)
    )
    for number in (3, 17):
        request = Takedown(documents=[address(number)], reason="", requested=NOW.isoformat(), deadline=NOW.isoformat())
        Warehouse(shop.warehouse).add_takedown(request)
        shop.publish()
        assert shop.pull().purged == 1
    assert len(decompressed) == 4, "one per publication and one per pull"
    assert set(shop.texts()) == {address(number) for number in range(60) if number not in (3, 17)}
    seen = [file.read_bytes() for file in (shop.out / "seen").iterdir()]
    assert sorted(map(len, seen)) == [58 * 16, 59 * 16, 60 * 16]


def test_the_duplicate_with_the_best_licence_is_published(shop: Shop) -> None:
    write_pages(shop.folder / "books", range(5))
    shop.gather(shop.folder / "books", licence="CC-BY-NC-4.0", url="https://first.example")
    shop.gather(shop.folder / "books", licence="unknown", url="https://second.example")
    shop.gather(shop.folder / "books", licence="CC-BY-4.0", url="https://third.example")
    manifest = shop.publish()
    assert {(shard.licence, shard.documents) for shard in manifest.shards} == {("CC-BY-4.0", 5)}
    assert sum(shard.documents for shard in shop.publish(keep_duplicates=True).shards) == 15


def test_a_slice_meets_its_conditions(shop: Shop) -> None:
    write_pages(shop.folder / "books", range(30))
    shop.gather(shop.folder / "books")
    german = shop.folder / "law"
    german.mkdir()
    for number in range(10):
        words = " ".join(
            f"Absatz {number * 13 + line} gilt für jeden, der die Sache {line * number} besitzt." for line in range(12)
        )
        (german / f"{number}.txt").write_text(f"Gesetz Nummer {number}.\n{words}")
    shop.gather(german, licence="CC-BY-NC-4.0", domain="law", url="https://law.example")
    shop.publish()
    assert shop.pull("domain=law language=de licence=restricted").documents == 10
    for number, (conditions, count) in enumerate(
        (("licence=open", 30), ("language=de,en year>=1971", 40), ("domain!=law words<5", 0), ("host=law.example", 10))
    ):
        shop.out = shop.folder / f"out-{number}"
        assert shop.pull(conditions).documents == count, conditions


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ("language~de", r"'language~de' is not a condition such as"),
        ("colour=red", r"unknown field 'colour': use one of domain"),
        ("domain>a", r"domain is a label, which takes only = and !="),
        ("quality=good", r"'good' is not a number"),
        ("quality=0.5", r"quality is a number, which takes only >, >=, <, <="),
    ],
)
def test_an_invalid_slice_is_an_error(shop: Shop, conditions: str, message: str) -> None:
    write_pages(shop.folder / "books", range(2))
    shop.gather(shop.folder / "books")
    shop.publish()
    with pytest.raises(ConfigError, match=message):
        shop.pull(conditions)


@pytest.fixture
def published(shop: Shop) -> Shop:
    write_pages(shop.folder / "books", range(40))
    shop.gather(shop.folder / "books")
    shop.publish()
    return shop


def forge(shop: Shop, **changes: Any) -> None:
    """Sign a changed manifest with the publisher's key."""
    from baicai.artefact import home_folder

    manifest = dataclasses.replace(read_release(shop.release), **changes)
    (shop.release / MANIFEST).write_bytes(sign_manifest(manifest, open_signing_key(home_folder() / "release.key")))


class TestRejected:
    def test_older(self, published: Shop) -> None:
        old = (published.release / MANIFEST).read_bytes()
        published.publish()
        published.pull()
        (published.release / MANIFEST).write_bytes(old)
        with pytest.raises(ArtefactError, match="is version 1, but version 2 was pulled before: it was rolled back"):
            published.pull()

    def test_expired(self, published: Shop) -> None:
        published.hours = 24 * 91
        with pytest.raises(ArtefactError, match=r"expired on .*: it may hide later takedowns"):
            published.pull()

    def test_swapped(self, published: Shop) -> None:
        published.pull()
        forge(published, created=NOW.isoformat())
        with pytest.raises(ArtefactError, match="is not the version 1 pulled before"):
            published.pull()
        forge(published, version=2)
        with pytest.raises(ArtefactError, match="does not follow version 1 pulled before"):
            published.pull()

    def test_another_key(self, published: Shop, tmp_path: Path) -> None:
        published.pull()
        manifest = read_release(published.release)
        (published.release / MANIFEST).write_bytes(sign_manifest(manifest, open_signing_key(tmp_path / "other.pem")))
        with pytest.raises(ArtefactError, match=r"is signed by key .*, but the trusted key is"):
            published.pull()

    @pytest.mark.parametrize(
        "content", [b"", b"[]", b"{}", b'{"manifest": {}, "key": "00", "signature": ""}', b"\xff" * 100]
    )
    def test_not_a_manifest(self, published: Shop, content: bytes) -> None:
        (published.release / MANIFEST).write_bytes(content)
        with pytest.raises(ArtefactError, match="is not a manifest"):
            published.pull()

    def test_changed_after_it_was_signed(self, published: Shop) -> None:
        path = published.release / MANIFEST
        path.write_bytes(path.read_bytes().replace(b'"version":1', b'"version":7'))
        with pytest.raises(ArtefactError, match="was changed after it was signed"):
            published.pull()

    @pytest.mark.parametrize("name", ["*.jsonl.zst", "*[!t]"])
    @pytest.mark.parametrize("damage", ["cut", "changed", "missing"])
    def test_damaged_shards(self, published: Shop, name: str, damage: str) -> None:
        for path in (published.release / "shards").glob(name):
            content = path.read_bytes()
            middle = len(content) // 2
            if damage == "missing":
                path.unlink()
            else:
                other = bytes([content[middle] ^ 1])
                path.write_bytes(
                    content[:middle] if damage == "cut" else content[:middle] + other + content[middle + 1 :]
                )
        with pytest.raises(BaicaiError) as error:
            published.pull()
        assert "\n" not in str(error.value)
        assert not (published.out / "subscription.json").exists()
        assert not list((published.out / "documents").glob("*")), "unverified data is not kept"


def test_an_interrupted_pull_resumes(published: Shop) -> None:
    write_pages(published.folder / "other", range(100, 140))
    published.gather(published.folder / "other", domain="other", url="https://other.example")
    manifest = published.publish()
    assert len(manifest.shards) >= 2
    last = published.release / "shards" / f"{manifest.shards[-1].file}.jsonl.zst"
    content = last.read_bytes()
    last.unlink()
    with pytest.raises(BaicaiError, match="does not exist: pull again"):
        published.pull()
    last.write_bytes(content)
    resumed_bytes = published.pull().fetched_bytes
    shutil.rmtree(published.out)
    assert resumed_bytes < published.pull().fetched_bytes
    assert read_json(published.out / "subscription.json")["documents"] == 80
