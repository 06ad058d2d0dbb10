"""Benchmark of speed against llama.cpp and transformers, on the same machine, weights and text, in turns.

    pip install -r bench/requirements.txt
    python bench/speed.py [decode prefill train grow leaves quality mtp]

Prints medians and ratios and writes them, with commit and machine, to `bench/results/speed.json`, or, on machines
without fast bfloat16, to `speed-no-bfloat16.json`. Measurements that are not selected keep their results. Takes about
half an hour on two cores. A ratio over several thread counts is the worst of them.
"""

import contextlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from baicai.artefact import read_json, write_json
from baicai.cli.quickstart import STARTER
from baicai.data.sources import open_source
from baicai.evaluation.bits_per_byte import bits_per_byte, held_out_windows
from baicai.inference.decoder import CompiledDecoder
from baicai.inference.quantize import load_int8_weights
from baicai.leaves.model import open_model
from baicai.model.layers import has_fast_bfloat16
from baicai.model.transformer import Transformer
from speed_models import HELD_OUT, SIZES, drafting_trunk, export, make_leaf, make_model, training_operations
from speed_parties import (
    BATCH,
    PROMPT_TOKENS,
    Workload,
    int8_of,
    llama_cpp,
    our_decode,
    our_generation,
    our_growing,
    our_prefill,
    our_training,
    stored_in,
    their_decode,
    their_network,
    their_prefill,
    their_training,
)

ROOT = Path(__file__).parents[1]
FAST_BFLOAT16 = has_fast_bfloat16(torch.device("cpu"))
DTYPES = (torch.float32, torch.bfloat16) if FAST_BFLOAT16 else (torch.float32,)
RESULTS = ROOT / "bench" / "results" / ("speed.json" if FAST_BFLOAT16 else "speed-no-bfloat16.json")
FOLDER = ROOT / "out" / "speed"
MODELS = ("tiny", "small")
ROUNDS, TRAIN_ROUNDS = 5, 3
"""Training has as many warm-up rounds, since each new matrix size costs a millisecond once, and sizes repeat."""
THREADS = (1, 2)
KINDS = {"f32": "f32", "bf16": "bf16", "q8": "q8_0"}


def rates(parties: Mapping[str, Workload], rounds: int = ROUNDS, warmup: int = 1) -> dict[str, float]:
    """Return each party's median tokens per second; they take turns, and `warmup` rounds are discarded."""
    seconds: dict[str, list[float]] = {name: [] for name in parties}
    for turn in range(rounds + warmup):
        for name, run in parties.items():
            start = time.perf_counter()
            tokens = run()
            if turn >= warmup:
                seconds[name].append((time.perf_counter() - start) / tokens)
    return {name: round(1 / statistics.median(times), 1) for name, times in seconds.items()}


def print_row(title: str, row: Mapping[str, float]) -> dict[str, float]:
    """Print one line of results and return them."""
    print(f"{title:44}", "  ".join(f"{name} {value:,.1f}" for name, value in row.items()), flush=True)
    return dict(row)


def measure_decode() -> dict[str, Any]:
    """Measure decoding token by token."""
    results: dict[str, Any] = {"decode": {}}
    for name in MODELS:
        model = make_model(name, FOLDER)
        files = {kind: export(model, name, theirs, FOLDER) / "model.gguf" for kind, theirs in KINDS.items()}
        folder = export(model, name, "transformers", FOLDER)
        for kind, file in files.items():
            for threads in THREADS:
                torch.set_num_threads(threads)
                parties = {"baicai": our_decode(model, kind), "llama.cpp": llama_cpp(file, threads)[0]}
                if kind != "q8":
                    dtype = torch.float32 if kind == "f32" else torch.bfloat16
                    parties["transformers"] = their_decode(their_network(folder, dtype, "grouped_mm").eval())
                row = print_row(f"decode {name} {kind}, {threads} threads", rates(parties))
                results["decode"][f"{name}_{kind}_{threads}"] = row
        rows = results["decode"]
        for kind in KINDS:
            results[f"decode_vs_llamacpp_{name}_{kind}"] = min(
                rows[f"{name}_{kind}_{threads}"]["baicai"] / rows[f"{name}_{kind}_{threads}"]["llama.cpp"]
                for threads in THREADS
            )
        results[f"decode_vs_transformers_{name}"] = min(
            best(rows, f"{name}_", threads, "baicai") / best(rows, f"{name}_", threads, "transformers")
            for threads in THREADS
        )
    return results


def best(rows: Mapping[str, Mapping[str, float]], name: str, threads: int, party: str) -> float:
    """Return a party's higher rate of float32 and bfloat16; the weights are exact in both."""
    return max(rows[f"{name}{kind}_{threads}"][party] for kind in ("f32", "bf16"))


def measure_prefill() -> dict[str, Any]:
    """Measure prefilling of a prompt; Baicai in bfloat16, the others in their fastest types."""
    results: dict[str, Any] = {"prefill": {}}
    for name in MODELS:
        model = make_model(name, FOLDER)
        folder = export(model, name, "transformers", FOLDER)
        ratios = []
        for threads in THREADS:
            torch.set_num_threads(threads)
            parties = {"baicai": our_prefill(model, "bf16")}
            for kind, theirs in KINDS.items():
                parties[f"llama.cpp {kind}"] = llama_cpp(export(model, name, theirs, FOLDER) / "model.gguf", threads)[1]
            for dtype in DTYPES:
                network = their_network(folder, dtype, "grouped_mm").eval()
                parties[f"transformers {str(dtype)[6:]}"] = their_prefill(network)
            row = print_row(f"prefill {name}, {threads} threads", rates(parties))
            results["prefill"][f"{name}_{threads}"] = row
            ratios.append(row["baicai"] / max(value for party, value in row.items() if party != "baicai"))
        results[f"prefill_vs_best_{name}"] = min(ratios)
    return results


def measure_train() -> dict[str, Any]:
    """Measure training steps of all parameters, each party in its faster type and in its own process."""
    results: dict[str, Any] = {"train": {}}
    for name in MODELS:
        export(make_model(name, FOLDER), name, "transformers", FOLDER)
        ratios, shares = [], []
        for threads in THREADS:
            row, fastest = {}, {}
            for kind in (str(dtype)[6:] for dtype in DTYPES):
                with contextlib.ExitStack() as stack:
                    commands = {
                        party: ("train", party, name, kind, str(threads)) for party in ("baicai", "transformers")
                    }
                    parties = {party: stack.enter_context(remote_workload(*words)) for party, words in commands.items()}
                    for party, rate in rates(parties, TRAIN_ROUNDS, TRAIN_ROUNDS).items():
                        row[f"{party} {kind}"] = rate
                        fastest[party] = max(rate, fastest.get(party, 0.0))
            results["train"][f"{name}_{threads}"] = print_row(f"train {name}, {threads} threads", row)
            ratios.append(fastest["baicai"] / fastest["transformers"])
            torch.set_num_threads(threads)
            shares.append(training_operations(name, BATCH[1]) * fastest["baicai"] / matmul_peak())
        results[f"train_vs_transformers_{name}"] = min(ratios)
        results["train_peak_share"] = min(shares)  # of the last model, the largest
    return results


@contextlib.contextmanager
def remote_workload(*words: str) -> Iterator[Workload]:
    """Yield a workload that runs in a process of its own and waits for its turn."""
    command = [sys.executable, __file__, "--", *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        requests, replies = process.stdin, process.stdout
        assert requests is not None
        assert replies is not None

        def run() -> int:
            print(file=requests, flush=True)
            return int(replies.readline())

        yield run
        requests.close()


def train_in_turns(party: str, name: str, kind: str, threads: str) -> None:
    """Run a training step for each line on the standard input and print its number of tokens."""
    torch.set_num_threads(int(threads))
    bfloat16 = kind == "bfloat16"
    if party == "baicai":
        run = our_training(make_model(name, FOLDER).network, bfloat16)
    else:
        run = their_training(their_network(FOLDER / f"{name}-transformers", torch.float32, "grouped_mm"), bfloat16)
    for _ in sys.stdin:
        print(run(), flush=True)


def matmul_peak() -> float:
    """Return the operations per second of a large matrix product in the faster type, the best of many rounds."""
    left, right = torch.randn(2048, 1024), torch.randn(1024, 1024)
    if FAST_BFLOAT16:
        left, right = left.bfloat16(), right.bfloat16()
    times = []
    for _ in range(100):
        start = time.perf_counter()
        torch.mm(left, right)
        times.append(time.perf_counter() - start)
    return 2 * 2048 * 1024 * 1024 / min(times)


def peak_bytes() -> int:
    """Return the peak resident memory of this process."""
    status = Path("/proc/self/status").read_text()  # getrusage would include memory of the parent before the fork
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def grow_or_train(scope: str, leaves: str, threads: str) -> None:
    """Grow one leaf or train all parameters of a model with `leaves` leaves; print tokens per second and peak bytes."""
    torch.set_num_threads(int(threads))
    model = make_model("small", FOLDER, int(leaves))
    network: Transformer = model.network
    name = next(iter(network.leaves))
    network.leaves[name].float().requires_grad_(True)
    run = our_training(network, FAST_BFLOAT16) if scope == "all" else our_growing(network, name)
    rate = rates({scope: run}, ROUNDS, TRAIN_ROUNDS)[scope]
    print(json.dumps([rate, peak_bytes()]))


def measure_grow() -> dict[str, Any]:
    """Measure growing a leaf against training the whole small model, and against training the trunk and one leaf."""
    small = str(SIZES["small"][2])
    for leaves in (1, int(small)):
        make_model("small", FOLDER, leaves)
    commands = {"grow": ("leaf", "1"), "train small": ("all", small), "train trunk and leaf": ("all", "1")}
    rows: dict[str, dict[str, float]] = {}
    for threads in THREADS:
        row = {}
        for name, words in commands.items():
            row[name], peak = run_process("grow", *words, str(threads))
            row[f"{name} MB"] = round(peak / 1e6)
        rows[str(threads)] = print_row(f"grow, {threads} threads", row)

    def worst(reference: str) -> tuple[float, float]:
        speeds = [row["grow"] / row[reference] for row in rows.values()]
        return min(speeds), max(row["grow MB"] / row[f"{reference} MB"] for row in rows.values())

    speed, memory = worst("train small")
    speed_alone, memory_alone = worst("train trunk and leaf")
    return {
        "grow": rows,
        "grow_speedup": speed,
        "grow_memory_ratio": memory,
        "grow_speedup_one_leaf": speed_alone,
        "grow_memory_ratio_one_leaf": memory_alone,
    }


def run_process(*words: str) -> Any:
    """Run this program in a process of its own and return its output, parsed from JSON."""
    process = subprocess.run([sys.executable, __file__, "--", *words], check=True, capture_output=True, text=True)
    return json.loads(process.stdout.splitlines()[-1])


def resident(leaves: str) -> None:
    """Decode with two of `leaves` leaves active; print tokens per second (0) and resident bytes."""
    torch.set_num_threads(1)
    model = make_model("small", FOLDER, int(leaves), 1)
    decoder = CompiledDecoder(model.network, list(model.leaves)[:2])
    for token in range(300):
        decoder.step([token])
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    print(json.dumps([0, pages * resource.getpagesize()]))


def measure_leaves() -> dict[str, Any]:
    """Measure the cost of many leaves in speed and memory."""
    torch.set_num_threads(1)
    config, sizes, _ = SIZES["small"]
    network = Transformer(config)
    network.initialize(0)
    parties = {}
    for count in (1, 64):
        while len(network.leaves) < count:
            network.join(f"leaf-{len(network.leaves)}", make_leaf(config, sizes, len(network.leaves)))
        decoder = CompiledDecoder(stored_in(network, "bf16"), list(network.leaves))
        decoder.step([1] * 16)

        def run(decoder: CompiledDecoder = decoder) -> int:
            decoder.length, token = 16, 5
            for _ in range(128):
                token = int(decoder.step([token]).logits_NV[0].argmax())
            return 128

        parties[f"{count} leaves"] = run
    row = print_row("decode small bf16, 1 thread", rates(parties))
    for leaves in (2, 64):
        make_model("small", FOLDER, leaves, 1)
    (_, two), (_, many) = run_process("resident", "2"), run_process("resident", "64")
    row |= print_row("resident MB, two leaves active", {"of 2": two / 1e6, "of 64": many / 1e6})
    return {
        "leaves": row,
        "flat_64_leaves": row["64 leaves"] / row["1 leaves"],
        "resident_64_leaves": many / two,
    }


def measure_mtp() -> dict[str, Any]:
    """Measure speculative decoding with multi-token prediction, on held-out prompts from Python's documentation.

    The reported speedup is that of two drafts in bfloat16, the type that trunks are stored in.
    """
    trunk = drafting_trunk(FOLDER)
    text = open_source(HELD_OUT, trunk.tokenizer)
    prompts = [text.window(number * 8, PROMPT_TOKENS).tolist() for number in range(8)]
    rows, shares = {}, {}
    for kind in KINDS:
        network = stored_in(trunk.network, kind)
        int8 = {"": load_int8_weights(trunk.hash, network.trunk_tensors())} if kind == "q8" else None
        for threads in THREADS:
            torch.set_num_threads(threads)
            runs = [our_generation(network, int8, prompts, drafts) for drafts in range(3)]
            parties = {f"{drafts} drafts": run for drafts, (run, _) in enumerate(runs)}
            row = rates(parties, 2 * len(prompts), len(prompts))
            rows[f"{kind}_{threads}"] = print_row(f"drafts small {kind}, {threads} threads", row)
        shares[kind] = [round(stats.accepted / stats.proposed, 3) for _, stats in runs[1:]]
    print("accepted share with 1 and with 2 drafts:", shares)
    stored = [rows[f"bf16_{threads}"] for threads in THREADS]
    speedup = min(row["2 drafts"] / row["0 drafts"] for row in stored)
    return {"mtp": {"decode": rows, "accepted": shares}, "mtp_speedup": speedup}


def measure_quality() -> dict[str, Any]:
    """Measure the cost of int8 in quality: bits per byte of the starter trunk on held-out text."""
    model = open_model(STARTER)
    text = open_source(HELD_OUT, model.tokenizer)
    results = {}
    for kind, int8 in (("bf16", None), ("int8", int8_of(model))):

        def nats_of(tokens_BS: torch.Tensor, int8: Any = int8) -> torch.Tensor:
            rows = []
            for row in tokens_BS:
                decoder = CompiledDecoder(model.network, [], None, int8)
                steps = [decoder.step([token]).logits_NV for token in row[:-1].tolist()]
                rows.append(torch.nn.functional.cross_entropy(torch.cat(steps), row[1:], reduction="none"))
            return torch.stack(rows)

        windows = held_out_windows(text, 256, 20_000)
        results[kind] = bits_per_byte(nats_of, windows, model.tokenizer).bits_per_byte
    print(f"bits per byte: bf16 {results['bf16']:.4f}, int8 {results['int8']:.4f}")
    return {"bits_per_byte": results, "q8_bpb_ratio": results["int8"] / results["bf16"]}


MEASURES: dict[str, Callable[[], dict[str, Any]]] = {
    "decode": measure_decode,
    "prefill": measure_prefill,
    "train": measure_train,
    "grow": measure_grow,
    "leaves": measure_leaves,
    "quality": measure_quality,
    "mtp": measure_mtp,
}


def main() -> None:
    """Run the selected measurements and write the results."""
    for name in sys.argv[1:] or MEASURES:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
        before = read_json(RESULTS) if RESULTS.exists() else {}
        fast = "bfloat16" if FAST_BFLOAT16 else "no bfloat16"
        machine = f"{platform.machine()}, {os.cpu_count()} cores, {fast}, torch {torch.__version__}"
        origin = {"commit": commit.stdout.strip(), "machine": machine}
        origin["measured"] = before.get("measured", {}) | {name: dict(origin)}
        results = MEASURES[name]()
        for key, value in results.items():
            if isinstance(value, float):
                results[key] = round(value, 4)
                print(f"{key} {value:.3f}")
        write_json(RESULTS, before | origin | results)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--"]:
        command, *arguments = sys.argv[2:]
        {"resident": resident, "train": train_in_turns, "grow": grow_or_train}[command](*arguments)
    else:
        main()
