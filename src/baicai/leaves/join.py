"""Joining leaves to a trunk, and peeling them off again."""

import dataclasses

import torch

from baicai.config import Count, recipe
from baicai.errors import ArtefactError
from baicai.leaves.leaf import GrownLeaf, open_leaf
from baicai.leaves.model import assemble_model, open_model, write_model
from baicai.leaves.signing import verify_signature
from baicai.leaves.trunk import Trunk, open_trunk
from baicai.model.router import LayerTrace
from baicai.run import Progress, Run

PROBE_WINDOWS = 32
"""Windows of the public sample that a leaf is checked on."""


@recipe
class JoinRecipe:
    """Recipe of `baicai join`: make a model of a trunk and leaves."""

    trunk: str
    """Path or hash."""
    leaves: list[str]
    """Paths or hashes."""
    topk_group: Count = 1
    """Number of leaves that a token may use in a layer."""
    max_harm: float = 0.05
    """Reject a leaf that raises the loss on the trunk's public sample by more than this share."""
    max_firing: float = 0.5
    """Reject a leaf that takes more than this share of the routing weight it could get on the public sample."""
    trusted_keys: list[str] = dataclasses.field(default_factory=list)
    """Public keys (PEM). If any are given, each leaf must be signed by one of them."""


@recipe
class PeelRecipe:
    """Recipe of `baicai peel`: remove leaves from a model."""

    model: str
    """Path or hash."""
    leaves: list[str]
    """Names or hashes."""


def join_leaves(config: JoinRecipe, run: Run) -> None:
    """Check each leaf on the trunk's public sample, and write the model to the run's artefact folder.

    No weights are trained or copied; the model is a lock file.

    Example:
        recipe = JoinRecipe(trunk="out/trunk", leaves=["out/law", "out/medicine"])
        run_stage(join_leaves, recipe, Path("out/model"))

    Args:
        config: the trunk, the leaves and the limits of the checks.
        run: the run that makes the model; see `run_stage`.

    Raises: ArtefactError if a leaf is damaged, of another trunk, not signed by a trusted key, or harmful to public
    text; ConfigError if names or sizes collide.
    """
    trunk = open_trunk(config.trunk)
    leaves = [open_leaf(reference, trunk) for reference in config.leaves]
    with Progress("join", len(leaves)) as progress:
        for number, leaf in enumerate(leaves, 1):
            if config.trusted_keys:
                verify_signature(leaf.path, config.trusted_keys)
            _probe(trunk, leaf, config)
            progress.update(number, {"checked": leaf.name})
    write_model(run.out, assemble_model(trunk, leaves, config.topk_group))


def peel_leaves(config: PeelRecipe, run: Run) -> None:
    """Write a model without some of its leaves to the run's artefact folder.

    The result has the same hash and gives the same bits as a model that those leaves were never joined to. A
    calibration is dropped.

    Example:
        run_stage(peel_leaves, PeelRecipe(model="out/model", leaves=["law"]), Path("out/peeled"))

    Args:
        config: the model, and names or hashes of the leaves to remove.
        run: the run that makes the model; see `run_stage`.

    Raises: ConfigError if a leaf is unknown, ArtefactError if the model is damaged.
    """
    write_model(run.out, open_model(config.model, peel=config.leaves))


@torch.inference_mode()
def _probe(trunk: Trunk, leaf: GrownLeaf, config: JoinRecipe) -> None:
    """Measure a leaf on the trunk's public sample, where it should hardly change anything.

    Raises: ArtefactError if it raises the loss or takes routing weight beyond the limits.
    """
    replay = trunk.replay()
    length = min(256, trunk.network.config.max_tokens, replay.num_tokens - 1)
    if length < 1:
        raise ArtefactError(f"the public sample of trunk {trunk.path} is empty: no leaf can be checked on it")
    count = min(PROBE_WINDOWS, replay.num_windows(length))
    rows = torch.stack([torch.from_numpy(replay.window(i, length)) for i in range(count)])
    losses, trace = [], list[LayerTrace]()
    for joined in (False, True):
        if joined:
            trunk.network.join(leaf.name, leaf.experts)
        logits = trunk.network(rows[:, :-1], trace=trace)
        losses.append(float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())))
    trunk.network.peel(leaf.name)
    harm = losses[1] / losses[0] - 1
    sizes = leaf.experts.config
    max_weight = sizes.top_k * sizes.routed_scaling_factor
    firing = float(torch.stack([layer.leaf_weights().mean() for layer in trace]).mean()) / max_weight
    remedy = "grow it again with a larger public_share, or raise"
    if not harm <= config.max_harm:  # also if it is NaN
        raise ArtefactError(
            f"leaf '{leaf.name}' makes public text {harm:.1%} worse, the limit is {config.max_harm:.1%}: "
            f"{remedy} max_harm"
        )
    if not firing <= config.max_firing:
        raise ArtefactError(
            f"leaf '{leaf.name}' claims {firing:.0%} of public text, the limit is {config.max_firing:.0%}: "
            f"{remedy} max_firing"
        )
