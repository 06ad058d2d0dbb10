"""Runs, releases and training data that the scripted API serves."""

import time
from collections.abc import Mapping
from typing import Any

RELEASE = "9f3c21aa" * 8


def training_data(domain: str) -> dict[str, Any]:
    """Return a data set of a card, pulled from a release."""
    data = {
        "domain": domain,
        "manifest": "5bd0" * 16,
        "tokens": 240_000,
        "bytes": 900_000,
        "licences": {"CC0-1.0": 80},
    }
    return data | {"release": RELEASE, "slice": f"domain={domain}"}


def runs() -> dict[str, dict[str, Any]]:
    """Return a running training run, a stopped one and a finished evaluation."""
    common = {"object": "run", "created": int(time.time()) - 900, "updated": int(time.time()) - 5, "commit": None}
    common |= {"versions": {}, "routing": None, "summary": None, "bits_per_byte": {}, "steps": None, "metrics": {}}
    steps = [*range(10, 510, 10)]
    metrics = {
        "step": steps,
        "loss": [2 + 40 / (step + 9) for step in steps],
        "next_token": [1.9 + 40 / (step + 9) for step in steps],
        "learning_rate": [0.002 * (1 - step / 1000) for step in steps],
        "tokens_per_second": [5000 + step % 70 for step in steps],
    }
    trunk = {
        "id": "trunk",
        "stage": "trunk",
        "state": "running",
        "steps": 1000,
        "recipe": {"seed": 1},
        "metrics": metrics,
    }
    leaf = {"id": "leaves/law", "stage": "grow", "state": "stopped", "steps": 1000, "metrics": metrics, "recipe": {}}
    leaf["bits_per_byte"] = {"public": {"trunk": 2.1, "leaf": 2.11}, "law": {"trunk": 2.7, "leaf": 1.9}}
    shares = {"law": [[0.8, 0.1], [0.6, 0.1]], "poetry": [[0.1, 0.5], [0.2, 0.9]], "news": [[0.02, 0.0], [0.04, 0.1]]}
    quality = {
        "law": {"trunk": 2.7, "law": 1.9, "poetry": 2.75, "joined": 1.95, "oracle": 1.9},
        "news": {"trunk": 2.2, "law": 2.25, "poetry": 2.21, "joined": 2.2, "oracle": None},
    }
    report = {"id": "report", "stage": "evaluate", "state": "done", "bits_per_byte": quality, "recipe": {"model": "m"}}
    report |= {"routing": {"leaves": ["law", "poetry"], "layers": [2, 3], "share": shares}}
    report |= {"summary": {"retention_mean": 0.92, "retention_worst": 0.9, "off_domain_ratio": 1.0}}
    return {run["id"]: common | run for run in (trunk, leaf, report)}  # type: ignore[index, operator]


def append_log(run: dict[str, Any], step: int, loss: float) -> None:
    """Append one line to the log of a run."""
    values = {"step": step, "loss": loss, "next_token": loss, "learning_rate": 1e-3, "tokens_per_second": 5000}
    run["metrics"] = {name: [*column, values[name]] for name, column in run["metrics"].items()}


def run_summary(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry of a run in the list."""
    entry = {key: run[key] for key in ("id", "object", "stage", "state", "created", "updated", "steps")}
    return entry | {"last": {name: column[-1] for name, column in run["metrics"].items()}}


def run_after(run: Mapping[str, Any], step: int) -> dict[str, Any]:
    """Return a run with its metrics after a step."""
    cut = sum(logged <= step for logged in run["metrics"].get("step", ()))
    metrics = {name: column[cut:] for name, column in run["metrics"].items() if column[cut:]}
    return {**run, **run_summary(run), "metrics": metrics}


def holdings() -> list[dict[str, Any]]:
    """Return the contents of a release."""
    rows = [("law", "de", "CC0-1.0", "open", 9000), ("poetry", "zh", "unknown", "unknown", 1234)]
    names = ("domain", "language", "licence", "licence_class", "documents")
    return [dict(zip(names, row, strict=True)) | {"min_quality": 0.25, "max_quality": 0.95} for row in rows]


def releases() -> list[dict[str, Any]]:
    """Return two releases, one of them expired."""
    new = {
        "name": "corpus", "version": 3, "hash": RELEASE, "key": "ab" * 32, "created": "2026-11-01T00:00:00+00:00",
        "expires": "2999-01-01T00:00:00+00:00", "size_bytes": 12_345_678, "taken_down": 3, "documents": 10_234,
        "location": "/srv/the corpus", "domain": {"law": 9000, "poetry": 1234}, "language": {"de": 9000, "zh": 1234},
        "licence": {"CC0-1.0": 9000, "unknown": 1234},
    }  # fmt: skip
    old = {"name": "old", "hash": "77" * 32, "expires": "2020-01-01T00:00:00+00:00", "domain": {"art": 5}}
    return [new, new | old]
