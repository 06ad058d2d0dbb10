"""Benchmark of quality on real text: leaves grown alone and joined, against all fair baselines.

    python bench/quality.py --budget small      # under two hours on two cores
    python bench/quality.py --budget large      # one GPU

Reads `../shared/corpus`, works in `--work` (finished stages there are reused), prints the table and writes
`bench/results/quality.json` and plots. Nothing is trained after joining.
"""

import argparse
import dataclasses
import json
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from baicai.artefact import value_hash, write_atomic
from baicai.config import to_table
from baicai.data.document import Document
from baicai.data.readers import read_documents
from baicai.data.shards import TokenShards
from baicai.data.sources import SourceConfig, open_source
from baicai.evaluation.routing import routing_share
from baicai.leaves.grow import GrowRecipe, grow_leaf
from baicai.leaves.model import SparseModel
from baicai.leaves.train_tokenizer import TokenizerRecipe, make_tokenizer
from baicai.leaves.train_trunk import TrunkRecipe, train_trunk
from baicai.leaves.trunk import open_trunk
from baicai.model.config import GQAConfig, LeafConfig, ModelConfig
from baicai.model.cost import Cost, count_cost
from baicai.model.experts import Leaf
from baicai.model.transformer import Transformer
from baicai.run import run_stage
from baicai.training.config import TrainConfig
from baicai.training.job_pool import Job, run_jobs
from baselines import (
    Scores,
    average_leaves,
    classifier_and_one_leaf,
    ensemble,
    open_joined,
    score,
    train_dense,
    train_unrestricted,
)
from quality_report import PARTIES, report

CORPUS = Path(__file__).parents[2] / "shared" / "corpus"
RESULTS = Path(__file__).parent / "results"
LEAVES = ("law-de", "poetry-zh", "medicine-en", "math-en", "python-code", "c-code")
OFF_DOMAIN = ("fiction-en", "recipes-en")
"""Text that no leaf covers: fiction is in the trunk's training data and replay sample, recipes are unseen by all."""
SEEDS = (0, 1, 2)
console = Console(highlight=False, width=max(140, Console().width))


@dataclass(frozen=True)
class Budget:
    """Sizes and token counts of one comparison."""

    model: ModelConfig
    leaf: LeafConfig
    trunk: TrainConfig
    grow: TrainConfig
    eval_tokens: int
    workers: int


BUDGETS = {
    "small": Budget(
        model=ModelConfig(
            vocab_size=4096,
            dim=128,
            num_layers=6,
            ffn_dim=384,
            max_tokens=512,
            attention=GQAConfig(num_heads=4, num_kv_heads=2, head_dim=32, qk_norm=True),
        ),
        leaf=LeafConfig(first_layer=2, num_experts=16, expert_dim=96, top_k=4),
        trunk=TrainConfig(tokens=20_000_000, learning_rate=3e-3),
        grow=TrainConfig(tokens=500_000, batch_sequences=8, learning_rate=4e-3),
        eval_tokens=30_000,
        workers=2,
    ),
    "large": Budget(
        model=ModelConfig(
            vocab_size=8192,
            dim=512,
            num_layers=8,
            ffn_dim=1536,
            max_tokens=1024,
            attention=GQAConfig(num_heads=8, num_kv_heads=4, head_dim=64, qk_norm=True),
        ),
        leaf=LeafConfig(first_layer=3, num_experts=32, expert_dim=256, top_k=4),
        trunk=TrainConfig(tokens=200_000_000, batch_sequences=64, sequence_tokens=512, learning_rate=1e-3),
        grow=TrainConfig(tokens=8_000_000, batch_sequences=32, sequence_tokens=512, learning_rate=1e-3),
        eval_tokens=100_000,
        workers=1,
    ),
}


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", choices=BUDGETS, default="small")
    parser.add_argument("--work", type=Path, default=Path("out/quality"))
    arguments = parser.parse_args()
    start = time.monotonic()
    budget, work = BUDGETS[arguments.budget], arguments.work / arguments.budget
    texts = split_corpus(arguments.work)
    trunk = make_trunk(budget, work, texts)
    forests = [grow_all(budget, work, texts, trunk, seed) for seed in SEEDS]
    results = compare(budget, work, texts, trunk, forests)
    results |= {"budget": arguments.budget, "seconds_of_this_run": round(time.monotonic() - start)}
    report(results, RESULTS, console)


@dataclass(frozen=True)
class Texts:
    """Paths of each domain's text."""

    public: dict[str, str]
    """Training text of the trunk: fiction, and a tenth of each leaf's domain."""
    own: dict[str, str]
    """Text that only the owner of a leaf has."""
    held_out: dict[str, str]
    """Text that no model trains on; `mixed` alternates between domains inside a document."""


def split_corpus(work: Path) -> Texts:
    """Split the training text into public and private text, and build mixed documents from held-out text."""
    public = {"fiction-en": str(CORPUS / "fiction-en" / "train.jsonl.zst")}
    held_out = {domain: str(CORPUS / domain / "valid.jsonl.zst") for domain in (*LEAVES, *OFF_DOMAIN)}
    own = {}
    for domain in LEAVES:
        documents = list(read_documents(CORPUS / domain / "train.jsonl.zst"))
        public[domain] = _write(work / "texts" / f"{domain}.public.jsonl", documents[::10])
        own[domain] = _write(
            work / "texts" / f"{domain}.own.jsonl", [d for i, d in enumerate(documents) if i % 10 != 0]
        )
    held_out["mixed"] = _write(work / "texts" / "mixed.jsonl", list(_mixed(held_out)))
    return Texts(public, own, held_out)


def _mixed(held_out: dict[str, str]) -> Iterator[Document]:
    """Yield documents that change domain every 150 to 600 characters."""
    rng = random.Random(0)
    pools = {domain: "\n\n".join(d.text for d in read_documents(held_out[domain])) for domain in LEAVES}
    for number in range(150):
        parts = []
        for domain in rng.sample(LEAVES, 3) * 2:
            start = rng.randrange(len(pools[domain]) - 600)
            parts.append(pools[domain][start : start + rng.randint(150, 600)])
        yield Document(f"mixed-{number}", "\n\n".join(parts), "mixed", "mixed")


def _write(path: Path, documents: list[Document]) -> str:
    lines = [
        json.dumps({"id": d.id, "text": d.text, "source": d.source, "license": d.licence}, ensure_ascii=False)
        for d in documents
    ]
    write_atomic(path, ("\n".join(lines) + "\n").encode())
    return str(path)


def make_trunk(budget: Budget, work: Path, texts: Texts) -> Path:
    """Train the trunk, unless it exists, and return its folder."""
    sources = [SourceConfig(domain=domain, path=path) for domain, path in texts.public.items()]
    tokenizer = TokenizerRecipe(data=sources, vocab_size=budget.model.vocab_size)
    vocabulary = work / f"tokenizer-{value_hash(to_table(tokenizer))[:12]}"
    run_stage(make_tokenizer, tokenizer, vocabulary)
    weighted = [dataclasses.replace(s, weight=2.0 if s.domain == "fiction-en" else 0.2) for s in sources]
    recipe = TrunkRecipe(tokenizer=str(vocabulary), data=weighted, model=budget.model, train=budget.trunk)
    out = work / f"trunk-{value_hash(to_table(recipe))[:12]}"
    run_stage(train_trunk, recipe, out)
    return out


def grow_all(budget: Budget, work: Path, texts: Texts, trunk: Path, seed: int) -> list[Path]:
    """Grow one leaf per domain, each on its own, and return their folders."""
    jobs = []
    for domain in LEAVES:
        train = dataclasses.replace(budget.grow, seed=seed)
        source = SourceConfig(domain=domain, path=texts.own[domain])
        recipe = GrowRecipe(name=domain, trunk=str(trunk), data=[source], leaf=budget.leaf, train=train)
        out = work / f"{domain}-{value_hash(to_table(recipe))[:12]}"
        jobs.append(Job(grow_leaf, recipe, out, train.steps))
    run_jobs(f"leaves, seed {seed}", jobs, budget.workers)
    return [job.out for job in jobs]


def compare(budget: Budget, work: Path, texts: Texts, trunk: Path, forests: list[list[Path]]) -> dict[str, Any]:
    """Measure all parties and return the results."""
    opened = open_trunk(trunk)
    sets = {d: open_source(SourceConfig(domain=d, path=p), opened.tokenizer) for d, p in texts.held_out.items()}
    own = {d: open_source(SourceConfig(domain=d, path=p), opened.tokenizer) for d, p in texts.own.items()}
    own_public = {"public": opened.replay(), **own}
    pooled = {
        "dense, pooled data": train_dense(budget, work, trunk, own),
        "unrestricted": train_unrestricted(budget, work, trunk, own),
    }
    seeds = []
    for number, paths in enumerate(forests):
        model = open_joined(trunk, paths)
        rows = _one_seed(model, score(model, sets, budget.eval_tokens), own_public, sets, budget, trunk, paths)
        seeds.append(rows)
        joined = statistics.mean(rows[d]["joined"] for d in LEAVES)
        console.print(f"seed {number}: {joined:.3f} bits per byte, joined, averaged over {len(LEAVES)} domains")
    free = {
        party: {
            d: scores.mean("joined") for d, scores in score(model, sets, budget.eval_tokens, joined_only=True).items()
        }
        for party, model in pooled.items()
    }
    return _summary(budget, seeds, free) | _identity(budget, open_joined(trunk, forests[0]), sets)


def _one_seed(
    model: SparseModel,
    scores: dict[str, Scores],
    own: dict[str, TokenShards],
    sets: dict[str, TokenShards],
    budget: Budget,
    trunk: Path,
    paths: list[Path],
) -> dict[str, dict[str, float]]:
    """Return bits per byte by set and party."""
    averaged = average_leaves(trunk, paths)
    rows = {}
    for domain, domain_scores in scores.items():
        row = {party: domain_scores.mean(party) for party in domain_scores.nats}
        row["best single leaf"] = min(row[name] for name in model.leaves)
        row["classifier + one leaf"] = classifier_and_one_leaf(domain_scores, own, model.tokenizer)
        row["output ensemble"] = ensemble(domain_scores)
        row["averaged leaves"] = score(averaged, {domain: sets[domain]}, budget.eval_tokens, joined_only=True)[
            domain
        ].mean("joined")
        if domain in model.leaves:
            row["oracle leaf"] = row[domain]
        rows[domain] = row
    return rows


def _summary(
    budget: Budget, seeds: list[dict[str, dict[str, float]]], pooled: dict[str, dict[str, float]]
) -> dict[str, Any]:
    table = {
        domain: {party: statistics.mean(seed[domain][party] for seed in seeds) for party in row}
        | {party: scores[domain] for party, scores in pooled.items()}
        for domain, row in seeds[0].items()
    }
    retention = {
        d: [(s[d]["trunk"] - s[d]["joined"]) / (s[d]["trunk"] - s[d]["oracle leaf"]) for s in seeds] for d in LEAVES
    }
    gap = {d: (table[d]["trunk"] - table[d]["joined"]) / (table[d]["trunk"] - table[d]["unrestricted"]) for d in LEAVES}
    means = [statistics.mean(retention[d][seed] for d in LEAVES) for seed in range(len(seeds))]
    mixed = table["mixed"]
    return {
        "retention_mean": statistics.mean(means),
        "retention_mean_standard_error": statistics.stdev(means) / len(means) ** 0.5,
        "retention_worst": min(statistics.mean(values) for values in retention.values()),
        "off_domain_ratio": statistics.mean(table[d]["joined"] / table[d]["trunk"] for d in OFF_DOMAIN),
        "mixed_ratio_ensemble": mixed["joined"] / mixed["output ensemble"],
        "mixed_ratio_average": mixed["joined"] / mixed["averaged leaves"],
        "mixed_ratio_classifier": mixed["joined"] / mixed["classifier + one leaf"],
        "gap_closed": statistics.mean(gap.values()),
        "active_share_16": _cost(budget, budget.leaf, 16).active_share,
        "retention": {d: statistics.mean(values) for d, values in retention.items()},
        "gap": gap,
        "bits_per_byte": table,
        "cost": _costs(budget),
        "cost_joined": dataclasses.asdict(_cost(budget, budget.leaf, len(LEAVES))),
        "seeds": len(seeds),
    }


def _costs(budget: Budget) -> dict[str, dict[str, int]]:
    """Return each party's total and active parameters and FLOPs per token."""
    trunk, one_leaf, all_leaves = (_cost(budget, budget.leaf, number) for number in (0, 1, len(LEAVES)))
    dense = _cost(budget, dataclasses.replace(budget.leaf, num_experts=budget.leaf.top_k), 1)
    by_party = dict.fromkeys(PARTIES, one_leaf) | {"trunk": trunk, "joined": all_leaves, "unrestricted": all_leaves}
    by_party["dense, pooled data"] = dense
    costs = {
        party: {"total": cost.total_parameters, "active": cost.active_parameters, "flops": cost.flops_per_token}
        for party, cost in by_party.items()
    }
    costs["output ensemble"] = {
        "total": all_leaves.total_parameters,
        "active": all_leaves.total_parameters,
        "flops": trunk.flops_per_token + len(LEAVES) * one_leaf.flops_per_token,
    }
    return costs


def _cost(budget: Budget, leaf: LeafConfig, leaves: int) -> Cost:
    """Return the cost of a model with `leaves` leaves."""
    model = Transformer(budget.model)
    for number in range(leaves):
        model.join(f"leaf-{number}", Leaf(budget.model, leaf))
    return count_cost(model)


def _identity(budget: Budget, model: SparseModel, sets: dict[str, TokenShards]) -> dict[str, Any]:
    """Return hashes and routing shares of the first seed's model."""
    return {
        "model": model.hash,
        "trunk": model.trunk.hash,
        "leaves": {name: leaf.hash for name, leaf in model.leaves.items()},
        "routing": {
            "leaves": list(model.network.leaves),
            "layers": list(range(budget.leaf.first_layer, budget.model.num_layers)),
            "share": {d: routing_share(model.network, iter(_first_windows(sets[d]))) for d in sets},
        },
    }


def _first_windows(shards: TokenShards) -> list[torch.Tensor]:
    return [torch.stack([torch.from_numpy(shards.window(i, 256)) for i in range(min(32, shards.num_windows(256)))])]


if __name__ == "__main__":
    main()
