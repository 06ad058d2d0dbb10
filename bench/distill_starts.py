"""Benchmark of initialisations: does a student need less text if it starts from its teacher's leaf? For `distill.py`.

A leaf is grown on the shipped trunk. Three networks of the same shape are trained on the same batches without a
teacher: the trunk with the leaf converted to dense neurons, the trunk with as many new neurons, and random weights.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from baicai.artefact import atomic_folder, read_json, value_hash, write_json
from baicai.config import recipe, to_table
from baicai.data.batches import Batch, Batches
from baicai.data.sources import SourceConfig, open_source
from baicai.distillation.student.slicing import leaves_to_dense
from baicai.evaluation.bits_per_byte import bits_per_byte, held_out_windows, token_nats
from baicai.leaves.grow import GrowRecipe, grow_leaf
from baicai.leaves.model import SparseModel, open_model
from baicai.model.config import LeafConfig
from baicai.model.transformer import Transformer
from baicai.run import Run, run_stage
from baicai.training.config import TrainConfig
from baicai.training.job_pool import Job, run_jobs
from baicai.training.loop import mixed_precision, select_device, train
from baicai.training.losses import linear_cross_entropy

CORPUS = Path(__file__).parents[2] / "shared" / "corpus"
STARTER = Path(__file__).parents[1] / "src" / "baicai" / "starter"
LEAF = LeafConfig(first_layer=-1, num_experts=8, expert_dim=64, top_k=4)
RATES = {"dense": 5e-4, "trunk": 5e-4, "fresh": 2e-3}
"""Learning rate of each initialisation: pretrained weights forget at the rate that suits random ones."""
DOMAIN, LEAF_TOKENS, TOKENS = "law-de", 300_000, 100_000
SAMPLE_TOKENS, HELD_OUT_TOKENS, EVALUATE_STEPS = 8192, 4096, 4


@recipe
class StartRecipe:
    """Training of one student from one of the initialisations."""

    start: Literal["dense", "fresh", "trunk"]
    trunk: str
    leaf: str
    own: SourceConfig
    held_out: SourceConfig
    train: TrainConfig


def compare_starts(work: Path, seeds: Sequence[int], scale: float) -> dict[str, Any]:
    """Measure how much less text each initialisation needs than another, the minimum over the seeds, and all curves.

    `leaf_to_dense_token_ratio` is the number of tokens of the fresh start, divided by the number after which the dense
    start is as good on held-out text as the fresh one in the end. If it is so from the start, the interval between two
    evaluations is counted, and the true ratio is larger.
    """
    own, held_out = (
        SourceConfig(path=str(CORPUS / DOMAIN / f"{split}.jsonl.zst"), domain=DOMAIN) for split in ("train", "valid")
    )
    growing = TrainConfig(tokens=round(LEAF_TOKENS * scale), batch_sequences=8, learning_rate=4e-3)
    grow = GrowRecipe(name=DOMAIN, trunk=str(STARTER), data=[own], leaf=LEAF, train=growing)
    leaf = artefact_path(work, "leaf", grow)
    run_stage(grow_leaf, grow, leaf)
    jobs = {}
    for start, rate in RATES.items():
        for seed in seeds:
            train = TrainConfig(tokens=round(TOKENS * scale), batch_sequences=8, learning_rate=rate, seed=seed)
            config = StartRecipe(
                start=start, trunk=str(STARTER), leaf=str(leaf), own=own, held_out=held_out, train=train
            )
            jobs[start, seed] = Job(train_student, config, artefact_path(work, start, config), train.steps)
    run_jobs("starts", list(jobs.values()), workers=2)
    curves = {key: read_json(job.out / "curve.json")["held_out"] for key, job in jobs.items()}
    ratios = [token_ratios({start: curves[start, seed] for start in RATES}) for seed in seeds]
    lowest = {
        key: min((ratio for seed_ratios in ratios if (ratio := seed_ratios[key]) is not None), default=None)
        for key in ratios[0]
    }
    return {**lowest, "starts": {f"{start} {seed}": curve for (start, seed), curve in curves.items()}}


def artefact_path(work: Path, name: str, config: object) -> Path:
    """Return the folder for the artefact of a recipe."""
    return work / f"{name}-{value_hash(to_table(config))[:12]}"


def train_student(config: StartRecipe, run: Run) -> None:
    """Train a student on real text alone and write its quality on held-out text over the course of training."""
    teacher = open_model(config.trunk, join=[config.leaf])
    own, held_out = (open_source(source, teacher.tokenizer) for source in (config.own, config.held_out))
    train_config, device = config.train, select_device(config.train.device)
    model = initialize(config.start, teacher, list(held_out_windows(own, 256, SAMPLE_TOKENS)), train_config.seed).to(
        device
    )
    sizes = {"batch_sequences": train_config.batch_sequences, "sequence_tokens": train_config.sequence_tokens}
    batches = Batches([own], [1.0], **sizes, seed=train_config.seed)

    def score(step: int) -> None:
        windows = held_out_windows(held_out, train_config.sequence_tokens, HELD_OUT_TOKENS)
        bits = bits_per_byte(token_nats(model), windows, teacher.tokenizer).bits_per_byte
        run.log({"step": step, "tokens": step * train_config.step_tokens, "held_out": bits})

    def loss_of(batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        step = batches.state()["drawn"][0] // train_config.batch_sequences - 1
        if step % EVALUATE_STEPS == 0:
            score(step)
        tokens_BS = batch.tokens_BS1.to(device)
        with mixed_precision(train_config, device):
            hidden_TD = model.hidden(tokens_BS[:, :-1]).flatten(0, 1)
            return linear_cross_entropy(hidden_TD, model.head_weight(), tokens_BS[:, 1:].flatten()), {}

    train(f"{config.start} start", dict(model.named_parameters()), batches, loss_of, train_config, run)
    score(train_config.steps)
    curve = [
        {"tokens": line["tokens"], "bits_per_byte": line["held_out"]} for line in run.metrics() if "held_out" in line
    ]
    with atomic_folder(run.out) as part:
        write_json(part / "curve.json", {"parameters": sum(p.numel() for p in model.parameters()), "held_out": curve})


def initialize(start: str, teacher: SparseModel, sample: list[torch.Tensor], seed: int) -> Transformer:
    """Return a network with the trunk's sizes and a feed-forward widened by the leaf's experts."""
    width = teacher.network.config.ffn_dim
    dense = leaves_to_dense(teacher.network, list(teacher.leaves), sample, width + LEAF.num_experts * LEAF.expert_dim)
    fresh = Transformer(dense.config)
    fresh.initialize(seed)
    if start == "trunk":
        with torch.no_grad():
            for block, drawn in zip(dense.layers, fresh.layers, strict=True):
                block.shared.gate.weight[width:] = drawn.shared.gate.weight[width:]
                block.shared.up.weight[width:] = drawn.shared.up.weight[width:]
                block.shared.down.weight[:, width:] = 0
    return fresh if start == "fresh" else dense


def token_ratios(curves: dict[str, list[dict[str, float]]]) -> dict[str, float | None]:
    """Compute how much less text one start needs to reach another's final quality; None if it never does."""

    def ratio(start: str, reference: str) -> float | None:
        goal = curves[reference][-1]
        reached = [point["tokens"] for point in curves[start] if point["bits_per_byte"] <= goal["bits_per_byte"]]
        return goal["tokens"] / max(curves[start][1]["tokens"], reached[0]) if reached else None

    return {
        "leaf_to_dense_token_ratio": ratio("dense", "fresh"),
        "trunk_token_ratio": ratio("trunk", "fresh"),
        "leaf_to_dense_over_trunk_token_ratio": ratio("dense", "trunk"),
    }
