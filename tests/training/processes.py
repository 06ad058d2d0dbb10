"""Program that `test_distributed` runs under torchrun: `-m tests.training.processes JOBS.json`, on each process."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from baicai.config import from_table
from baicai.data.batches import Batch, Batches
from baicai.errors import BaicaiError
from baicai.leaves.train_trunk import TrunkRecipe, train_trunk
from baicai.training import loop, optimizer
from baicai.training.distributed import run_stage_on_all_ranks


def precise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Muon's orthogonalisation in float64: in bfloat16 it makes a hundredfold of every difference in rounding."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = (matrices.mT if tall else matrices).double()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x.mT if tall else x).float()


def before_batch(number: int, act: Callable[[], None]) -> None:
    """Do something before the batch of that number (from 1) is drawn."""
    drawn, plain = [0], Batches.next

    def following(self: Batches) -> Batch:
        drawn[0] += 1
        if drawn[0] == number:
            act()
        return plain(self)

    Batches.next = following  # type: ignore[method-assign]


def stop() -> None:
    """Leave the run as a kill would, and this process alive."""
    raise KeyboardInterrupt


def die() -> None:
    """Kill the second process alone; torchrun ends the first."""
    if os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)


def note_parameters(path: Path) -> None:
    """Write down how many parameters this process holds, when they are given to the optimizers."""

    def make(parameters: dict[str, DTensor], **options: float) -> list[torch.optim.Optimizer]:
        path.write_text(str(sum(parameter.to_local().numel() for parameter in parameters.values())))
        return optimizer.make_optimizers(parameters, **options)  # type: ignore[arg-type]

    loop.make_optimizers = make  # type: ignore[assignment]


def main(jobs: Path) -> None:
    """Run jobs one after another."""
    dist.init_process_group("gloo")
    plain_next, plain_orthogonalize = Batches.next, optimizer.orthogonalize
    for job in json.loads(jobs.read_text()):
        Batches.next = plain_next  # type: ignore[method-assign]
        optimizer.orthogonalize = precise if job["precise"] else plain_orthogonalize
        if job["end"]:
            before_batch(4, {"stop": stop, "die": die}[job["end"]])
        out = Path(job["out"])
        note_parameters(out.parent / f"{out.name}.held-{os.environ['RANK']}")
        try:
            run_stage_on_all_ranks(train_trunk, from_table(TrunkRecipe, job["recipe"], "job"), out)
        except (KeyboardInterrupt, BaicaiError) as error:
            (out.parent / f"{out.name}.error-{os.environ['RANK']}").write_text(str(error))
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
