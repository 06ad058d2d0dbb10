"""One training on several processes, which torchrun starts: each takes its rows of every batch.

FSDP2 averages the gradients and, if asked to, holds only a share of weights, gradients and optimizer state in each
process. Process 0 alone has the run and writes it; its folder must be within reach of all.
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
from baicai.run import Run, run_stage

R = TypeVar("R")


def world_size() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process among them."""
    return dist.get_rank() if dist.is_initialized() else 0


class FollowerRun(Run):
    """The run as the processes see it that only compute: they read checkpoints and write nothing."""

    def __init__(self, out: Path) -> None:
        self.out, self.folder = out, out.parent / f"{out.name}.run"

    def record_inputs(self, inputs: Mapping[str, str]) -> None:
        """Leave it to process 0."""

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Leave it to process 0."""

    def save_checkpoint(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Leave it to process 0."""

    def resume(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the newest checkpoint."""
        return self.load_checkpoint()


def run_stage_on_all_ranks(stage: Callable[[Any, Run], None], recipe: object, out: Path) -> bool | None:
    """Carry out a stage as `carry_out` does, on all processes that torchrun started; None on all but process 0.

    Raises: MachineError if there are more processes than GPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return run_stage(stage, recipe, out)
    with _group():
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
def _group() -> Iterator[None]:
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
    dist.destroy_process_group()  # not after an error: the other processes may be waiting, and torchrun ends them


def check_batch_size(batch_sequences: int) -> None:
    """Check that the processes can share a batch.

    Raises: ConfigError
    """
    if batch_sequences % world_size():
        raise ConfigError(
            f"train.batch_sequences is {batch_sequences}, which {world_size()} processes cannot share evenly: "
            f"make it a multiple of {world_size()}"
        )


def local_rows(rows: Tensor) -> Tensor:
    """Return this process's part of the rows of a batch."""
    return rows.chunk(world_size())[rank()]


def distribute(entries: Mapping[nn.Module, str], device: torch.device, sharding: Literal["replicate", "shard"]) -> None:
    """Let the processes train modules together, in place; each comes with the name of the method that runs it.

    Their parameters become distributed tensors. Every child of a module list is gathered when it runs, the rest of its
    module from the method's call to the end of the backward pass.
    Source: Zhao et al., PyTorch FSDP, 2023, sections 3 and 4, in the per-parameter form of `fully_shard`.
    """
    if world_size() == 1:
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    sizes = (1, world_size()) if sharding == "shard" else (world_size(), 1)
    mesh = init_device_mesh(device.type, sizes, mesh_dim_names=("copies", "shares"))
    for module, method in entries.items():
        for child in module.children():
            for block in child if isinstance(child, nn.ModuleList) else ():
                fully_shard(block, mesh=mesh)
        fully_shard(module, mesh=mesh)
        register_fsdp_forward_method(module, method)


def rank_zero_first(act: Callable[[], R]) -> R:
    """Return what `act` does, which process 0 has finished before the others begin."""
    if rank() > 0:
        dist.barrier()
    found = act()
    if rank() == 0 and world_size() > 1:
        dist.barrier()
    return found


def broadcast_flag(flag: bool) -> bool:
    """Return what process 0 says."""
    if world_size() == 1:
        return flag
    said = torch.tensor([flag])
    dist.broadcast(said, 0)
    return bool(said)


def average_over_ranks(values: Sequence[Tensor]) -> list[Tensor]:
    """Return the mean over the processes of each value (no axes)."""
    if world_size() == 1:
        return list(values)
    stacked = torch.stack([value.detach() for value in values])
    dist.all_reduce(stacked)
    return list(stacked / world_size())


def full_tensor(tensor: Tensor) -> Tensor:
    """Return a tensor whole, whose parts the processes may hold."""
    if world_size() == 1:
        return tensor
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gather_on_rank_zero(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors whole, on process 0's CPU; the others return nothing. They are gathered one by one."""
    if world_size() == 1:
        return dict(tensors)
    found = {}
    for name, tensor in tensors.items():
        one = full_tensor(tensor.detach())
        if rank() == 0:
            found[name] = one.cpu()
    return found


def shard_like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Return a whole tensor as its parameter is held; one of another shape belongs to every process."""
    tensor = tensor.to(parameter.device)
    if world_size() == 1 or tensor.shape != parameter.shape:
        return tensor
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(parameter, DTensor)
    return distribute_tensor(tensor, parameter.device_mesh, parameter.placements, src_data_rank=None)


def map_over_ranks(function: Callable[[Tensor], Tensor], stack: Tensor) -> Tensor:
    """Return function(stack), of the same shape; each process computes its share of the first axis."""
    if world_size() == 1:
        return function(stack)
    from torch.distributed.tensor import DTensor, Shard

    assert isinstance(stack, DTensor)
    first = [Shard(0)] * stack.device_mesh.ndim
    own = function(stack.redistribute(placements=first).to_local())
    done = DTensor.from_local(own, stack.device_mesh, first, run_check=False, shape=stack.shape, stride=stack.stride())
    return done.redistribute(placements=stack.placements)
