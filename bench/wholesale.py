"""The wholesaler beside datatrove: the same machine, the same input, one after the other in one process.

    pip install -r bench/requirements-wholesale.txt
    python bench/wholesale.py [clean rules minhash duplicates update slice hostile memory takedown]

Prints figures and ratios, and writes them with commit and machine into `bench/results/wholesale.json`; what is not
asked for keeps its figures. Pages are HTML that lies on the machine, drawn from its documentation. Memory and takedown
take an hour and 40 GB of the temporary folder, the rest about ten minutes.
"""

import gzip
import logging
import os
import platform
import random
import shutil
import statistics as middle
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
NUM_PIECES = 6000
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
"""Tests of servers that are not to be trusted; a case is one test with one set of values."""


def warc() -> Path:
    """Return a WARC file of pages; it is made the first time."""
    path = FOLDER / "pages" / "pages.warc.gz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".part").open("wb") as file:
            for page in documentation(NUM_PAGES):
                file.write(gzip.compress(response(f"https://docs.example{page}", page.read_bytes()), mtime=0))
        path.with_suffix(".part").rename(path)
    return path


def texts() -> list[str]:
    """Return what the pages say."""
    import pyarrow.parquet as pq

    out = FOLDER / "cleaned"
    if not out.exists():
        clean(warc(), CleanConfig(), out)
    found: list[str] = pq.read_table(out / "documents.parquet", columns=["text"])["text"].to_pylist()
    return found


def rates(ours: Callable[[], int], theirs: Callable[[], int], rounds: int = ROUNDS) -> tuple[float, float]:
    """Return each party's median of documents per second; they take turns, after a round of ours that compiles."""
    ours()
    seconds: list[list[float]] = [[], []]
    for _ in range(rounds):
        for place, act in enumerate((ours, theirs)):
            begun = time.perf_counter()
            count = act()
            seconds[place].append((time.perf_counter() - begun) / count)
    return 1 / middle.median(seconds[0]), 1 / middle.median(seconds[1])


def told(what: str, ours: float, theirs: float) -> dict[str, float]:
    """Print two rates and return them."""
    print(f"{what:30} baicai {ours:,.1f}  datatrove {theirs:,.1f}  ratio {ours / theirs:.1f}", flush=True)
    return {"baicai": round(ours, 1), "datatrove": round(theirs, 1)}


def measure_clean() -> dict[str, Any]:
    """WARC to documents, one core: ours with all numbers, language and signature; theirs reads and extracts."""
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

    found = told("WARC to documents a second", *rates(ours, theirs, 1))
    return {"clean": found, "clean_vs_datatrove": found["baicai"] / found["datatrove"]}


def measure_rules() -> dict[str, Any]:
    """All numbers of a text against whether it passes four filters."""
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
            for one in filters:
                one.filter(Document(text=text, id=str(number)))
        return len(pages)

    found = told("rules, documents a second", *rates(ours, theirs))
    return {"rules": found, "rules_vs_datatrove": found["baicai"] / found["datatrove"]}


def measure_minhash() -> dict[str, Any]:
    """Signatures and groups."""
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
        places = [str(FOLDER / "theirs" / name) for name in ("signatures", "buckets", "groups")]
        documents = (Document(text=text, id=str(number)) for number, text in enumerate(pages))
        for _ in MinhashDedupSignature(places[0]).run(documents, 0, 1) or ():
            pass
        buckets = MinhashDedupBuckets(places[0], places[1])
        for bucket in range(buckets.config.num_buckets):
            buckets.run(None, bucket, buckets.config.num_buckets)
        MinhashDedupCluster(places[1], places[2]).run(None, 0, 1)
        return len(pages)

    found = told("MinHash, documents a second", *rates(ours, theirs))
    return {"minhash": found, "minhash_vs_datatrove": found["baicai"] / found["datatrove"]}


def measure_duplicates() -> dict[str, Any]:
    """Planted edits of 5, 10 and 20 % of the words of texts: how many copies meet their original, and nothing else."""
    kept, found = unlike(pieces()), {}
    right = wrong = 0
    for share in (0.05, 0.1, 0.2):
        folder = FOLDER / f"planted-{share}"
        shutil.rmtree(folder, ignore_errors=True)
        index = DuplicateIndex(folder)
        first = index.add("originals", _signed(kept))
        copies = index.add("copies", _signed([_edited(words, share, seed) for seed, words in enumerate(kept)]))
        met = copies == np.arange(len(kept))
        found[str(share)] = round(float(met.mean()), 4)
        joined = int((first != np.arange(len(kept))).sum())
        right, wrong = right + int(met.sum()), wrong + joined + int((~met & (copies < len(kept))).sum())
    precision = right / max(1, right + wrong)
    print(f"near-duplicates of {len(kept)} texts: precision {precision:.4f}, recall {found}", flush=True)
    return {"dup_documents": len(kept), "dup_recall": found, "dup_precision": precision, "dup_recall_10": found["0.1"]}


def pieces() -> list[list[str]]:
    """Return pieces of 100 to 400 words, drawn from documentation and from the corpus in `../shared`."""
    found = [text.split() for text in texts()]
    for path in sorted(CORPUS.glob("*/train.jsonl.zst")):
        alone = path.parent.name.endswith("-zh")  # its characters are words
        found += [list(one.text) if alone else one.text.split() for one in read_documents(path)]
    cuts = [words[at : at + 400] for words in found for at in range(0, len(words), 400)]
    return random.Random(0).sample([words for words in cuts if len(words) >= 100], NUM_PIECES)


def unlike(texts: list[list[str]]) -> list[list[str]]:
    """Return texts of which no two share more than a fifth of their runs of three words, counted one by one."""
    known: dict[int, list[int]] = {}
    sizes: list[int] = []
    kept = []
    for words in texts:
        runs = {hash(tuple(word.lower() for word in words[at : at + 3])) for at in range(len(words) - 2)}
        shared = Counter(number for run in runs for number in known.get(run, ()))
        if all(count / (len(runs) + sizes[number] - count) <= 0.2 for number, count in shared.items()):
            for run in runs:
                known.setdefault(run, []).append(len(kept))
            sizes.append(len(runs))
            kept.append(words)
    return kept


def _signed(texts: list[list[str]]) -> Any:
    return minhash([compute_signals(" ".join(words))[1] for words in texts])


def _edited(words: list[str], share: float, seed: int) -> list[str]:
    draw = random.Random(seed)
    places = set(draw.sample(range(len(words)), round(share * len(words))))
    return [draw.choice(VOCABULARY) if place in places else word for place, word in enumerate(words)]


def measure_hostile() -> dict[str, Any]:
    """How many hostile cases the tests hold, by kind."""
    found = {}
    for kind, tests in HOSTILE.items():
        names = [f"tests/wholesale/{test}" for test in tests]
        command = [sys.executable, "-m", "pytest", "--collect-only", *names]
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        found[kind] = sum("::" in line for line in told.splitlines())
    print(f"hostile cases: {found}", flush=True)
    return {"hostile": found, "hostile_cases": sum(found.values())}


def shop(documents: int) -> Path:
    """Return a folder with a warehouse of so many drawn documents of 20 domains, and its first release."""
    folder = FOLDER / "shop"
    shutil.rmtree(folder, ignore_errors=True)
    add(folder, range(documents))
    publish(PublishRecipe(warehouse=str(folder / "warehouse")), folder / "release")
    return folder


def measure_update() -> dict[str, Any]:
    """What an update of 1 % deletes, 1 % edits and 2 % new documents costs a subscriber of all of it."""
    count, now = 20_000, datetime.now(UTC).isoformat()
    folder = shop(count)
    whole = pull(PullRecipe(source=str(folder / "release")), folder / "all")
    changed = random.Random(1).sample(range(count), count // 50)
    add(folder, range(count, count + count // 50))
    add(folder, sorted(changed[::2]), edit="Changed.")
    gone = [document_id(address(number)) for number in changed[1::2]]
    Warehouse(folder / "warehouse").add_takedown(Takedown(documents=gone, reason="", requested=now, deadline=now))
    publish(PublishRecipe(warehouse=str(folder / "warehouse")), folder / "release")
    pulled = pull(PullRecipe(source=str(folder / "release")), folder / "all")
    assert pulled.documents == whole.documents + count // 50 - len(gone), "what was asked for is here"
    print(f"update: {pulled.fetched_bytes:,} of {whole.fetched_bytes:,} bytes", flush=True)
    return {"update_bytes_share": pulled.fetched_bytes / whole.fetched_bytes}


def measure_slice() -> dict[str, Any]:
    """What a slice of 5 % of the documents costs, over what they are, compressed as they lie."""
    folder = shop(20_000)
    found = {}
    for name, wanted in (("one of 20 domains", "domain=d07"), ("the best of half of them", "quality>0.9 words>=500")):
        out = folder / name
        pulled = pull(PullRecipe(source=str(folder / "release"), slice=wanted), out)
        needed = sum(file.stat().st_size for file in (out / "documents").iterdir())
        found[name] = {"documents": pulled.documents, "ratio": round(pulled.fetched_bytes / max(1, needed), 4)}
    print(f"slices: {found}", flush=True)
    return {"slices": found, "slice_bytes_ratio": found["one of 20 domains"]["ratio"]}


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
    """Measure what is asked for and write it."""
    logging.disable(logging.INFO)
    os.environ["BAICAI_QUIET"] = "1"
    for word in sys.argv[1:] or MEASURES:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
        before = read_json(RESULTS) if RESULTS.exists() else {}
        about: dict[str, Any] = {
            "commit": commit.stdout.strip(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        }
        about["measured"] = before.get("measured", {}) | {word: dict(about)}
        found = MEASURES[word]()
        for key, value in found.items():
            if isinstance(value, float):
                found[key] = round(value, 4)
                print(f"{key} {value:.3f}", flush=True)
        write_json(RESULTS, before | about | found)


if __name__ == "__main__":
    main()
