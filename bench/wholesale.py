"""Benchmark of the wholesale pipeline against datatrove, on the same machine and input, in turns in one process.

    pip install -r bench/requirements-wholesale.txt
    python bench/wholesale.py [clean rules minhash duplicates update slice hostile memory takedown]

Prints results and ratios and writes them, with commit and machine, to `bench/results/wholesale.json`. Measurements that
are not selected keep their results. Pages are HTML files from the machine's own documentation. The measurements of
memory and takedown take an hour and 40 GB in the temporary folder, the others about ten minutes.
"""

import gzip
import logging
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from baicai.artefact import read_json, write_json
from baicai.data.readers import read_documents
from baicai.wholesale.processing.clean import CleanConfig, clean, document_id
from baicai.wholesale.processing.minhash import DuplicateIndex, minhash
from baicai.wholesale.processing.quality_signals import compute_signals
from baicai.wholesale.pull import PullRecipe, pull
from baicai.wholesale.release.manifest import Takedown
from baicai.wholesale.release.publish import PublishRecipe, publish
from baicai.wholesale.release.warehouse import Warehouse
from wholesale_pages import VOCABULARY, add, address, documentation, response
from wholesale_scale import measure_memory, measure_takedown

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results" / "wholesale.json"
FOLDER = ROOT / "out" / "wholesale"
NUM_PAGES, ROUNDS = 1000, 3
NUM_PASSAGES = 6000
CORPUS = ROOT.parent / "shared" / "corpus"
FETCHING, PERMISSION = "sources/test_http_fetcher.py::test_", "sources/test_robots.py::test_"
HOSTILE = {
    "addresses inside (SSRF)": [
        f"{FETCHING}private_addresses_are_rejected",
        f"{FETCHING}obfuscated_private_addresses_are_rejected",
        f"{FETCHING}other_schemes_are_rejected",
        f"{FETCHING}malformed_urls_are_rejected",
        f"{FETCHING}checked_address_is_the_one_connected_to",
    ],
    "redirects": [
        f"{FETCHING}each_redirect_is_checked",
        f"{FETCHING}redirect_to_a_file_is_rejected",
        f"{FETCHING}number_of_redirects_is_limited",
    ],
    "decompression bombs": [
        f"{FETCHING}decompression_bombs_are_rejected",
        f"{FETCHING}undecodable_responses_are_rejected",
        f"{FETCHING}too_large_response_is_rejected",
    ],
    "slow servers": [f"{FETCHING}slow_servers_time_out"],
    "robots.txt": [
        f"{PERMISSION}robots_txt_decides",
        f"{PERMISSION}missing_robots_txt_allows",
    ],
}
"""Tests of the crawler against hostile servers; a case is one test with one set of parameters."""


def warc() -> Path:
    """Return a WARC file of pages, writing it at the first call."""
    path = FOLDER / "pages" / "pages.warc.gz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".part").open("wb") as file:
            for page in documentation(NUM_PAGES):
                file.write(gzip.compress(response(f"https://docs.example{page}", page.read_bytes()), mtime=0))
        path.with_suffix(".part").rename(path)
    return path


def texts() -> list[str]:
    """Return the text of the pages, extracting it at the first call."""
    import pyarrow.parquet as pq

    out = FOLDER / "cleaned"
    if not out.exists():
        clean(warc(), CleanConfig(), out)
    extracted: list[str] = pq.read_table(out / "documents.parquet", columns=["text"])["text"].to_pylist()
    return extracted


def rates(ours: Callable[[], int], theirs: Callable[[], int], rounds: int = ROUNDS) -> tuple[float, float]:
    """Return the median documents per second of both parties; they take turns after one round of ours to compile."""
    ours()
    seconds: list[list[float]] = [[], []]
    for _ in range(rounds):
        for index, run in enumerate((ours, theirs)):
            start = time.perf_counter()
            count = run()
            seconds[index].append((time.perf_counter() - start) / count)
    return 1 / statistics.median(seconds[0]), 1 / statistics.median(seconds[1])


def print_rates(title: str, ours: float, theirs: float) -> dict[str, float]:
    """Print two rates and their ratio, and return the rates."""
    print(f"{title:30} baicai {ours:,.1f}  datatrove {theirs:,.1f}  ratio {ours / theirs:.1f}", flush=True)
    return {"baicai": round(ours, 1), "datatrove": round(theirs, 1)}


def measure_clean() -> dict[str, Any]:
    """Measure WARC to documents on one core: ours with signals, language and MinHash; theirs only extracts text."""
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.readers import WarcReader

    path = warc()

    def ours() -> int:
        out = FOLDER / "cleaned-again"
        shutil.rmtree(out, ignore_errors=True)
        clean(path, CleanConfig(), out)
        return int(read_json(out / "report.json")["documents"])

    def theirs() -> int:
        documents = WarcReader(str(path.parent), glob_pattern="*.warc.gz").run(None, 0, 1)
        return sum(1 for _ in Trafilatura(timeout=10).run(documents, 0, 1))

    rates_per_second = print_rates("WARC, documents per second", *rates(ours, theirs, 1))
    return {"clean": rates_per_second, "clean_vs_datatrove": rates_per_second["baicai"] / rates_per_second["datatrove"]}


def measure_rules() -> dict[str, Any]:
    """Measure all quality signals of a text against the decisions of four filters."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )

    pages = texts()
    filters = [GopherQualityFilter(), GopherRepetitionFilter(), C4QualityFilter(), FineWebQualityFilter()]

    def ours() -> int:
        for text in pages:
            compute_signals(text)
        return len(pages)

    def theirs() -> int:
        for number, text in enumerate(pages):
            for rule in filters:
                rule.filter(Document(text=text, id=str(number)))
        return len(pages)

    rates_per_second = print_rates("rules, documents per second", *rates(ours, theirs))
    return {"rules": rates_per_second, "rules_vs_datatrove": rates_per_second["baicai"] / rates_per_second["datatrove"]}


def measure_minhash() -> dict[str, Any]:
    """Measure MinHash signatures and duplicate groups."""
    from datatrove.data import Document
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupSignature

    pages = texts()

    def ours() -> int:
        shutil.rmtree(FOLDER / "index", ignore_errors=True)
        signatures = minhash([compute_signals(text)[1] for text in pages])
        DuplicateIndex(FOLDER / "index").add("pages", signatures)
        return len(pages)

    def theirs() -> int:
        shutil.rmtree(FOLDER / "theirs", ignore_errors=True)
        folders = [str(FOLDER / "theirs" / name) for name in ("signatures", "buckets", "groups")]
        documents = (Document(text=text, id=str(number)) for number, text in enumerate(pages))
        for _ in MinhashDedupSignature(folders[0]).run(documents, 0, 1) or ():
            pass
        buckets = MinhashDedupBuckets(folders[0], folders[1])
        for bucket in range(buckets.config.num_buckets):
            buckets.run(None, bucket, buckets.config.num_buckets)
        MinhashDedupCluster(folders[1], folders[2]).run(None, 0, 1)
        return len(pages)

    rates_per_second = print_rates("MinHash, documents per second", *rates(ours, theirs))
    return {
        "minhash": rates_per_second,
        "minhash_vs_datatrove": rates_per_second["baicai"] / rates_per_second["datatrove"],
    }


def measure_duplicates() -> dict[str, Any]:
    """Measure precision and recall of near-duplicates, on copies with 5, 10 and 20 % of their words changed."""
    originals, recall = dissimilar(passages()), {}
    true_positives = false_positives = 0
    for share in (0.05, 0.1, 0.2):
        folder = FOLDER / f"planted-{share}"
        shutil.rmtree(folder, ignore_errors=True)
        index = DuplicateIndex(folder)
        groups = index.add("originals", _signatures(originals))
        edited = [_edited(words, share, seed) for seed, words in enumerate(originals)]
        copy_groups = index.add("copies", _signatures(edited))
        matched = copy_groups == np.arange(len(originals))
        recall[str(share)] = round(float(matched.mean()), 4)
        true_positives += int(matched.sum())
        false_positives += int((groups != np.arange(len(originals))).sum())
        false_positives += int((~matched & (copy_groups < len(originals))).sum())
    precision = true_positives / max(1, true_positives + false_positives)
    print(f"near-duplicates of {len(originals)} texts: precision {precision:.4f}, recall {recall}", flush=True)
    return {
        "dup_documents": len(originals),
        "dup_recall": recall,
        "dup_precision": precision,
        "dup_recall_10": recall["0.1"],
    }


def passages() -> list[list[str]]:
    """Return random passages of 100 to 400 words from the documentation and the corpus in `../shared`."""
    documents = [text.split() for text in texts()]
    for path in sorted(CORPUS.glob("*/train.jsonl.zst")):
        is_chinese = path.parent.name.endswith("-zh")  # each character counts as a word
        documents += [list(d.text) if is_chinese else d.text.split() for d in read_documents(path)]
    chunks = [words[start : start + 400] for words in documents for start in range(0, len(words), 400)]
    return random.Random(0).sample([words for words in chunks if len(words) >= 100], NUM_PASSAGES)


def dissimilar(texts: list[list[str]]) -> list[list[str]]:
    """Return texts with a pairwise Jaccard similarity of at most 0.2 over word trigrams, computed exactly."""
    texts_by_ngram: dict[int, list[int]] = {}
    sizes: list[int] = []
    selected = []
    for words in texts:
        ngrams = {hash(tuple(word.lower() for word in words[start : start + 3])) for start in range(len(words) - 2)}
        shared = Counter(number for ngram in ngrams for number in texts_by_ngram.get(ngram, ()))
        if all(count / (len(ngrams) + sizes[number] - count) <= 0.2 for number, count in shared.items()):
            for ngram in ngrams:
                texts_by_ngram.setdefault(ngram, []).append(len(selected))
            sizes.append(len(ngrams))
            selected.append(words)
    return selected


def _signatures(texts: list[list[str]]) -> Any:
    return minhash([compute_signals(" ".join(words))[1] for words in texts])


def _edited(words: list[str], share: float, seed: int) -> list[str]:
    rng = random.Random(seed)
    edits = set(rng.sample(range(len(words)), round(share * len(words))))
    return [rng.choice(VOCABULARY) if index in edits else word for index, word in enumerate(words)]


def measure_hostile() -> dict[str, Any]:
    """Count the hostile cases in the tests, by kind."""
    cases = {}
    for kind, tests in HOSTILE.items():
        names = [f"tests/wholesale/{test}" for test in tests]
        command = [sys.executable, "-m", "pytest", "--collect-only", *names]
        output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        cases[kind] = sum("::" in line for line in output.splitlines())
    print(f"hostile cases: {cases}", flush=True)
    return {"hostile": cases, "hostile_cases": sum(cases.values())}


def publish_generated(documents: int) -> Path:
    """Gather and publish `documents` generated documents of 20 domains, and return the folder of both."""
    folder = FOLDER / "generated"
    shutil.rmtree(folder, ignore_errors=True)
    add(folder, range(documents))
    publish(PublishRecipe(warehouse=str(folder / "warehouse")), folder / "release")
    return folder


def measure_update() -> dict[str, Any]:
    """Measure the download of a full subscriber for an update with 1 % deleted, 1 % edited and 2 % new documents."""
    count, now = 20_000, datetime.now(UTC).isoformat()
    folder = publish_generated(count)
    initial = pull(PullRecipe(source=str(folder / "release")), folder / "all")
    changed = random.Random(1).sample(range(count), count // 50)
    add(folder, range(count, count + count // 50))
    add(folder, sorted(changed[::2]), edit="Changed.")
    removed = [document_id(address(number)) for number in changed[1::2]]
    Warehouse(folder / "warehouse").add_takedown(Takedown(documents=removed, reason="", requested=now, deadline=now))
    publish(PublishRecipe(warehouse=str(folder / "warehouse")), folder / "release")
    pulled = pull(PullRecipe(source=str(folder / "release")), folder / "all")
    assert pulled.documents == initial.documents + count // 50 - len(removed), "all documents are up to date"
    print(f"update: {pulled.fetched_bytes:,} of {initial.fetched_bytes:,} bytes", flush=True)
    return {"update_bytes_share": pulled.fetched_bytes / initial.fetched_bytes}


def measure_slice() -> dict[str, Any]:
    """Measure the download of a slice of 5 % of the documents, relative to their compressed size."""
    folder = publish_generated(20_000)
    slices = {}
    for name, query in (("one of 20 domains", "domain=d07"), ("the best of half of them", "quality>0.9 words>=500")):
        out = folder / name
        pulled = pull(PullRecipe(source=str(folder / "release"), slice=query), out)
        needed = sum(file.stat().st_size for file in (out / "documents").iterdir())
        slices[name] = {"documents": pulled.documents, "ratio": round(pulled.fetched_bytes / max(1, needed), 4)}
    print(f"slices: {slices}", flush=True)
    return {"slices": slices, "slice_bytes_ratio": slices["one of 20 domains"]["ratio"]}


MEASURES: dict[str, Callable[[], dict[str, Any]]] = {
    "clean": measure_clean,
    "rules": measure_rules,
    "minhash": measure_minhash,
    "duplicates": measure_duplicates,
    "update": measure_update,
    "slice": measure_slice,
    "hostile": measure_hostile,
    "memory": measure_memory,
    "takedown": measure_takedown,
}


def main() -> None:
    """Run the selected measurements and write the results."""
    logging.disable(logging.INFO)
    os.environ["BAICAI_QUIET"] = "1"
    for name in sys.argv[1:] or MEASURES:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
        before = read_json(RESULTS) if RESULTS.exists() else {}
        origin: dict[str, Any] = {
            "commit": commit.stdout.strip(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        }
        origin["measured"] = before.get("measured", {}) | {name: dict(origin)}
        results = MEASURES[name]()
        for key, value in results.items():
            if isinstance(value, float):
                results[key] = round(value, 4)
                print(f"{key} {value:.3f}", flush=True)
        write_json(RESULTS, before | origin | results)


if __name__ == "__main__":
    main()
