"""Speed of the server: batched against single sequences, mixed leaf sets against one set, and against llama.cpp.

    python bench/serve.py engine
    python bench/serve.py servers llama=PATH_OF_LLAMA_SERVER
    python bench/serve.py soak minutes=60

Each prints what it measures and writes it, with commit and machine, into `bench/results/serve.json`. The models are
those of `bench/speed.py`, with random weights. `engine` bypasses HTTP; `servers` and `soak`
speak HTTP, from a process that runs on the same cores.
"""

import asyncio
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from baicai.artefact import write_json
from baicai.serving.engine.client import EngineClient, EngineOptions
from baicai.serving.engine.events import Token
from baicai.serving.engine.generation_request import GenerationRequest
from serve_clients import Body, load, server
from serve_soak import soak
from speed_models import SIZES, export, make_model
from speed_parties import some_tokens

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results" / "serve.json"
FOLDER = ROOT / "out" / "speed"
PROMPT_TOKENS, ANSWER_TOKENS, ROUNDS, SERVER_ROUNDS = 32, 128, 5, 3
MANY = 16
DENSE = "imported"
"""The size that most users start from; a single sequence spends nearly all its time on reading its weights."""


async def generate_one(engine: EngineClient, seed: int, leaves: Sequence[str], vocab: int) -> int:
    """Generate one completion and return its number of tokens."""
    request = GenerationRequest(
        prompt_token_ids=some_tokens(PROMPT_TOKENS, vocab, seed),
        leaves=leaves,
        max_tokens=ANSWER_TOKENS,
        temperature=0.8,
        top_p=0.95,
        seed=seed,
    )
    return sum([isinstance(event, Token) async for events in engine.generate(request) for event in events])


async def rate(engine: EngineClient, sets: Sequence[Sequence[str]], vocab: int) -> float:
    """Measure tokens per second of one concurrent request per set of leaves: the median of several rounds."""
    seeds, rates = itertools.count(), []
    for turn in range(ROUNDS + 1):
        begun = time.perf_counter()
        tokens = sum(await asyncio.gather(*(generate_one(engine, next(seeds), leaves, vocab) for leaves in sets)))
        if turn:
            rates.append(tokens / (time.perf_counter() - begun))
    return statistics.median(rates)


async def measure(name: str) -> dict[str, float]:
    """Measure the rates of one size."""
    make_model(name, FOLDER)
    config, _, count = SIZES[name]
    engine = EngineClient(EngineOptions(model=str(FOLDER / f"{name}-{count}"), max_sequences=MANY))
    await engine.start()
    try:
        all_leaves = [leaf["name"] for leaf in engine.info.card["leaves"]]
        pairs = [list(pair) for pair in itertools.combinations(all_leaves, 2)]
        mixed = list(itertools.islice(itertools.cycle(pairs), MANY))
        results = {
            "one": await rate(engine, [all_leaves], config.vocab_size),
            "many": await rate(engine, [all_leaves] * MANY, config.vocab_size),
            "one_set": await rate(engine, [pairs[0]] * MANY, config.vocab_size),
            "mixed_sets": await rate(engine, mixed, config.vocab_size),
        }
    finally:
        await engine.close()
    print(f"{name:6}", "  ".join(f"{what} {value:,.0f}" for what, value in results.items()), flush=True)
    return {what: round(value, 1) for what, value in results.items()}


def engine() -> dict[str, Any]:
    """Measure the engine of each size."""
    rows = {name: asyncio.run(measure(name)) for name in SIZES}
    speedups = {name: round(row["many"] / row["one"], 3) for name, row in rows.items()}
    slowdowns = {name: round(1 - row["mixed_sets"] / row["one_set"], 3) for name, row in rows.items()}
    return {
        "tokens_per_second": rows,
        "batch16_speedups": speedups,
        "batch16_speedup": speedups[DENSE],
        "mixed_sets_slowdowns": slowdowns,
        "mixed_sets_slowdown": slowdowns[DENSE],
    }


def servers(llama: str) -> dict[str, Any]:
    """Measure our server and llama.cpp's alternately, on the same model in bfloat16."""
    results: dict[str, Any] = {"servers": {}}
    for name, (config, _, count) in SIZES.items():
        file = export(make_model(name, FOLDER), name, "bf16", FOLDER) / "model.gguf"
        ours = [sys.executable, "-m", "baicai", "serve", str(FOLDER / f"{name}-{count}"), f"name={name}", "port={port}"]
        room, threads = str(MANY * config.max_tokens), str(os.cpu_count())
        theirs = [llama, "-m", str(file), "-np", str(MANY), "-c", room, "-t", threads, "--port", "{port}"]
        rows = {party: dict[str, float]() for party in ("baicai", "llama.cpp")}
        for clients in (1, MANY):
            heard = {party: list[tuple[float, float]]() for party in rows}
            for turn in range(SERVER_ROUNDS):
                for party, command in zip(rows, (ours, theirs), strict=True):
                    with server(command) as (port, _):
                        asyncio.run(load(port, bodies(name, clients, turn), clients))
                        heard[party].append(asyncio.run(load(port, bodies(name, 3 * clients, turn + 100), clients)))
            for party, some in heard.items():
                rates, firsts = (statistics.median(column) for column in zip(*some, strict=True))
                rows[party] |= {f"tokens_{clients}": round(rates, 1), f"first_ms_{clients}": round(firsts * 1e3, 1)}
            print(f"{name:6} {clients:2} clients", rows, flush=True)
        results["servers"][name] = rows
    for clients in (1, MANY):
        ratios = [
            row["baicai"][f"tokens_{clients}"] / row["llama.cpp"][f"tokens_{clients}"]
            for row in results["servers"].values()
        ]
        results[f"vs_llamacpp_{clients}_clients"] = round(min(ratios), 3)
    return results


def bodies(name: str, count: int, seed: int) -> list[Body]:
    """Build requests that both servers interpret alike: no sampling filter but `top_p`."""
    vocab = SIZES[name][0].vocab_size
    return [
        {
            "model": name,
            "prompt": some_tokens(PROMPT_TOKENS, vocab, 1000 * seed + number),
            "max_tokens": ANSWER_TOKENS,
            "temperature": 0.8,
            "top_p": 0.95,
            "top_k": 0,
            "min_p": 0,
            "seed": number,
        }
        for number in range(count)
    ]


def main() -> None:
    """Run one measurement and merge it into the results file."""
    what, *words = sys.argv[1:]
    options = dict(word.split("=", 1) for word in words)
    if what == "engine":
        measured = engine()
    elif what == "servers":
        measured = servers(options["llama"])
    else:
        measured = soak(float(options.get("minutes", 60)), FOLDER)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results |= {f"{what}_of": {"commit": commit.stdout.strip(), "machine": machine}} | measured
    print({key: value for key, value in measured.items() if not isinstance(value, dict)})
    write_json(RESULTS, results)


if __name__ == "__main__":
    main()
