"""Output of bench/quality.py: tables, quality.json and plots."""

import platform
import subprocess
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from baicai.artefact import read_json, write_atomic, write_json
from baicai.evaluation.plots import quality_dots, routing_heatmap
from baicai.evaluation.results import EvaluationResults

PARTIES = (
    "trunk",
    "joined",
    "oracle leaf",
    "best single leaf",
    "classifier + one leaf",
    "output ensemble",
    "averaged leaves",
    "dense, pooled data",
    "unrestricted",
)
KEYS = (
    "retention_mean",
    "retention_worst",
    "off_domain_ratio",
    "mixed_ratio_ensemble",
    "mixed_ratio_average",
    "mixed_ratio_classifier",
    "gap_closed",
    "active_share_16",
)


def report(results: dict[str, Any], folder: Path, console: Console) -> None:
    """Print the tables, and write quality.json and the plots."""
    table = Table("bits per byte", *PARTIES, title=f"mean of {results['seeds']} seeds")
    for domain, row in results["bits_per_byte"].items():
        table.add_row(domain, *(f"{row[party]:.3f}" if party in row else "" for party in PARTIES))
    for name, key in (("parameters, M", "total"), ("active parameters, M", "active"), ("MFLOP per token", "flops")):
        table.add_row(name, *(f"{results['cost'][party][key] / 1e6:.2f}" for party in PARTIES))
    console.print(table)
    for key in KEYS:
        console.print(f"{key:24} {results[key]:.4f}")
    results["commit"] = _commit()
    results["machine"] = {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
    folder.mkdir(exist_ok=True)
    previous = read_json(folder / "quality.json") if (folder / "quality.json").exists() else {}
    measured_elsewhere = {key: previous[key] for key in ("quickstart_seconds",) if key in previous}
    write_json(folder / "quality.json", results | measured_elsewhere)
    evaluation = _as_evaluation(results)
    write_atomic(folder / "quality.png", quality_dots(evaluation))
    write_atomic(folder / "routing.png", routing_heatmap(evaluation))


def _commit() -> str:
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    return subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True).stdout.strip()


def _as_evaluation(results: dict[str, Any]) -> EvaluationResults:
    """Convert the benchmark's results to those that the package's own plots take."""
    bits_per_byte = {
        d: {"trunk": row["trunk"], "joined": row["joined"], "oracle": row.get("oracle leaf")}
        for d, row in results["bits_per_byte"].items()
    }
    shared = {key: results[key] for key in ("model", "trunk", "leaves", "routing")}
    summary = {key: results[key] for key in ("retention_mean", "retention_worst", "off_domain_ratio")}
    values = shared | {
        "format": 1,
        "columns": ["trunk", "joined", "oracle"],
        "bits_per_byte": bits_per_byte,
        "bytes": {},
        "curves": {},
        "cost": results["cost_joined"],
        "summary": summary,
        "samples": [],
    }
    return EvaluationResults.parse(values)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()
