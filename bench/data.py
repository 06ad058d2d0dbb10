"""Tokenize a large made-up corpus and draw random batches from it: how fast, and in how much memory?

    python bench/data.py --gigabytes 5

The corpus lies in a temporary folder (set TMPDIR to choose the disk; tokens take about half as much again) and is
removed at the end. The work is done in a fresh process, whose peak resident memory counts everything: its own, the
libraries, and pages of mapped files. The last line is JSON.
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
TEXTS_BYTES = 32 * 2**20  # made once, written over and over


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--gigabytes", type=float, default=5.0, help="text to make, in units of 1e9 bytes")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    with tempfile.TemporaryDirectory(prefix="baicai-bench-") as name:
        num_bytes = write_corpus(Path(name) / "corpus", int(options.gigabytes * 1e9))
        print(f"corpus gigabytes={num_bytes / 1e9:.2f} folder={name}", flush=True)
        command = [sys.executable, __file__, "--measure", name]
        found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    print(json.dumps({"corpus_gigabytes": round(num_bytes / 1e9, 3), **json.loads(found)}))


def write_corpus(folder: Path, num_bytes: int) -> int:
    """Write JSON lines of at least `num_bytes` bytes of text, and return how many it became."""
    folder.mkdir()
    draw = random.Random(0)
    lines = list(made_up_lines(draw))
    written = 0
    for number in range(10**9):
        if written >= num_bytes:
            break
        draw.shuffle(lines)
        with (folder / f"{number:06d}.jsonl").open("w", encoding="utf-8") as file:
            for line in lines:
                written += file.write(line)
                if written >= num_bytes:
                    break
    return written


def made_up_lines(draw: random.Random) -> Iterator[str]:
    """Yield documents of 20 to 2000 words; a word is the commoner the earlier it was made, as in a language."""
    letters = "etaoinshrdlucmfwypvbgkqjxz"
    words = ["".join(draw.choices(letters, range(26, 0, -1), k=draw.randrange(2, 11))) for _ in range(50_000)]
    made = 0
    while made < TEXTS_BYTES:
        ranks = (int(len(words) ** draw.random()) - 1 for _ in range(int(20 * 100 ** draw.random())))
        line = json.dumps({"text": " ".join(words[rank] for rank in ranks), "license": "CC0-1.0"}) + "\n"
        made += len(line)
        yield line


def measure(folder: Path) -> dict[str, Any]:
    """Train a tokenizer, write shards, verify them and draw batches, and return rates and memory."""
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
    """Return this process's peak and present resident memory, of which anonymous and file-backed."""
    names = {"VmHWM": "peak", "VmRSS": "resident", "RssAnon": "anonymous", "RssFile": "file"}
    fields = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    found = {field[0].rstrip(":"): field[1] for field in fields if len(field) > 1}
    return {name: int(found[key]) // 1024 for key, name in names.items()}


if __name__ == "__main__":
    main()
