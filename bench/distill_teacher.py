"""Benchmark of a teacher's cost in training: memory of the losses, size of the cache, and time to read it.

    python bench/distill_teacher.py

The losses are measured with a vocabulary of 32k, each in a process of its own, and compared with PyTorch's functions on
the logits of all tokens. The cache is that of the starter on part of its own public sample, for a student of a quarter
of its size. The benchmark takes a minute on two cores. The last line of the output is JSON.
"""

import argparse
import functools
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from baicai.cli.quickstart import STARTER
from baicai.data.batches import Batches
from baicai.data.shards import TokenShards, write_tokens
from baicai.distillation.teacher.cache import CacheConfig, TeacherCache, read_soft_targets, write_cache
from baicai.distillation.teacher.models import open_teacher
from baicai.distillation.training.losses import forward_kl, linear_divergence, linear_sampled_loss
from baicai.leaves.trunk import open_trunk
from baicai.model.config import GQAConfig, ModelConfig
from baicai.model.transformer import Transformer
from baicai.training.config import TrainConfig
from baicai.training.loop import mixed_precision
from baicai.training.losses import linear_cross_entropy
from baicai.training.optimizer import make_optimizers
from speed import print_row, rates
from speed_parties import Workload

TOKENS, WIDTH, VOCAB, SAMPLES = 4096, 256, 32_768, 12
CORPUS_TOKENS = 256 * 256
TRAIN = TrainConfig(tokens=1)
STUDENT = ModelConfig(
    vocab_size=8192,
    dim=80,
    num_layers=4,
    ffn_dim=192,
    max_tokens=256,
    attention=GQAConfig(num_heads=4, num_kv_heads=2, head_dim=20),
)
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--measure", choices=LOSSES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(2)
    if options.measure:
        print(peak_bytes(LOSSES[options.measure]))
        return
    print(json.dumps({**measure_memory(), **measure_cache()}))


def measure_memory() -> dict[str, float]:
    """Return the peak memory of the linear losses relative to the materialised ones; the worse signal counts."""
    peak = {}
    for name in LOSSES:
        command = [sys.executable, __file__, "--measure", name]
        peak[name] = int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        print(f"loss {name:22} {peak[name] / 2**20:8.0f} MiB", flush=True)
    return {"loss_memory_ratio": max(peak[f"{kind} linear"] / peak[f"{kind} materialised"] for kind in KINDS)}


def peak_bytes(loss_of: Callable[..., Tensor]) -> int:
    """Return the peak growth of memory in bytes during a forward and a backward pass."""
    hidden_TD, teacher_TD = torch.randn(2, TOKENS, WIDTH).unbind()
    head_VD, teacher_VD = (torch.randn(2, VOCAB, WIDTH) / WIDTH**0.5).unbind()
    inputs = (hidden_TD.requires_grad_(), head_VD.requires_grad_(), torch.randint(VOCAB, (TOKENS,)))
    teacher = (torch.randint(VOCAB, (TOKENS, SAMPLES)), teacher_TD, teacher_VD, torch.rand(TOKENS))
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = memory("VmRSS")
    loss_of(*inputs, *teacher).backward()  # type: ignore[no-untyped-call]
    return memory("VmHWM") - before


def memory(field: str) -> int:
    """Return a memory field of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


Loss = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def online_materialised(h: Tensor, w: Tensor, y: Tensor, _: Tensor, th: Tensor, tw: Tensor, share: Tensor) -> Tensor:
    logits, teacher = h @ w.T, th @ tw.T
    nats = F.kl_div(logits.log_softmax(-1), teacher.log_softmax(-1), reduction="none", log_target=True).sum(-1)
    return (share * nats + (1 - share) * F.cross_entropy(logits, y, reduction="none")).mean()


def online_linear(h: Tensor, w: Tensor, y: Tensor, _: Tensor, th: Tensor, tw: Tensor, share: Tensor) -> Tensor:
    return linear_divergence(h, w, y, th, functools.partial(F.linear, weight=tw), share, forward_kl)


def sampled_materialised(h: Tensor, w: Tensor, y: Tensor, s: Tensor, th: Tensor, tw: Tensor, share: Tensor) -> Tensor:
    logs = (h @ w.T).log_softmax(-1)
    return -(share * logs.gather(1, s).mean(1) + (1 - share) * logs.gather(1, y[:, None])[:, 0]).mean()


def sampled_linear(h: Tensor, w: Tensor, y: Tensor, s: Tensor, th: Tensor, tw: Tensor, share: Tensor) -> Tensor:
    return linear_sampled_loss(h, w, y, s, share)


KINDS = ("online", "sampled")
LOSSES: dict[str, Loss] = {
    "online materialised": online_materialised,
    "online linear": online_linear,
    "sampled materialised": sampled_materialised,
    "sampled linear": sampled_linear,
}


def measure_cache() -> dict[str, float]:
    """Alternate training steps on real text alone with steps that read the cache, and compare their speed."""
    trunk = open_trunk(STARTER)
    with tempfile.TemporaryDirectory(prefix="baicai-bench-") as name:
        sample = trunk.replay().read(0, CORPUS_TOKENS + 1)
        shards = write_tokens(sample, trunk.tokenizer, Path(name) / "corpus", source="starter", licence="CC0-1.0")
        teacher = open_teacher(STARTER, trunk.tokenizer, CPU)
        cache = write_cache(Path(name) / "cache", teacher, shards, CacheConfig(samples=SAMPLES))
        size = sum(file.stat().st_size for file in cache.folder.iterdir())
        parties = {"text alone": training(shards, None), "with a cache": training(shards, cache)}
        speed = print_row("train", rates(parties, rounds=25, warm=3))
    return {
        "cache_bytes_per_token": size / CORPUS_TOKENS,
        "cache_slowdown": speed["text alone"] / speed["with a cache"] - 1,
    }


def training(shards: TokenShards, cache: TeacherCache | None) -> Workload:
    """Return a function that runs one training step and returns the number of tokens."""
    model = Transformer(STUDENT)
    model.initialize(0)
    batches = Batches([shards], [1], batch_sequences=16, sequence_tokens=256, seed=0)
    optimizers = make_optimizers(dict(model.named_parameters()), learning_rate=2e-3, weight_decay=0.1)

    def step() -> int:
        batch = batches.next()
        targets_T = batch.tokens_BS1[:, 1:].flatten()
        with mixed_precision(TRAIN, CPU):
            hidden_TD = model.hidden(batch.tokens_BS1[:, :-1]).flatten(0, 1)
            if cache is None:
                loss = linear_cross_entropy(hidden_TD, model.head_weight(), targets_T)
            else:
                samples_TN = read_soft_targets([cache], batch).samples_BSN.flatten(0, 1)
                share_T = torch.full((len(targets_T),), 0.7)
                loss = linear_sampled_loss(hidden_TD, model.head_weight(), targets_T, samples_TN, share_T)
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return len(targets_T)

    return step


if __name__ == "__main__":
    main()
