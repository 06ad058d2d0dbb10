"""`baicai evaluate`: how good a model is on each domain, with which leaves, and where its tokens go."""

import dataclasses
from pathlib import Path
from typing import Any

import torch

from baicai.artefact import atomic_folder, write_atomic
from baicai.config import Count, recipe
from baicai.data.shards import TokenShards
from baicai.data.sources import Sources, open_sources
from baicai.evaluation.bits_per_byte import bits_per_byte, held_out_windows, token_nats
from baicai.evaluation.plots import loss_curves, quality_dots, routing_heatmap
from baicai.evaluation.report import write_report
from baicai.evaluation.results import EvaluationResults
from baicai.evaluation.routing import routing_share
from baicai.evaluation.tables import markdown_table
from baicai.leaves.model import SparseModel, open_model
from baicai.model.cost import count_cost
from baicai.run import Progress, Run


@recipe
class EvaluateRecipe:
    """Measure a model on held-out text."""

    model: str
    data: Sources
    """Held-out text; a domain with a leaf's name is that leaf's own."""
    sequence_tokens: Count = 256
    max_tokens: Count = 50_000
    """Of each domain."""


def evaluate_model(config: EvaluateRecipe, run: Run) -> None:
    """Write results.json, the table, the pictures and report.html to the run's artefact folder."""
    write_results(run.out, measure(open_model(config.model), config, run))


def measure(model: SparseModel, config: EvaluateRecipe, run: Run) -> EvaluationResults:
    """Measure the model; scores that an earlier attempt of this run has logged are reused.

    Raises: ArtefactError if a score is not finite.
    """
    domains = open_sources(config.data, model.tokenizer)
    columns = ["trunk", *sorted(model.leaves), *(["joined"] if model.leaves else [])]
    known = {(line["domain"], line["column"]): line for line in run.metrics() if _still_holds(line, model, domains)}
    scores: dict[str, dict[str, float | None]] = {}
    with Progress("evaluate", len(domains) * len(columns)) as progress:
        for domain, shards in domains.items():
            for column in columns:
                if (domain, column) not in known:
                    origin = {"model": model.hash, "text": shards.hash, "domain": domain, "column": column}
                    line = origin | _score(model, config, shards, column)
                    run.log(line)
                    known[domain, column] = line
                progress.update(
                    len(scores) * len(columns) + columns.index(column) + 1, {"domain": domain, "of": column}
                )
            scores[domain] = {column: known[domain, column]["bits_per_byte"] for column in columns}
            scores[domain]["oracle"] = scores[domain].get(domain)
    names = list(model.network.leaves)
    first = model.network.first_leaf_layer
    values = {
        "format": 1,
        "model": model.hash,
        "trunk": model.trunk.hash,
        "leaves": {name: leaf.hash for name, leaf in model.leaves.items()},
        "columns": [*columns, "oracle"],
        "bits_per_byte": scores,
        "bytes": {domain: known[domain, "trunk"]["bytes"] for domain in domains},
        "routing": {
            "leaves": names,
            "layers": list(range(first, model.network.config.num_layers)),
            "share": {
                domain: routing_share(model.network, _windows(config, shards)) for domain, shards in domains.items()
            }
            if names
            else {},
        },
        "curves": {"trunk": model.trunk.card["curve"], **{n: leaf.card["curve"] for n, leaf in model.leaves.items()}},
        "cost": dataclasses.asdict(count_cost(model.network)),
        "summary": summarise(scores),
        "samples": [],
    }
    return EvaluationResults.parse(values)


def _still_holds(line: dict[str, Any], model: SparseModel, domains: dict[str, TokenShards]) -> bool:
    """Return whether a line was measured with this model on this text: a path may hold another by now."""
    shards = domains.get(line["domain"])
    return shards is not None and line.get("model") == model.hash and line.get("text") == shards.hash


def summarise(scores: dict[str, dict[str, float | None]]) -> dict[str, float | None]:
    """Return retention (mean, worst) over domains with a leaf, and joined / trunk over those without."""
    retention, off_domain = [], []
    for row in scores.values():
        trunk, joined, oracle = row["trunk"], row.get("joined"), row["oracle"]
        assert trunk is not None
        if joined is None:
            continue
        if oracle is None:
            off_domain.append(joined / trunk)
        elif oracle < trunk:
            retention.append((trunk - joined) / (trunk - oracle))
    return {
        "retention_mean": sum(retention) / len(retention) if retention else None,
        "retention_worst": min(retention, default=None),
        "off_domain_ratio": sum(off_domain) / len(off_domain) if off_domain else None,
    }


def write_results(out: Path, results: EvaluationResults) -> None:
    """Write the results as JSON, Markdown, PNG and one HTML page."""
    with atomic_folder(out) as part:
        results.write(part / "results.json")
        write_atomic(part / "table.md", markdown_table(results).encode())
        write_atomic(part / "quality.png", quality_dots(results))
        if results.routing.leaves:
            write_atomic(part / "routing.png", routing_heatmap(results))
        write_atomic(part / "curves.png", loss_curves(results))
        write_report(results, part / "report.html")


def _windows(config: EvaluateRecipe, shards: TokenShards) -> Any:
    return held_out_windows(shards, config.sequence_tokens, config.max_tokens)


def _score(model: SparseModel, config: EvaluateRecipe, shards: TokenShards, column: str) -> dict[str, float]:
    on_G: torch.Tensor | None = None
    if column != "joined":
        on_G = model.network.leaf_mask([] if column == "trunk" else [column])
    quality = bits_per_byte(token_nats(model.network, on_G), _windows(config, shards), model.tokenizer)
    return {"bits_per_byte": quality.bits_per_byte, "bytes": quality.num_bytes}
