"""Where training is compiled: many small operations become few, which a GPU of today waits for most of its time."""

import shutil
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

from baicai.training.distributed import world_size

P = ParamSpec("P")
R = TypeVar("R")


MIN_COMPILED_STEPS = 1000
"""Compiling takes a minute, which longer trainings win back."""


def compile_if_worthwhile(function: Callable[P, R], device: torch.device, steps: int) -> Callable[P, R]:
    """Return the function, compiled for fixed shapes, if one GPU trains alone for many steps; elsewhere itself.

    It needs a C compiler, and goes without if there is none.
    """
    if device.type != "cuda" or world_size() > 1 or steps < MIN_COMPILED_STEPS or not shutil.which("cc"):
        return function
    warnings.filterwarnings("ignore", message="TensorFloat32 tensor cores")  # routing is exact on purpose
    return torch.compile(function, dynamic=False)
