"""Data-parallel training on several processes started by torchrun: each takes its rows of every batch.

FSDP2 averages the gradients and, if asked to, shards weights, gradients and optimizer state over the processes. Only
rank 0 holds the run and writes to it; all processes must be able to read its folder.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from baicai.errors import ConfigError, MachineError
from baicai.run import Checkpoint, Run, run_folder, run_stage

R = TypeVar("R")


def world_size() -> int:
    """Return the number of processes that train together, 1 outside torchrun."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the rank of this process, 0 outside torchrun."""
    return dist.get_rank() if dist.is_initialized() else 0


class FollowerRun(Run):
    """The run as seen by ranks above 0, which read checkpoints and write nothing."""

    def __init__(self, out: Path) -> None:
        self.out, self.folder = out, run_folder(out)

    def record_inputs(self, inputs: Mapping[str, str]) -> None:
        """Do nothing: rank 0 records them."""

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Do nothing: rank 0 logs them."""

    def save_checkpoint(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Do nothing: rank 0 saves it."""

    def resume(self) -> Checkpoint | None:
        """Return the newest checkpoint, if any, and leave metrics.jsonl to rank 0."""
        return self.load_checkpoint()


def run_stage_on_all_ranks(stage: Callable[[Any, Run], None], recipe: object, out: Path) -> bool | None:
    """Run a stage as `run_stage` does, on all processes that torchrun started.

    Returns: the result of `run_stage` on rank 0, None on the other ranks.
    Raises: MachineError if there are more processes than GPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return run_stage(stage, recipe, out)
    with _process_group():
        if rank() == 0:
            with Run(out, recipe) as run:
                done = run.done
                if broadcast_flag(not out.exists()):
                    stage(recipe, run)
                run.finish()
                return not done
        os.environ["BAICAI_QUIET"] = "1"
        if broadcast_flag(False):
            stage(recipe, FollowerRun(out))
        return None


@contextmanager
def _process_group() -> Iterator[None]:
    if dist.is_initialized():
        yield
        return
    if torch.cuda.is_available():
        number, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if number >= gpus:
            raise MachineError(f"this machine has {gpus} GPUs, one for each process: lower --nproc-per-node to {gpus}")
        torch.cuda.set_device(number)
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    yield
    # Not after an error: the other processes may be waiting in a collective, and torchrun ends them.
    dist.destroy_process_group()


def check_batch_size(batch_sequences: int) -> None:
    """Check that a batch divides evenly over the processes.

    Raises: ConfigError
    """
    if batch_sequences % world_size():
        raise ConfigError(
            f"train.batch_sequences is {batch_sequences}, which {world_size()} processes cannot share evenly: "
            f"make it a multiple of {world_size()}"
        )


def local_rows(rows: Tensor) -> Tensor:
    """Return the rows of a batch that this process computes."""
    return rows.chunk(world_size())[rank()]


def distribute(
    forward_methods: Mapping[nn.Module, str], device: torch.device, sharding: Literal["replicate", "shard"]
) -> None:
    """Replicate or shard modules over the processes, in place. Does nothing for a single process.

    Their parameters become distributed tensors. Every child of a module list is gathered when it runs, the rest of its
    module from the method's call to the end of the backward pass.

    Args:
        forward_methods: each module, with the name of the method that runs it.
        device: the device of the modules.
        sharding: whether every process holds all weights or a share of them.

    Source: Zhao et al., PyTorch FSDP, 2023, sections 3 and 4, in the per-parameter form of `fully_shard`.
    """
    if world_size() == 1:
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    sizes = (1, world_size()) if sharding == "shard" else (world_size(), 1)
    mesh = init_device_mesh(device.type, sizes, mesh_dim_names=("copies", "shares"))
    for module, method in forward_methods.items():
        for child in module.children():
            for block in child if isinstance(child, nn.ModuleList) else ():
                fully_shard(block, mesh=mesh)
        fully_shard(module, mesh=mesh)
        register_fsdp_forward_method(module, method)


def rank_zero_first(function: Callable[[], R]) -> R:
    """Call a function on every process, first on rank 0, and return its result."""
    if rank() > 0:
        dist.barrier()
    result = function()
    if rank() == 0 and world_size() > 1:
        dist.barrier()
    return result


def broadcast_flag(flag: bool) -> bool:
    """Return the flag of rank 0 on every process."""
    if world_size() == 1:
        return flag
    flag_1 = torch.tensor([flag])
    dist.broadcast(flag_1, 0)
    return bool(flag_1)


def average_over_ranks(values: Sequence[Tensor]) -> list[Tensor]:
    """Return the mean of each scalar over the processes."""
    if world_size() == 1:
        return list(values)
    stacked = torch.stack([value.detach() for value in values])
    dist.all_reduce(stacked)
    return list(stacked / world_size())


def full_tensor(tensor: Tensor) -> Tensor:
    """Return the full tensor of one that may be sharded over the processes."""
    if world_size() == 1:
        return tensor
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gather_on_rank_zero(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return full tensors on the CPU of rank 0 and an empty dict elsewhere, gathering them one by one."""
    if world_size() == 1:
        return dict(tensors)
    gathered = {}
    for name, tensor in tensors.items():
        full = full_tensor(tensor.detach())
        if rank() == 0:
            gathered[name] = full.cpu()
    return gathered


def shard_like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Shard a full tensor like its parameter; a tensor of another shape is replicated."""
    tensor = tensor.to(parameter.device)
    if world_size() == 1 or tensor.shape != parameter.shape:
        return tensor
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(parameter, DTensor)
    return distribute_tensor(tensor, parameter.device_mesh, parameter.placements, src_data_rank=None)


def map_over_ranks(function: Callable[[Tensor], Tensor], stack: Tensor) -> Tensor:
    """Return function(stack), of the same shape, where each process computes its share of the first axis."""
    if world_size() == 1:
        return function(stack)
    from torch.distributed.tensor import DTensor, Shard

    assert isinstance(stack, DTensor)
    first = [Shard(0)] * stack.device_mesh.ndim
    local = function(stack.redistribute(placements=first).to_local())
    mesh = stack.device_mesh
    result = DTensor.from_local(local, mesh, first, run_check=False, shape=stack.shape, stride=stack.stride())
    return result.redistribute(placements=stack.placements)
