"""The training loop that all stages share: it trains given parameters on batches by a given loss, in place."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from baicai.data.batches import Batch, Batches
from baicai.errors import ConfigError, MachineError
from baicai.model.layers import has_fast_bfloat16
from baicai.run import LogLine, Progress, Run
from baicai.training.config import TrainConfig
from baicai.training.distributed import (
    average_over_ranks,
    broadcast_flag,
    full_tensor,
    gather_on_rank_zero,
    rank_zero_first,
    shard_like,
)
from baicai.training.optimizer import make_optimizers, restore, state_tensors
from baicai.training.schedule import rate_share

LossFunction = Callable[[Batch], tuple[Tensor, dict[str, Tensor]]]
"""Maps a batch to the loss and to its parts, which are logged."""


def select_device(device: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """Return the device that a recipe names; `auto` is CUDA if it is available, else the CPU.

    Raises: MachineError if the recipe names CUDA and it is not available.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise MachineError("device=cuda, but this machine or this build of torch has no CUDA: use device=cpu")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def mixed_precision(config: TrainConfig, device: torch.device) -> torch.autocast:
    """Return the autocast context of the forward pass."""
    enabled = has_fast_bfloat16(device) if config.dtype == "auto" else config.dtype == "bfloat16"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def train(
    title: str,
    parameters: Mapping[str, nn.Parameter],
    batches: Batches,
    loss_of: LossFunction,
    config: TrainConfig,
    run: Run,
) -> LogLine:
    """Train parameters in place, from the run's newest checkpoint on; a resumed run gives the same bits.

    Args:
        title: name of the training, for progress and error messages.
        parameters: parameters to train, by the names under which they are saved.
        batches: training batches; their position is saved and restored.
        loss_of: loss of a batch, with its parts.
        run: the run to log to and to save checkpoints in.

    Returns: the last metrics that were logged.
    Raises: ConfigError if the loss or the gradient norm is not finite; the newest checkpoint stays.
    """
    optimizers = make_optimizers(parameters, learning_rate=config.learning_rate, weight_decay=config.weight_decay)
    step = _resume(parameters, optimizers, batches, run)
    last_saved, since, since_step = time.monotonic(), time.monotonic(), step
    metrics: LogLine = {}
    with Progress(title, config.steps, completed=step) as progress:
        while step < config.steps:
            rate = _set_learning_rate(optimizers, config, step)
            loss, parts = loss_of(batches.next())
            loss.backward()  # type: ignore[no-untyped-call]
            norm = full_tensor(nn.utils.clip_grad_norm_(parameters.values(), config.clip_norm))
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            step += 1
            log_due = step % config.log_steps == 0 or step == config.steps
            save_due = broadcast_flag(
                time.monotonic() - last_saved >= config.checkpoint_seconds and step < config.steps
            )
            if log_due or save_due:
                loss, *values = average_over_ranks([loss, *parts.values()])
                if not (loss.isfinite() and norm.isfinite()):
                    raise ConfigError(f"{title}: the loss is {loss.item()} at step {step}: lower learning_rate")
            if log_due:
                now = time.monotonic()
                speed = (step - since_step) * config.step_tokens / max(now - since, 1e-9)
                since, since_step = now, step
                metrics = {
                    "step": step,
                    "loss": loss.item(),
                    **{name: value.item() for name, value in zip(parts, values, strict=True)},
                    "tokens_per_second": round(speed),
                }
                run.log({**metrics, "learning_rate": rate, "gradient_norm": norm.item()})
                progress.update(step, metrics)
            if save_due:
                _save(step, parameters, optimizers, batches, run)
                last_saved = time.monotonic()
    _save(step, parameters, optimizers, batches, run)
    return metrics or (run.metrics() or [{}])[-1]


def _set_learning_rate(optimizers: Sequence[torch.optim.Optimizer], config: TrainConfig, step: int) -> float:
    rate = config.learning_rate * rate_share(
        step, config.steps, warmup_share=config.warmup_share, final_share=config.final_share
    )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
    return rate


def loss_curve(run: Run, settings: TrainConfig, points: int = 100) -> list[dict[str, float]]:
    """Return the run's loss by tokens, thinned to about `points` points."""
    lines = [line for line in run.metrics() if "loss" in line]
    thinned = lines[:: max(1, len(lines) // points)]
    return [{"tokens": line["step"] * settings.step_tokens, "loss": round(line["loss"], 4)} for line in thinned]


def _save(
    step: int,
    parameters: Mapping[str, nn.Parameter],
    optimizers: Sequence[torch.optim.Optimizer],
    batches: Batches,
    run: Run,
) -> None:
    tensors: dict[str, Tensor] = {f"parameter/{name}": parameter for name, parameter in parameters.items()}
    run.save_checkpoint(
        step, gather_on_rank_zero(tensors | state_tensors(optimizers, parameters)), {"batches": batches.state()}
    )


def _resume(
    parameters: Mapping[str, nn.Parameter],
    optimizers: Sequence[torch.optim.Optimizer],
    batches: Batches,
    run: Run,
) -> int:
    checkpoint = rank_zero_first(run.resume)
    if checkpoint is None:
        return 0
    tensors, state = checkpoint
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(shard_like(tensors[f"parameter/{name}"], parameter))
    restore(optimizers, parameters, tensors)
    batches.restore(state["batches"])
    step: int = state["step"]
    return step
