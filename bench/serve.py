"""Speed of the server: many texts at once against one, and texts with leaf sets of their own against one set.

    python bench/serve.py

Prints medians and ratios, and writes them with commit and machine into `bench/results/serve.json`. The models are those
of `bench/speed.py`, with random weights; the engine runs in its own process, as behind the server.
"""

import asyncio
import itertools
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from baicai.artefact import write_json
from baicai.serving.engine import Token
from baicai.serving.worker import Ask, EngineOptions, Worker
from speed_models import SIZES, make_model
from speed_parties import some_tokens

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results" / "serve.json"
FOLDER = ROOT / "out" / "speed"
PROMPT_TOKENS, ANSWER_TOKENS, ROUNDS = 32, 128, 5
MANY = 16


async def one(worker: Worker, seed: int, leaves: Sequence[str], vocab: int) -> int:
    """Ask for an answer and return how many tokens came."""
    ask = Ask(
        prompt=some_tokens(PROMPT_TOKENS, vocab, seed), leaves=leaves, max_tokens=ANSWER_TOKENS, temperature=0.8,
        top_p=0.95, seed=seed,
    )  # fmt: skip
    return sum([isinstance(told, Token) async for news in worker.answer(ask) for told in news])


async def rate(worker: Worker, sets: Sequence[Sequence[str]], vocab: int) -> float:
    """Return tokens per second of as many requests at once as there are sets of leaves: the median of some rounds."""
    seeds, rates = itertools.count(), []
    for turn in range(ROUNDS + 1):
        begun = time.perf_counter()
        tokens = sum(await asyncio.gather(*(one(worker, next(seeds), leaves, vocab) for leaves in sets)))
        if turn:
            rates.append(tokens / (time.perf_counter() - begun))
    return statistics.median(rates)


async def measure(name: str) -> dict[str, float]:
    """Return the rates of one size."""
    make_model(name, FOLDER)
    config, _, count = SIZES[name]
    worker = Worker(EngineOptions(model=str(FOLDER / f"{name}-{count}"), texts=MANY))
    await worker.start()
    try:
        every = [leaf["name"] for leaf in worker.about["leaves"]]
        pairs = [list(pair) for pair in itertools.combinations(every, 2)]
        mixed = list(itertools.islice(itertools.cycle(pairs), MANY))
        found = {
            "one": await rate(worker, [every], config.vocab_size),
            "many": await rate(worker, [every] * MANY, config.vocab_size),
            "one_set": await rate(worker, [pairs[0]] * MANY, config.vocab_size),
            "mixed_sets": await rate(worker, mixed, config.vocab_size),
        }
    finally:
        await worker.close()
    print(f"{name:6}", "  ".join(f"{what} {value:,.0f}" for what, value in found.items()), flush=True)
    return {what: round(value, 1) for what, value in found.items()}


def main() -> None:
    """Measure and write."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    rows = {name: asyncio.run(measure(name)) for name in SIZES}
    found: dict[str, Any] = {
        "commit": commit.stdout.strip(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "tokens_per_second": rows,
        "batch16_speedup": round(min(row["many"] / row["one"] for row in rows.values()), 3),
        "mixed_sets_slowdown": round(max(1 - row["mixed_sets"] / row["one_set"] for row in rows.values()), 3),
    }
    print(f"batch16_speedup {found['batch16_speedup']}  mixed_sets_slowdown {found['mixed_sets_slowdown']}")
    write_json(RESULTS, found)


if __name__ == "__main__":
    main()
