"""Benchmark of speed on a CUDA GPU: training, the expert layer and decoding.

    python bench/gpu.py

Prints medians and ratios and writes them, with commit and machine, to `bench/results/gpu.json`. Takes three minutes.
"""

import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812

from baicai.artefact import write_json
from baicai.inference.decoder import CudaGraphDecoder, Decoder
from baicai.model.grouped_experts import mix_grouped
from baicai.model.router import choose_experts
from speed import print_row, rates
from speed_models import export, make_model, training_operations
from speed_parties import Workload, decoding, our_training, stored_in, their_decode, their_network, their_training

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results" / "gpu.json"
FOLDER = ROOT / "out" / "speed"
GPU = torch.device("cuda")
BATCH = (32, 1024)
EXPERT_SIZES = {"small": (512, 224, 64, 4), "large": (2048, 1024, 64, 8)}
"""Model width, hidden size, number of experts and experts per token; large is a layer of a 7B model."""
EXPERT_TOKENS = 32768


def median_ms(run: Callable[[], Any]) -> float:
    """Return the median duration in milliseconds of twenty rounds after five warm-up rounds."""
    times = []
    for _ in range(25):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times[5:])[10]


def synchronized(run: Workload) -> Workload:
    """Return a workload of ten rounds with one synchronisation at the end, as rare as in training."""

    def run_ten() -> int:
        tokens = sum(run() for _ in range(10))
        torch.cuda.synchronize()
        return tokens

    return run_ten


def matmul_peak() -> float:
    """Return the operations per second of a large matrix product in bfloat16."""
    left, right = (torch.randn(8192, 8192, device=GPU, dtype=torch.bfloat16) for _ in range(2))
    return 2 * 8192**3 / median_ms(lambda: left @ right) * 1000


def measure_train() -> dict[str, Any]:
    """Measure training steps of all parameters of the small model, in bfloat16 with float32 master weights."""
    folder = export(make_model("small", FOLDER), "small", "transformers", FOLDER)
    parties = {
        "baicai": our_training(make_model("small", FOLDER).network.to(GPU), True, BATCH),
        "transformers": their_training(their_network(folder, torch.float32, "grouped_mm").to(GPU), True, BATCH),
    }
    row = print_row("train small", rates({name: synchronized(run) for name, run in parties.items()}, 5, 1))
    share = training_operations("small", BATCH[1]) * row["baicai"] / matmul_peak()
    return {"train": row, "train_peak_share": share, "train_vs_transformers": row["baicai"] / row["transformers"]}


def measure_experts() -> dict[str, Any]:
    """Measure an expert layer, forward and backward, against its three grouped products alone on sorted rows."""
    results: dict[str, Any] = {"experts_ms": {}}
    for name, (dim, hidden, experts, top_k) in EXPERT_SIZES.items():
        layer, products = expert_layer(dim, hidden, experts, top_k)
        row = print_row(f"experts {name}, ms", {"layer": median_ms(layer), "products": median_ms(products)})
        row["products_tflops"] = 18 * EXPERT_TOKENS * top_k * dim * hidden / row["products"] / 1e9
        results["experts_ms"][name] = row
        results[f"experts_vs_products_{name}"] = row["products"] / row["layer"]
    return results


def expert_layer(dim: int, hidden: int, experts: int, top_k: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return functions that run the layer, and its grouped products alone."""

    def randn(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
        return torch.randn(shape, device=GPU).mul(dim**-0.5).to(dtype).requires_grad_()

    logits_TGE = torch.randn(EXPERT_TOKENS, 1, experts, device=GPU)
    choice = choose_experts(logits_TGE, torch.zeros(1, experts, device=GPU), topk_group=1, top_k=top_k)
    gate, up, down = randn(experts, hidden, dim), randn(experts, hidden, dim), randn(experts, dim, hidden)
    h_TD = randn(EXPERT_TOKENS, dim, dtype=torch.float32)
    ids_N = choice.expert_ids_TK.flatten().sort().values
    ends_E = torch.searchsorted(ids_N, torch.arange(experts, device=GPU), right=True, out_int32=True)
    x_ND, x_NF = randn(len(ids_N), dim), randn(len(ids_N), hidden)
    grad_TD, grad_ND, grad_NF = (torch.randn_like(x) for x in (h_TD, x_ND, x_NF))

    def layer() -> None:
        out_TD = mix_grouped(h_TD, choice, (gate, up, down), some_absent=False)
        torch.autograd.grad(out_TD, (h_TD, gate, up, down), grad_TD)

    def products() -> None:
        outs = [F.grouped_mm(x_ND, weight.mT, offs=ends_E) for weight in (gate, up)]
        outs.append(F.grouped_mm(x_NF, down.mT, offs=ends_E))
        torch.autograd.grad(outs, (x_ND, x_NF, gate, up, down), (grad_NF, grad_NF, grad_ND))

    return layer, products


def measure_decode() -> dict[str, Any]:
    """Measure decoding token by token, with CUDA graphs, without, and by transformers."""
    folder = export(make_model("small", FOLDER), "small", "transformers", FOLDER)
    network = stored_in(make_model("small", FOLDER).network, "bf16").to(GPU)
    vocab, leaves = network.config.vocab_size, list(network.leaves)
    parties = {
        "recorded": decoding(CudaGraphDecoder(network, leaves), vocab),
        "plain": decoding(Decoder(network, leaves), vocab),
        "transformers": their_decode(their_network(folder, torch.bfloat16, "grouped_mm").eval().to(GPU)),
    }
    row = print_row("decode small", rates(parties, 3))
    return {
        "decode": row,
        "decode_vs_transformers": row["recorded"] / row["transformers"],
        "decode_vs_plain": row["recorded"] / row["plain"],
    }


def main() -> None:
    """Run all measurements and write the results."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    results: dict[str, Any] = {
        "commit": commit.stdout.strip(),
        "machine": f"{torch.cuda.get_device_name()}, torch {torch.__version__}, Python {platform.python_version()}",
        "peak_tflops": matmul_peak() / 1e12,
    }
    for measure in (measure_experts, measure_train, measure_decode):
        results |= measure()
    for key, value in results.items():
        if isinstance(value, float):
            results[key] = round(value, 4)
            print(f"{key} {value:.3f}")
    write_json(Path(os.environ.get("OUT", RESULTS.parent)) / RESULTS.name, results)


if __name__ == "__main__":
    main()
