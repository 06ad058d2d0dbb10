"""Compilation of training steps: it fuses many small operations, whose launches a modern GPU mostly waits for."""

import shutil
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

from baicai.training.distributed import world_size

P = ParamSpec("P")
R = TypeVar("R")

MIN_COMPILED_STEPS = 1000
"""Compiling takes a minute, which only longer trainings win back."""


def compile_if_worthwhile(function: Callable[P, R], device: torch.device, steps: int) -> Callable[P, R]:
    """Compile a function for fixed shapes if a single GPU trains for many steps; else return it unchanged.

    Compilation needs a C compiler. Without one the function is returned unchanged.
    """
    if device.type != "cuda" or world_size() > 1 or steps < MIN_COMPILED_STEPS or not shutil.which("cc"):
        return function
    warnings.filterwarnings("ignore", message="TensorFloat32 tensor cores")  # routing is exact on purpose
    return torch.compile(function, dynamic=False)
