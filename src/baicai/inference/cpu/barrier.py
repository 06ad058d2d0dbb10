"""Spin barriers for the threads of a compiled step, on atomic counters in shared memory."""

import sys
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic
from numpy.typing import NDArray

from baicai.inference.cpu.kernels import njit_fast

SPINS_BEFORE_YIELD = 20_000
"""Polls before a waiting thread yields its core."""
_YIELD_FUNCTION = "SwitchToThread" if sys.platform == "win32" else "sched_yield"


@intrinsic
def _atomic_add(typing: Any, address: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer = builder.inttoptr(values[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", pointer, values[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


@intrinsic
def _atomic_load(typing: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer = builder.inttoptr(values[0], ir.IntType(64).as_pointer())
        return builder.load_atomic(pointer, "seq_cst", align=8)

    return types.int64(types.int64), generate


@intrinsic
def _yield(typing: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        function = get_or_insert_function(builder.module, ir.FunctionType(ir.IntType(32), []), _YIELD_FUNCTION)
        return builder.call(function, [])

    return types.int32(), generate


@njit_fast
def spin_until(counters: NDArray[np.int64], index: int, value: int, max_spins: int) -> bool:
    """Wait until a counter reaches a value. Returns False after `max_spins` polls; 0 waits without limit."""
    spins = 0
    while _atomic_load(counters.ctypes.data + 8 * index) < value:
        spins += 1
        if spins == max_spins:
            return False
        if spins % SPINS_BEFORE_YIELD == 0:
            _yield()
    return True


@njit_fast
def load_counter(counters: NDArray[np.int64], index: int) -> int:
    """Return the current value of a counter."""
    return _atomic_load(counters.ctypes.data + 8 * index)


@njit_fast
def increment(counters: NDArray[np.int64], index: int) -> None:
    """Atomically add one to a counter."""
    _atomic_add(counters.ctypes.data + 8 * index, 1)


@njit_fast
def barrier_wait(counters: NDArray[np.int64], index: int, threads: int, barriers: int) -> int:
    """Wait until all threads have reached this barrier. Returns the number of barriers passed."""
    if threads > 1:
        increment(counters, index)
        spin_until(counters, index, threads * (barriers + 1), 0)
    return barriers + 1
