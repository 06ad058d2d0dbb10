"""Domains of documents whose sources named none: who gets which, when, and what subscribers see of it."""

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
from baicai.wholesale.domains.assign import UNNAMED, DomainsRecipe, assign_domains, classify
from baicai.wholesale.domains.classifier import (
    CHARACTERS,
    open_domain_model,
    terms_of,
    train_on_clusters,
    train_on_labels,
)
from baicai.wholesale.release.takedown import TakedownRecipe, take_down
from baicai.wholesale.release.warehouse import Warehouse
from tests.cli.conftest import Command, command  # noqa: F401  (a fixture)
from tests.references import domains as slow
from tests.wholesale.test_release import Shop

CORPUS = Path(__file__).parents[4] / "shared" / "corpus"
WORDS = {
    "law": "court judge statute appeal plaintiff contract liability clause verdict tort tribunal counsel",
    "cook": "butter flour onion garlic simmer oven whisk dough parsley skillet broth vinegar",
    "sea": "anchor sail harbour tide captain rudder reef mast lagoon voyage keel compass",
}
SHARED = ["the", "of", "and", "with", "that", "which", "from", "this", "into", "over", "under", "very"]
SURE = 0.9


def text_of(kind: str, number: int) -> str:
    draw, words = random.Random(f"{kind} {number}"), WORDS[kind].split()
    return ".\n".join(
        f"Number {number} says " + " ".join(draw.choice(draw.choice((words, SHARED))) for _ in range(12))
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
    """Law and cooking, named; and not named both of them, and seafaring."""
    made = Shop(tmp_path)
    for kind in ("law", "cook"):
        gather(made, kind, range(40), kind)
    for kind in WORDS:
        gather(made, kind, range(100, 112), UNNAMED)
    return made


def give(shop: Shop, **changes: Any) -> dict[str, Any]:
    return assign_domains(DomainsRecipe(warehouse=str(shop.warehouse), workers=1, **changes))


def written(shop: Shop) -> dict[str, int]:
    paths = [*(shop.warehouse / "domains").rglob("*"), shop.warehouse / "domains.json"]
    return {str(path): path.stat().st_mtime_ns for path in paths if path.is_file()}


def rows(shop: Shop, model: str) -> list[dict[str, Any]]:
    files = sorted(Warehouse(shop.warehouse).domain_model_folder(model).glob("batches/*/domains.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def test_documents_get_the_domain_of_those_that_they_are_like(shop: Shop) -> None:
    told = give(shop)
    assert told["given"] == {"cook": 12, "law": 12, UNNAMED: 12}, "what is like none keeps none"
    assert (told["version"], told["learnt_from"], told["held_out"], told["accuracy"]) == (1, 64, 16, 1)
    assert told["precision"] == told["recall"] == {"cook": 1, "law": 1}
    found = rows(shop, told["model"])
    assert all((row["score"] >= SURE) == (row["domain"] != UNNAMED) for row in found)
    assert len({row["id"] for row in found}) == 36


def test_what_was_seen_is_not_looked_at_again(shop: Shop) -> None:
    first = give(shop)
    before = written(shop)
    assert give(shop) == give(shop, anew=True) == first, "the same documents give the same model"
    assert written(shop) == before
    gather(shop, "law", range(200, 205), UNNAMED)
    told = give(shop)
    assert (told["model"], told["given"]["law"]) == (first["model"], 17)
    assert {path: when for path, when in written(shop).items() if path in before} == before
    gather(shop, "sea", range(40), "sea")
    told = give(shop)
    assert (told["version"], told["given"][UNNAMED]) == (1, 12), "named domains that are new wait for anew=true"
    told = give(shop, anew=True)
    assert (told["version"], told["given"]) == (2, {"cook": 12, "law": 17, "sea": 12})
    assert give(shop)["version"] == 2, "the newest of the same settings"


def test_an_earlier_model_comes_back_into_force(shop: Shop) -> None:
    named, clustered = give(shop), give(shop, clusters=3)
    assert (named["version"], clustered["version"]) == (1, 2)
    assert read_json(shop.warehouse / "domains.json") == {"model": clustered["model"]}
    before = written(shop)
    assert give(shop) == named
    assert read_json(shop.warehouse / "domains.json") == {"model": named["model"]}
    changed = {path for path, when in written(shop).items() if before.get(path) != when}
    assert changed == {str(shop.warehouse / "domains.json")}


def test_clusters_are_named_after_their_terms(shop: Shop) -> None:
    told = give(shop, clusters=3)
    assert sorted(told["sizes"].values()) == [12, 12, 12]
    assert told["given"] == told["sizes"]
    kinds = {next(kind for kind in WORDS if set(name.split("-")) <= set(WORDS[kind].split())) for name in told["sizes"]}
    assert kinds == set(WORDS)


def test_a_model_says_the_same_from_its_files_as_its_twin_and_as_scikit_learn(tmp_path: Path) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    names = [kind for kind in WORDS for _ in range(20)]
    texts = [text_of(kind, number % 20) for number, kind in enumerate(names)]
    asked = [text_of("law", 50) + text_of("cook", 50), "", "nothing 床前 known", *texts[:3], text_of("sea", 9).upper()]
    for count in (2, 3):
        model = train_on_labels(texts[: 20 * count], names[: 20 * count], {"version": 0})
        folder = tmp_path / model.hash
        model.save(folder, {})
        assert (open_domain_model(folder).scores(asked) == model.scores(asked)).all()
        assert model.scores(asked) == pytest.approx(np.array([slow.scores(folder, text) for text in asked]), abs=1e-5)
        vectorizer = TfidfVectorizer(token_pattern=r"(?u)\b[^\W\d]\w+\b", sublinear_tf=True, min_df=3)
        theirs = make_pipeline(vectorizer, LogisticRegression(C=10, max_iter=1000))
        theirs.fit(texts[: 20 * count], names[: 20 * count])
        assert model.domains == theirs.classes_.tolist()
        assert model.scores(asked) == pytest.approx(theirs.predict_proba(asked), abs=1e-3)


@pytest.mark.parametrize("name", ["terms.json", "model.safetensors", "card.json"])
def test_a_model_that_was_changed_is_refused(shop: Shop, name: str) -> None:
    told = give(shop, clusters=2)
    folder = Warehouse(shop.warehouse).domain_model_folder(told["model"])
    other = Warehouse(shop.warehouse).domain_model_folder(give(shop, clusters=3)["model"])
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(
        content.replace(b"anchor", b"banker") if name == "terms.json" else (other / name).read_bytes()
    )
    with pytest.raises(ArtefactError, match="does not match its hash: remove it and run baicai data domains again"):
        classify(
            Warehouse(shop.warehouse).documents_folder(Warehouse(shop.warehouse).gathered_files()[0].task),
            folder,
            shop.folder / "a",
        )


def lines(shop: Shop) -> dict[str, dict[str, Any]]:
    """Return by id what a subscriber has."""
    found: dict[str, dict[str, Any]] = {}
    for file in (shop.out / "documents").glob("*.jsonl.zst"):
        with file.open("rb") as raw, zstandard.open(raw, "rt", encoding="utf-8") as stream:
            documents = [json.loads(line) for line in stream]
        assert not found.keys() & {one["id"] for one in documents}, "each document is there once"
        found |= {one["id"]: one for one in documents}
    return found


def test_subscribers_follow_a_document_into_its_domain(shop: Shop) -> None:
    everything, law = shop.folder / "everything", shop.folder / "law"

    def pull() -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
        found = []
        for shop.out, wanted in ((everything, ""), (law, "domain=law")):
            shop.pull(wanted)
            found.append(lines(shop))
        return found[0], found[1]

    def domains() -> dict[str, int]:
        counts: dict[str, int] = {}
        for shard in shop.publish().shards:
            counts[shard.domain] = counts.get(shard.domain, 0) + shard.documents
        return counts

    assert domains() == {"cook": 40, "law": 40, UNNAMED: 36}
    before, law_before = pull()
    model = give(shop)["model"]
    assert domains() == {"cook": 52, "law": 52, UNNAMED: 12}
    after, law_after = pull()
    given = {row["id"]: row["domain"] for row in rows(shop, model)}
    assert {one: line["domain"] for one, line in after.items()} == {
        one: given.get(one, line["domain"]) for one, line in before.items()
    }
    assert {one: line["text"] for one, line in after.items()} == {one: line["text"] for one, line in before.items()}
    assert law_after.keys() == law_before.keys() | {one for one, domain in given.items() if domain == "law"}
    assert {one for one, line in after.items() if line["version"] != before[one]["version"]} == {
        one for one, domain in given.items() if domain != UNNAMED
    }
    shop.out = everything
    assert shop.pull().fetched_bytes < 5000, "nothing is fetched twice but the manifest"
    files = {path.name for path in (shop.release / "shards").iterdir()}
    shutil.rmtree(shop.warehouse / "releases")
    assert domains() == {"cook": 52, "law": 52, UNNAMED: 12}
    assert {path.name for path in (shop.release / "shards").iterdir()} == files, "a lost ledger changes nothing"
    give(shop, threshold=1.0)
    assert domains() == {"cook": 40, "law": 40, UNNAMED: 36}
    assert pull() == (before, law_before), "no domain any more is as it was at first"


def test_what_was_taken_down_is_not_learnt_from(shop: Shop) -> None:
    take_down(TakedownRecipe(warehouse=str(shop.warehouse), host="cook.example", reason="asked"))
    with pytest.raises(BaicaiError, match="two named domains with 5 documents or more, only 'law' has"):
        give(shop)


@pytest.mark.parametrize(
    ("named", "words", "message"),
    [
        ({}, [], r"warehouse is no warehouse: gather something first"),
        ({UNNAMED: 9}, [], r"warehouse needs two named domains with 5 documents or more, none has: name them in the"),
        ({"law": 9, "cook": 4}, [], r"only 'law' has: name them in the sources' recipe \(clean.domain\), or give clu"),
        ({UNNAMED: 3}, ["clusters=4"], r"3 documents of 'web' for 4 clusters in .*: ask for fewer, or gather more"),
        ({"law": 9}, ["clusters=2"], r"0 documents of 'web' for 2 clusters"),
        ({UNNAMED: 2}, ["clusters=2"], r"no word is in 3 documents that could be learnt from: gather more"),
        ({UNNAMED: 9}, ["clusters=1"], r"key 'clusters' = 1: Input should be greater than or equal to 2"),
        ({UNNAMED: 9}, ["clusters=few"], r"key 'clusters' = 'few': Input should be a valid integer"),
        ({UNNAMED: 9}, ["threshold=2"], r"key 'threshold' = 2: Input should be less than or equal to 1"),
        ({UNNAMED: 9}, ["cluster=2"], r"unknown key 'cluster': the nearest is 'clusters'"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    tmp_path: Path, named: dict[str, int], words: list[str], message: str
) -> None:
    shop = Shop(tmp_path)
    for domain, count in named.items():
        gather(shop, "law", range(count), domain)
    with pytest.raises(BaicaiError, match=message) as found:
        assign_domains(read_arguments(DomainsRecipe, [f"warehouse={shop.warehouse}", "workers=1", *words]))
    assert "\n" not in str(found.value)
    assert not (shop.warehouse / "domains.json").exists()


def test_scikit_learn_that_is_missing_is_told(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)
    with pytest.raises(MachineError, match=r"scikit-learn is not installed: pip install 'baicai\[domains\]'"):
        give(shop)


def test_the_verb_prints_what_it_did(shop: Shop, command: Command) -> None:  # noqa: F811
    words = ("data", "domains", shop.warehouse, "workers=1")
    told = command(*words, "--json")
    assert (told.code, json.loads(told.out)["given"]) == (0, {"cook": 12, "law": 12, UNNAMED: 12})
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

    def read(path: Path, most: int) -> list[str]:
        return [one.text for one in itertools.islice(read_documents(path), most)]

    return {
        part: {path.name: read(path / f"{part}.jsonl.zst", most) for path in CORPUS.iterdir() if path.is_dir()}
        for part, most in (("train", 150), ("valid", 60))
    }


def texts_of(domains: dict[str, list[str]]) -> list[str]:
    return [text for texts in domains.values() for text in texts]


def names_of(domains: dict[str, list[str]]) -> list[str]:
    return [name for name, texts in domains.items() for _ in texts]


def test_real_domains_are_told_by_a_few_sentences_and_others_are_left(corpus: dict[str, dict[str, list[str]]]) -> None:
    """Measured: all whole texts and 0.99 of their first 200 characters; of what was not learnt none sure."""
    train, valid = corpus["train"], corpus["valid"]
    for length, bar in ((CHARACTERS, 0.99), (200, 0.96)):
        model = train_on_labels([text[:length] for text in texts_of(train)], names_of(train), {})
        told = model.scores([text[:length] for text in texts_of(valid)]).argmax(1)
        assert (np.array(model.domains)[told] == names_of(valid)).mean() >= bar
    for left_out in ("recipes-en", "c-code"):
        known = {name: texts for name, texts in train.items() if name != left_out}
        model = train_on_labels(texts_of(known), names_of(known), {})
        assert (model.scores(train[left_out]).max(1) >= SURE).mean() < 0.05
        assert (model.scores(texts_of({**valid, left_out: []})).max(1) >= SURE).mean() > 0.85


def test_real_domains_are_found_without_names(corpus: dict[str, dict[str, list[str]]]) -> None:
    """Measured: 0.999 of the texts are in the cluster that most of their domain are in."""
    texts, names = texts_of(corpus["train"]), np.array(names_of(corpus["train"]))
    model, sizes = train_on_clusters(texts, len(corpus["train"]), 0, {})
    assert max(sizes) - min(sizes) <= 1
    owners = model.scores(texts).argmax(1)
    most = [np.unique(names[owners == owner], return_counts=True)[1].max() for owner in np.unique(owners)]
    assert sum(most) / len(texts) >= 0.95
