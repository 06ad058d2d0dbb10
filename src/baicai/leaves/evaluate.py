"""`baicai evaluate`: bits per byte of a model on each domain, by leaf, and the routing of its tokens."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

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
from baicai.run import LogLine, Progress, Run


@recipe
class EvaluateRecipe:
    """Recipe of `baicai evaluate`: measure a model on held-out text."""

    model: str
    """Path or hash."""
    data: Sources
    """Held-out text. A domain with the name of a leaf is that leaf's own."""
    sequence_tokens: Count = 256
    max_tokens: Count = 50_000
    """Tokens to measure on, per domain."""


def evaluate_model(config: EvaluateRecipe, run: Run) -> None:
    """Measure a model and write results.json, a table, plots and report.html to the run's artefact folder.

    Example:
        recipe = EvaluateRecipe(model="out/model", data=[SourceConfig(path="law-test.jsonl", domain="law")])
        run_stage(evaluate_model, recipe, Path("out/report"))

    Args:
        config: the model and the held-out texts.
        run: the run that makes the report; see `run_stage`.

    Raises: ArtefactError if the model is damaged or a score is not finite; DataError if a text cannot be read.
    """
    write_results(run.out, measure_model(open_model(config.model), config, run))


def measure_model(model: SparseModel, config: EvaluateRecipe, run: Run) -> EvaluationResults:
    """Measure a model, reusing the scores that an earlier attempt of this run has logged.

    Raises: ArtefactError if a score is not finite.
    """
    domains = open_sources(config.data, model.tokenizer)
    columns = ["trunk", *sorted(model.leaves), *(["joined"] if model.leaves else [])]
    logged = {(line["domain"], line["column"]): line for line in run.metrics() if _is_valid(line, model, domains)}
    scores: dict[str, dict[str, float | None]] = {}
    with Progress("evaluate", len(domains) * len(columns)) as progress:
        for domain, shards in domains.items():
            for column in columns:
                if (domain, column) not in logged:
                    origin = {"model": model.hash, "text": shards.hash, "domain": domain, "column": column}
                    line = origin | _score(model, config, shards, column)
                    run.log(line)
                    logged[domain, column] = line
                step = len(scores) * len(columns) + columns.index(column) + 1
                progress.update(step, {"domain": domain, "of": column})
            scores[domain] = {column: logged[domain, column]["bits_per_byte"] for column in columns}
            scores[domain]["oracle"] = scores[domain].get(domain)
    names = list(model.network.leaves)
    windows = {domain: _windows(config, shards) for domain, shards in (domains.items() if names else ())}
    values = {
        "format": 1,
        "model": model.hash,
        "trunk": model.trunk.hash,
        "leaves": {name: leaf.hash for name, leaf in model.leaves.items()},
        "columns": [*columns, "oracle"],
        "bits_per_byte": scores,
        "bytes": {domain: logged[domain, "trunk"]["bytes"] for domain in domains},
        "routing": {
            "leaves": names,
            "layers": list(range(model.network.first_leaf_layer, model.network.config.num_layers)),
            "share": {domain: routing_share(model.network, batches) for domain, batches in windows.items()},
        },
        "curves": {"trunk": model.trunk.card["curve"], **{n: leaf.card["curve"] for n, leaf in model.leaves.items()}},
        "cost": dataclasses.asdict(count_cost(model.network)),
        "summary": summarise(scores),
        "samples": [],
    }
    return EvaluationResults.parse(values)


def _is_valid(line: LogLine, model: SparseModel, domains: dict[str, TokenShards]) -> bool:
    """Return whether a line was measured with this model on this text; either may have changed since."""
    shards = domains.get(line["domain"])
    return shards is not None and line.get("model") == model.hash and line.get("text") == shards.hash


def summarise(scores: dict[str, dict[str, float | None]]) -> dict[str, float | None]:
    """Summarise bits per byte by domain and column.

    Retention is the share of a leaf's gain over the trunk that is left in the joined model: mean and worst over the
    domains with a leaf. The off-domain ratio is joined / trunk, mean over the domains without one.
    """
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


def _windows(config: EvaluateRecipe, shards: TokenShards) -> Iterator[torch.Tensor]:
    return held_out_windows(shards, config.sequence_tokens, config.max_tokens)


def _score(model: SparseModel, config: EvaluateRecipe, shards: TokenShards, column: str) -> dict[str, float]:
    on_G: torch.Tensor | None = None
    if column != "joined":
        on_G = model.network.leaf_mask([] if column == "trunk" else [column])
    quality = bits_per_byte(token_nats(model.network, on_G), _windows(config, shards), model.tokenizer)
    return {"bits_per_byte": quality.bits_per_byte, "bytes": quality.num_bytes}
