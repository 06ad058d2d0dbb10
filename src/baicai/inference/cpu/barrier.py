"""How the threads of a compiled step wait for each other: counters in shared memory, and spinning."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic
from numpy.typing import NDArray

from baicai.inference.cpu.kernels import compiled

PATIENCE = 20_000
"""Looks before a waiting thread offers its core to others."""


@intrinsic
def _add(typing: Any, address: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer = builder.inttoptr(values[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", pointer, values[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


@intrinsic
def _load(typing: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer = builder.inttoptr(values[0], ir.IntType(64).as_pointer())
        return builder.load_atomic(pointer, "seq_cst", align=8)

    return types.int64(types.int64), generate


@intrinsic
def _give_way(typing: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        function = get_or_insert_function(builder.module, ir.FunctionType(ir.IntType(32), []), "sched_yield")
        return builder.call(function, [])

    return types.int32(), generate


@compiled
def wait_for(counters: NDArray[np.int64], number: int, value: int, patience: int) -> bool:
    """Wait until a counter reaches a value; give up, returning False, after that many looks (0: never)."""
    looks = 0
    while _load(counters.ctypes.data + 8 * number) < value:
        looks += 1
        if looks == patience:
            return False
        if looks % PATIENCE == 0:
            _give_way()
    return True


@compiled
def read(counters: NDArray[np.int64], number: int) -> int:
    """Return a counter as it is now."""
    return _load(counters.ctypes.data + 8 * number)


@compiled
def post(counters: NDArray[np.int64], number: int) -> None:
    """Add one to a counter, for all threads to see."""
    _add(counters.ctypes.data + 8 * number, 1)


@compiled
def meet(counters: NDArray[np.int64], number: int, threads: int, meetings: int) -> int:
    """Wait until all threads have come here; return how often they have met."""
    if threads > 1:
        post(counters, number)
        wait_for(counters, number, threads * (meetings + 1), 0)
    return meetings + 1
