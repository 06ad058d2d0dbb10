"""Benchmark of the data pipeline: throughput and memory of tokenising a synthetic corpus and reading batches.

    python bench/data.py --gigabytes 5

The corpus is written to a temporary folder (set TMPDIR to choose the disk; tokens take about half as much again) and
removed at the end. The measurement runs in a fresh process; its peak resident memory includes libraries and pages of
mapped files. The last line of the output is JSON.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BATCHES, BATCH_SEQUENCES, SEQUENCE_TOKENS = 20_000, 8, 512
VOCAB_SIZE = 16_384
TEXTS_BYTES = 32 * 2**20  # generated once and written repeatedly, in random order


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--gigabytes", type=float, default=5.0, help="size of the corpus in units of 1e9 bytes")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    with tempfile.TemporaryDirectory(prefix="baicai-bench-") as name:
        num_bytes = write_corpus(Path(name) / "corpus", int(options.gigabytes * 1e9))
        print(f"corpus gigabytes={num_bytes / 1e9:.2f} folder={name}", flush=True)
        command = [sys.executable, __file__, "--measure", name]
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    print(json.dumps({"corpus_gigabytes": round(num_bytes / 1e9, 3), **json.loads(output)}))


def write_corpus(folder: Path, num_bytes: int) -> int:
    """Write JSON lines of at least `num_bytes` bytes and return their exact size."""
    folder.mkdir()
    rng = random.Random(0)
    lines = list(synthetic_lines(rng))
    written = 0
    for number in range(10**9):
        if written >= num_bytes:
            break
        rng.shuffle(lines)
        with (folder / f"{number:06d}.jsonl").open("w", encoding="utf-8") as file:
            for line in lines:
                written += file.write(line)
                if written >= num_bytes:
                    break
    return written


def synthetic_lines(rng: random.Random) -> Iterator[str]:
    """Yield documents of 20 to 2000 words, whose frequencies follow Zipf's law as in natural language."""
    letters = "etaoinshrdlucmfwypvbgkqjxz"
    words = ["".join(rng.choices(letters, range(26, 0, -1), k=rng.randrange(2, 11))) for _ in range(50_000)]
    num_bytes = 0
    while num_bytes < TEXTS_BYTES:
        ranks = (int(len(words) ** rng.random()) - 1 for _ in range(int(20 * 100 ** rng.random())))
        line = json.dumps({"text": " ".join(words[rank] for rank in ranks), "license": "CC0-1.0"}) + "\n"
        num_bytes += len(line)
        yield line


def measure(folder: Path) -> dict[str, Any]:
    """Train a tokenizer, write and verify shards and read batches; return throughput and memory."""
    from baicai.data.batches import Batches
    from baicai.data.readers import read_documents
    from baicai.data.shards import TokenShards, write_shards
    from baicai.data.tokenizer import train_tokenizer

    corpus = folder / "corpus"
    memory = {"after_imports": memory_mib()}
    first = corpus / "000000.jsonl"
    tokenizer = train_tokenizer({"made": read_documents(first)}, VOCAB_SIZE, sample_bytes=2_000_000)
    memory["after_tokenizer"] = memory_mib()

    start = time.perf_counter()
    written = write_shards(read_documents(corpus), tokenizer, folder / "shards", shard_tokens=2**26)
    write_seconds = time.perf_counter() - start
    memory["after_shards"] = memory_mib()

    start = time.perf_counter()
    shards = TokenShards.open(written.folder)
    verify_seconds = time.perf_counter() - start

    batches = Batches([shards], [1.0], batch_sequences=BATCH_SEQUENCES, sequence_tokens=SEQUENCE_TOKENS, seed=0)
    start = time.perf_counter()
    for _ in range(BATCHES):
        batches.next()
    batch_seconds = time.perf_counter() - start
    memory["after_batches"] = memory_mib()
    return {
        "peak_rss_mib": memory["after_batches"]["peak"],
        "memory_mib": memory,
        "tokens": shards.num_tokens,
        "write_megabytes_per_second": round(shards.num_bytes / write_seconds / 1e6, 2),
        "write_tokens_per_second": round(shards.num_tokens / write_seconds),
        "verify_megabytes_per_second": round(2 * shards.num_tokens / verify_seconds / 1e6),
        "batches_per_second": round(BATCHES / batch_seconds),
        "batch_tokens_per_second": round(BATCHES * BATCH_SEQUENCES * SEQUENCE_TOKENS / batch_seconds),
    }


def memory_mib() -> dict[str, int]:
    """Return this process's peak and current resident memory, and its anonymous and file-backed parts."""
    names = {"VmHWM": "peak", "VmRSS": "resident", "RssAnon": "anonymous", "RssFile": "file"}
    fields = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    values = {field[0].rstrip(":"): field[1] for field in fields if len(field) > 1}
    return {name: int(values[key]) // 1024 for key, name in names.items()}


if __name__ == "__main__":
    main()
