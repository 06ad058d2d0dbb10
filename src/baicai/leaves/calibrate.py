"""Calibration: one scale for each leaf and layer of a model's router, trained on public text after joining.

No other weight changes. A calibration belongs to one set of leaves: joining or peeling drops it.
"""

import dataclasses

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
    """Recipe of `baicai calibrate`: train the scales of a model's routers."""

    model: str
    """Path or hash."""
    data: Sources = dataclasses.field(default_factory=list)
    """Text to train on; by default the trunk's public sample."""
    train: TrainConfig


def calibrate_model(config: CalibrateRecipe, run: Run) -> None:
    """Train one router scale per leaf and layer, and write the model with them to the run's artefact folder.

    Scales of an earlier calibration are multiplied by the new ones.

    Example:
        recipe = CalibrateRecipe(model="out/model", train=TrainConfig(tokens=200_000))
        run_stage(calibrate_model, recipe, Path("out/calibrated"))

    Args:
        config: the model, the text to train on and training options.
        run: the run that makes the calibrated model; see `run_stage`.

    Raises: ConfigError if the model has no leaves or the loss is not finite; ArtefactError if the model is damaged.
    """
    opened = open_model(config.model)
    model, leaves = opened.network, opened.leaves
    if not leaves:
        raise ConfigError(f"{config.model} has no leaves: there is nothing to calibrate")
    run.record_inputs({"model": opened.hash})
    shards = [open_source(source, opened.tokenizer) for source in config.data] or [opened.trunk.replay()]
    weights = [source.weight for source in config.data] or [1.0]
    train_config = config.train
    device = select_device(train_config.device)
    model.to(device)
    batches = Batches(
        shards,
        weights,
        batch_sequences=train_config.batch_sequences,
        sequence_tokens=train_config.sequence_tokens,
        seed=train_config.seed,
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
        with mixed_precision(train_config, device):
            hidden_BSD = model.hidden(tokens_BS[:, :-1])
            return linear_cross_entropy(hidden_BSD.flatten(0, 1), model.head_weight(), tokens_BS[:, 1:].flatten()), {}

    train("calibrate", scales, batches, loss_of, train_config, run)
    trunk = open_trunk(opened.trunk.path)
    reopened = [open_leaf(leaf.path, trunk, leaf.hash) for leaf in leaves.values()]
    trained = {leaf.hash: [float(s) for s in scales[name].detach()] for name, leaf in leaves.items()}
    for leaf_hash, before in opened.calibration.items():
        trained[leaf_hash] = [new * old for new, old in zip(trained[leaf_hash], before, strict=True)]
    write_model(run.out, assemble_model(trunk, reopened, opened.topk_group, trained))
