"""Tests of assigning domains to unlabelled documents, up to what subscribers receive."""

import itertools
import json
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import zstandard

from baicai.artefact import read_json
from baicai.cli.arguments import read_arguments
from baicai.data.readers import read_documents
from baicai.errors import ArtefactError, BaicaiError, MachineError
from baicai.wholesale.domains.assign import UNLABELLED, DomainsRecipe, assign_domains, classify
from baicai.wholesale.domains.classifier import (
    MAX_CHARACTERS,
    open_domain_model,
    terms_of,
    train_on_clusters,
    train_on_labels,
)
from baicai.wholesale.release.takedown import TakedownRecipe, take_down
from baicai.wholesale.release.warehouse import Warehouse
from tests.cli.conftest import Command, command  # noqa: F401  (a fixture)
from tests.references import domains as reference
from tests.wholesale.test_release import Shop

CORPUS = Path(__file__).parents[4] / "shared" / "corpus"
WORDS = {
    "law": "court judge statute appeal plaintiff contract liability clause verdict tort tribunal counsel",
    "cook": "butter flour onion garlic simmer oven whisk dough parsley skillet broth vinegar",
    "sea": "anchor sail harbour tide captain rudder reef mast lagoon voyage keel compass",
}
SHARED = ["the", "of", "and", "with", "that", "which", "from", "this", "into", "over", "under", "very"]
CONFIDENT = 0.9


def text_of(kind: str, number: int) -> str:
    rng, words = random.Random(f"{kind} {number}"), WORDS[kind].split()
    return ".\n".join(
        f"Number {number} says " + " ".join(rng.choice(rng.choice((words, SHARED))) for _ in range(12))
        for _ in range(8)
    )


def write(folder: Path, kind: str, numbers: range) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / f"{kind}-{number}.txt").write_text(text_of(kind, number))
    return folder


def gather(shop: Shop, kind: str, numbers: range, domain: str) -> None:
    folder = write(shop.folder / f"{kind}-{domain}-{numbers}", kind, numbers)
    shop.gather(folder, domain=domain, url=f"https://{domain}.example/{kind}")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Labelled documents on law and cooking; unlabelled ones on both and on seafaring."""
    shop = Shop(tmp_path)
    for kind in ("law", "cook"):
        gather(shop, kind, range(40), kind)
    for kind in WORDS:
        gather(shop, kind, range(100, 112), UNLABELLED)
    return shop


def assign(shop: Shop, **changes: Any) -> dict[str, Any]:
    return assign_domains(DomainsRecipe(warehouse=str(shop.warehouse), workers=1, **changes))


def modification_times(shop: Shop) -> dict[str, int]:
    paths = [*(shop.warehouse / "domains").rglob("*"), shop.warehouse / "domains.json"]
    return {str(path): path.stat().st_mtime_ns for path in paths if path.is_file()}


def rows(shop: Shop, model: str) -> list[dict[str, Any]]:
    files = sorted(Warehouse(shop.warehouse).domain_model_folder(model).glob("batches/*/domains.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def test_documents_get_the_domain_of_similar_ones(shop: Shop) -> None:
    report = assign(shop)
    assert report["given"] == {"cook": 12, "law": 12, UNLABELLED: 12}, "documents unlike any domain keep none"
    assert (report["version"], report["learnt_from"], report["held_out"], report["accuracy"]) == (1, 64, 16, 1)
    assert report["precision"] == report["recall"] == {"cook": 1, "law": 1}
    classified = rows(shop, report["model"])
    assert all((row["score"] >= CONFIDENT) == (row["domain"] != UNLABELLED) for row in classified)
    assert len({row["id"] for row in classified}) == 36


def test_classified_batches_are_skipped(shop: Shop) -> None:
    first = assign(shop)
    before = modification_times(shop)
    assert assign(shop) == assign(shop, retrain=True) == first, "the same documents give the same model"
    assert modification_times(shop) == before
    gather(shop, "law", range(200, 205), UNLABELLED)
    report = assign(shop)
    assert (report["model"], report["given"]["law"]) == (first["model"], 17)
    assert {path: when for path, when in modification_times(shop).items() if path in before} == before
    gather(shop, "sea", range(40), "sea")
    report = assign(shop)
    assert (report["version"], report["given"][UNLABELLED]) == (1, 12), "new domains need retrain=true"
    report = assign(shop, retrain=True)
    assert (report["version"], report["given"]) == (2, {"cook": 12, "law": 17, "sea": 12})
    assert assign(shop)["version"] == 2, "the newest model of these settings is used"


def test_earlier_model_becomes_current_again(shop: Shop) -> None:
    named, clustered = assign(shop), assign(shop, clusters=3)
    assert (named["version"], clustered["version"]) == (1, 2)
    assert read_json(shop.warehouse / "domains.json") == {"model": clustered["model"]}
    before = modification_times(shop)
    assert assign(shop) == named
    assert read_json(shop.warehouse / "domains.json") == {"model": named["model"]}
    changed = {path for path, when in modification_times(shop).items() if before.get(path) != when}
    assert changed == {str(shop.warehouse / "domains.json")}


def test_clusters_are_named_after_their_terms(shop: Shop) -> None:
    report = assign(shop, clusters=3)
    assert sorted(report["sizes"].values()) == [12, 12, 12]
    assert report["given"] == report["sizes"]
    names = [set(name.split("-")) for name in report["sizes"]]
    kinds = {next(kind for kind in WORDS if name <= set(WORDS[kind].split())) for name in names}
    assert kinds == set(WORDS)


def test_saved_model_matches_the_reference_and_scikit_learn(tmp_path: Path) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    names = [kind for kind in WORDS for _ in range(20)]
    texts = [text_of(kind, number % 20) for number, kind in enumerate(names)]
    queries = [
        text_of("law", 50) + text_of("cook", 50),
        "",
        "nothing 床前 known",
        *texts[:3],
        text_of("sea", 9).upper(),
    ]
    for count in (2, 3):
        model = train_on_labels(texts[: 20 * count], names[: 20 * count], {"version": 0})
        folder = tmp_path / model.hash
        model.save(folder, 1, "2026-01-01T00:00:00+00:00", {})
        scores = model.scores(queries)
        assert (open_domain_model(folder).scores(queries) == scores).all()
        assert scores == pytest.approx(np.array([reference.scores(folder, text) for text in queries]), abs=1e-5)
        vectorizer = TfidfVectorizer(token_pattern=r"(?u)\b[^\W\d]\w+\b", sublinear_tf=True, min_df=3)
        theirs = make_pipeline(vectorizer, LogisticRegression(C=10, max_iter=1000))
        theirs.fit(texts[: 20 * count], names[: 20 * count])
        assert model.domains == theirs.classes_.tolist()
        assert scores == pytest.approx(theirs.predict_proba(queries), abs=1e-3)


@pytest.mark.parametrize("name", ["terms.json", "model.safetensors", "card.json"])
def test_modified_model_is_rejected(shop: Shop, name: str) -> None:
    report = assign(shop, clusters=2)
    warehouse = Warehouse(shop.warehouse)
    folder = warehouse.domain_model_folder(report["model"])
    other = warehouse.domain_model_folder(assign(shop, clusters=3)["model"])
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(
        content.replace(b"anchor", b"banker") if name == "terms.json" else (other / name).read_bytes()
    )
    with pytest.raises(ArtefactError, match="does not match its hash: remove it and run baicai data domains again"):
        classify(warehouse.documents_folder(warehouse.gathered_files()[0].task), folder, shop.folder / "a")


def lines(shop: Shop) -> dict[str, dict[str, Any]]:
    """Return the documents of a subscriber, by id."""
    received: dict[str, dict[str, Any]] = {}
    for file in (shop.out / "documents").glob("*.jsonl.zst"):
        with file.open("rb") as raw, zstandard.open(raw, "rt", encoding="utf-8") as stream:
            documents = [json.loads(line) for line in stream]
        assert not received.keys() & {document["id"] for document in documents}, "each document is there once"
        received |= {document["id"]: document for document in documents}
    return received


def test_subscribers_receive_reassigned_documents(shop: Shop) -> None:
    everything, law = shop.folder / "everything", shop.folder / "law"

    def pull() -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
        received = []
        for shop.out, slice_text in ((everything, ""), (law, "domain=law")):
            shop.pull(slice_text)
            received.append(lines(shop))
        return received[0], received[1]

    def domains() -> dict[str, int]:
        counts: dict[str, int] = {}
        for shard in shop.publish().shards:
            counts[shard.domain] = counts.get(shard.domain, 0) + shard.documents
        return counts

    assert domains() == {"cook": 40, "law": 40, UNLABELLED: 36}
    before, law_before = pull()
    model = assign(shop)["model"]
    assert domains() == {"cook": 52, "law": 52, UNLABELLED: 12}
    after, law_after = pull()
    assigned = {row["id"]: row["domain"] for row in rows(shop, model)}
    assert {key: line["domain"] for key, line in after.items()} == {
        key: assigned.get(key, line["domain"]) for key, line in before.items()
    }
    assert {key: line["text"] for key, line in after.items()} == {key: line["text"] for key, line in before.items()}
    assert law_after.keys() == law_before.keys() | {key for key, domain in assigned.items() if domain == "law"}
    assert {key for key, line in after.items() if line["version"] != before[key]["version"]} == {
        key for key, domain in assigned.items() if domain != UNLABELLED
    }
    shop.out = everything
    assert shop.pull().fetched_bytes < 5000, "only the manifest is fetched again"
    files = {path.name for path in (shop.release / "shards").iterdir()}
    shutil.rmtree(shop.warehouse / "releases")
    assert domains() == {"cook": 52, "law": 52, UNLABELLED: 12}
    assert {path.name for path in (shop.release / "shards").iterdir()} == files, (
        "losing the record of the release changes nothing"
    )
    assign(shop, threshold=1.0)
    assert domains() == {"cook": 40, "law": 40, UNLABELLED: 36}
    assert pull() == (before, law_before), "documents return to their first state"


def test_removed_documents_are_not_used_for_training(shop: Shop) -> None:
    take_down(TakedownRecipe(warehouse=str(shop.warehouse), host="cook.example", reason="asked"))
    with pytest.raises(BaicaiError, match="two named domains with at least 5 documents, and has only 'law'"):
        assign(shop)


@pytest.mark.parametrize(
    ("named", "words", "message"),
    [
        ({}, [], r"warehouse is not a warehouse: gather text into it first"),
        (
            {UNLABELLED: 9},
            [],
            r"needs two named domains with at least 5 documents, and has none: name the dom",
        ),
        ({"law": 9, "cook": 4}, [], r"only 'law': name the domains of sources in the recipe \(clean.domain\), or gi"),
        (
            {UNLABELLED: 3},
            ["clusters=4"],
            r"has 3 documents of 'web' for 4 clusters: give fewer clusters, or gather more",
        ),
        ({"law": 9}, ["clusters=2"], r"0 documents of 'web' for 2 clusters"),
        ({UNLABELLED: 2}, ["clusters=2"], r"no term occurs in 3 of the training documents: gather more documents"),
        ({UNLABELLED: 9}, ["clusters=1"], r"key 'clusters' = 1: Input should be greater than or equal to 2"),
        ({UNLABELLED: 9}, ["clusters=few"], r"key 'clusters' = 'few': Input should be a valid integer"),
        ({UNLABELLED: 9}, ["threshold=2"], r"key 'threshold' = 2: Input should be less than or equal to 1"),
        ({UNLABELLED: 9}, ["anew=true"], r"key 'anew' is now called 'retrain': rename it"),
        ({UNLABELLED: 9}, ["cluster=2"], r"unknown key 'cluster': the nearest is 'clusters'"),
    ],
)
def test_errors_are_one_line(tmp_path: Path, named: dict[str, int], words: list[str], message: str) -> None:
    shop = Shop(tmp_path)
    for domain, count in named.items():
        gather(shop, "law", range(count), domain)
    with pytest.raises(BaicaiError, match=message) as error:
        assign_domains(read_arguments(DomainsRecipe, [f"warehouse={shop.warehouse}", "workers=1", *words]))
    assert "\n" not in str(error.value)
    assert not (shop.warehouse / "domains.json").exists()


def test_missing_scikit_learn_is_reported(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)
    with pytest.raises(MachineError, match=r"scikit-learn is not installed: pip install 'baicai\[domains\]'"):
        assign(shop)


def test_verb_prints_its_report(shop: Shop, command: Command) -> None:  # noqa: F811
    words = ("data", "domains", shop.warehouse, "workers=1")
    report = command(*words, "--json")
    assert (report.code, json.loads(report.out)["given"]) == (0, {"cook": 12, "law": 12, UNLABELLED: 12})
    assert "accuracy             1\n" in command(*words).out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("The naïve_name x 3rd C3PO, don't!", ["the", "naïve_name", "rd", "c3po", "don"]),
        ("床前明月，Abc光", ["床", "前", "明", "月", "床前", "前明", "明月", "abc", "光"]),
        ("カタカナ語", ["カ", "タ", "カ", "ナ", "語", "カタ", "タカ", "カナ", "ナ語"]),
        ("ไทย ab", ["ไ", "ท", "ย", "ไท", "ทย", "ab"]),
        ("हिन्दी भाषा।", ["हिन्दी", "भाषा"]),
        ("한국어 문서", ["한국어", "문서"]),
        ("ГОСТ Größe", ["гост", "größe"]),
    ],
)
def test_terms(text: str, expected: list[str]) -> None:
    assert terms_of(text) == expected


@pytest.fixture(scope="module")
def corpus() -> dict[str, dict[str, list[str]]]:
    if not CORPUS.exists():
        pytest.skip(f"the benchmark corpus is not at {CORPUS}")

    def read(path: Path, limit: int) -> list[str]:
        return [document.text for document in itertools.islice(read_documents(path), limit)]

    return {
        part: {path.name: read(path / f"{part}.jsonl.zst", limit) for path in CORPUS.iterdir() if path.is_dir()}
        for part, limit in (("train", 150), ("valid", 60))
    }


def texts_of(domains: dict[str, list[str]]) -> list[str]:
    return [text for texts in domains.values() for text in texts]


def names_of(domains: dict[str, list[str]]) -> list[str]:
    return [name for name, texts in domains.items() for _ in texts]


def test_real_domains_are_recognized_by_a_few_sentences(corpus: dict[str, dict[str, list[str]]]) -> None:
    """Measured: accuracy 1 on full texts and 0.99 on their first 200 characters; no unseen text is confident."""
    train, valid = corpus["train"], corpus["valid"]
    for length, bar in ((MAX_CHARACTERS, 0.99), (200, 0.96)):
        model = train_on_labels([text[:length] for text in texts_of(train)], names_of(train), {})
        predicted = model.scores([text[:length] for text in texts_of(valid)]).argmax(1)
        assert (np.array(model.domains)[predicted] == names_of(valid)).mean() >= bar
    for left_out in ("recipes-en", "c-code"):
        seen = {name: texts for name, texts in train.items() if name != left_out}
        model = train_on_labels(texts_of(seen), names_of(seen), {})
        assert (model.scores(train[left_out]).max(1) >= CONFIDENT).mean() < 0.05
        assert (model.scores(texts_of({**valid, left_out: []})).max(1) >= CONFIDENT).mean() > 0.85


def test_real_domains_are_found_by_clustering(corpus: dict[str, dict[str, list[str]]]) -> None:
    """Measured: 0.999 of the texts are in the cluster of most texts of their domain."""
    texts, names = texts_of(corpus["train"]), np.array(names_of(corpus["train"]))
    model, sizes = train_on_clusters(texts, len(corpus["train"]), 0, {})
    assert max(sizes) - min(sizes) <= 1
    owners = model.scores(texts).argmax(1)
    majorities = [np.unique(names[owners == owner], return_counts=True)[1].max() for owner in np.unique(owners)]
    assert sum(majorities) / len(texts) >= 0.95
