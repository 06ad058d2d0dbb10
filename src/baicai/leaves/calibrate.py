"""Calibration: one scale for each leaf and layer of a model's router, learnt on public text after joining.

Nothing else moves. The overlay belongs to this exact set of leaves: joining or peeling drops it.
"""

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from baicai.config import recipe
from baicai.data.batches import Batch, Batches
from baicai.data.sources import Sources, open_source
from baicai.errors import ConfigError
from baicai.leaves.leaf import open_leaf
from baicai.leaves.model import assemble_model, open_model, write_model
from baicai.leaves.trunk import open_trunk
from baicai.run import Run
from baicai.training.config import TrainConfig
from baicai.training.loop import mixed_precision, select_device, train
from baicai.training.losses import linear_cross_entropy


@recipe
class CalibrateRecipe:
    """`baicai calibrate`: tune the router's scales."""

    model: str
    data: Sources = dataclasses.field(default_factory=list)
    """Text to tune on; default: the trunk's public sample."""
    train: TrainConfig


def calibrate_model(config: CalibrateRecipe, run: Run) -> None:
    """Learn the scales and write the model with them to the run's artefact folder."""
    opened = open_model(config.model)
    model, leaves = opened.network, opened.leaves
    if not leaves:
        raise ConfigError(f"{config.model} has no leaves: there is nothing to calibrate")
    run.record_inputs({"model": opened.hash})
    shards = [open_source(source, opened.tokenizer) for source in config.data] or [opened.trunk.replay()]
    weights = [source.weight for source in config.data] or [1.0]
    settings = config.train
    device = select_device(settings.device)
    model.to(device)
    batches = Batches(
        shards,
        weights,
        batch_sequences=settings.batch_sequences,
        sequence_tokens=settings.sequence_tokens,
        seed=settings.seed,
    )
    layers = {name: leaf.experts.layer_list() for name, leaf in leaves.items()}
    scales = {name: nn.Parameter(torch.ones(len(stack), device=device)) for name, stack in layers.items()}
    rows = {name: [layer.router_ED.detach().clone() for layer in stack] for name, stack in layers.items()}

    def loss_of(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        for name, stack in layers.items():
            for layer, row_ED, scale in zip(stack, rows[name], scales[name], strict=True):
                del layer.router_ED
                layer.router_ED = row_ED * scale
        tokens_BS = batch.tokens_BS1.to(device)
        with mixed_precision(settings, device):
            hidden_BSD = model.hidden(tokens_BS[:, :-1])
            return linear_cross_entropy(hidden_BSD.flatten(0, 1), model.head_weight(), tokens_BS[:, 1:].flatten()), {}

    train("calibrate", scales, batches, loss_of, settings, run)
    trunk = open_trunk(opened.trunk.path)
    again = [open_leaf(leaf.path, trunk, leaf.hash) for leaf in leaves.values()]
    learnt: dict[str, Any] = {leaf.hash: [float(s) for s in scales[name].detach()] for name, leaf in leaves.items()}
    for name, before in opened.calibration.items():
        learnt[name] = [new * old for new, old in zip(learnt[name], before, strict=True)]
    write_model(run.out, assemble_model(trunk, again, opened.topk_group, learnt))
