"""Baselines of bench/quality.py: other ways to combine the same leaves, and training without leaves.

Shape suffixes: N scored tokens, V vocabulary, L leaves.
"""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baicai.artefact import atomic_folder, value_hash
from baicai.config import recipe, to_table
from baicai.data.batches import Batch, Batches
from baicai.data.shards import TokenShards
from baicai.data.sources import describe_sources
from baicai.data.tokenizer import Tokenizer
from baicai.evaluation.bits_per_byte import held_out_windows, token_nats
from baicai.leaves.leaf import GrownLeaf, open_leaf, save_leaf
from baicai.leaves.model import SparseModel, assemble_model
from baicai.leaves.trunk import Trunk, open_trunk, save_trunk
from baicai.model.config import LeafConfig
from baicai.model.experts import Leaf
from baicai.model.router import LayerTrace
from baicai.model.transformer import Transformer
from baicai.run import Run, run_stage
from baicai.training.config import TrainConfig
from baicai.training.loop import mixed_precision, select_device, train
from baicai.training.losses import linear_cross_entropy, recognition_loss

PREFIX_TOKENS = 64
"""Number of past tokens that determine the weights of the ensemble's members."""


@dataclasses.dataclass(frozen=True)
class Scores:
    """Token-level scores of several models on one text."""

    windows: list[Tensor]
    bytes_N: Tensor
    nats: dict[str, Tensor]
    """Negative log-likelihood of the tokens by party, each [N]."""

    def bits_per_byte(self, nats_N: Tensor) -> float:
        """Return the bits per byte of the scored tokens."""
        return float((nats_N * (self.bytes_N > 0)).sum() / math.log(2) / self.bytes_N.sum())

    def mean(self, party: str) -> float:
        """Return the bits per byte of a party."""
        return self.bits_per_byte(self.nats[party])


@torch.inference_mode()
def score(
    model: SparseModel, sets: dict[str, TokenShards], max_tokens: int, joined_only: bool = False
) -> dict[str, Scores]:
    """Score texts with the trunk, each leaf alone, and all leaves joined."""
    token_bytes_V = torch.from_numpy(model.tokenizer.bytes_per_token())
    parties = ["joined"] if joined_only else ["trunk", *model.network.leaves, "joined"]
    scores = {}
    for domain, shards in sets.items():
        windows = list(held_out_windows(shards, 256, max_tokens))
        nats = {}
        for party in parties:
            on_G = None if party == "joined" else model.network.leaf_mask([] if party == "trunk" else [party])
            scorer = token_nats(model.network, on_G)
            nats[party] = torch.cat([scorer(tokens_BS).flatten().double().cpu() for tokens_BS in windows])
        targets_N = torch.cat([tokens_BS[:, 1:].flatten() for tokens_BS in windows])
        scores[domain] = Scores(windows, token_bytes_V[targets_N], nats)
    return scores


def classifier_and_one_leaf(scores: Scores, own: dict[str, TokenShards], tokenizer: Tokenizer) -> float:
    """Route each window to the leaf that a naive Bayes classifier selects, or to the trunk for public text.

    The classifier is trained on samples of all owners' text and reads the whole window, including future tokens; both
    work in its favour.
    """
    names, log_V = list(own), []
    for shards in own.values():
        counts_V = np.bincount(shards.read(0, min(shards.num_tokens, 300_000)), minlength=tokenizer.vocab_size)
        log_V.append(np.log((counts_V + 0.5) / (counts_V.sum() + 0.5 * tokenizer.vocab_size)))
    table_VL = torch.from_numpy(np.stack(log_V, 1))
    selected = []
    for tokens_BS in scores.windows:
        best_B = table_VL[tokens_BS].sum(1).argmax(1)
        selected += [names[best] for best in best_B.tolist()]
    length = len(scores.bytes_N) // len(selected)
    nats_N = torch.cat(
        [
            scores.nats["trunk" if name == "public" else name][i * length : (i + 1) * length]
            for i, name in enumerate(selected)
        ]
    )
    return scores.bits_per_byte(nats_N)


def ensemble(scores: Scores) -> float:
    """Mix the probabilities of trunk and single-leaf models, weighted by their likelihood of the last tokens.

    Every member runs on every token. Source: Li et al., Branch-Train-Merge, 2022, section 2.2 (domain posterior).
    """
    members = [name for name in scores.nats if name != "joined"]
    nats_LN = torch.stack([scores.nats[name] for name in members])
    count = sum(len(tokens_BS) for tokens_BS in scores.windows)
    nats_LWS = nats_LN.view(len(members), count, -1)
    past_LWS = nats_LWS.cumsum(-1) - nats_LWS
    distant_LWS = torch.zeros_like(past_LWS)
    distant_LWS[..., PREFIX_TOKENS:] = past_LWS[..., :-PREFIX_TOKENS]
    posterior_LWS = (distant_LWS - past_LWS).softmax(0)
    mixed_N = -(posterior_LWS * (-nats_LWS).exp()).sum(0).log()
    return scores.bits_per_byte(mixed_N.flatten())


def average_leaves(trunk: Path, paths: list[Path]) -> SparseModel:
    """Return a model with one leaf whose tensors are the means of the leaves' tensors."""
    opened = open_trunk(trunk)
    leaves = [open_leaf(path, opened) for path in paths]
    states = [leaf.experts.state_dict() for leaf in leaves]
    mean = Leaf(opened.network.config, leaves[0].experts.config)
    mean.load_state_dict({name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]})
    mean.requires_grad_(False)
    return _assemble(opened, [GrownLeaf(trunk, "mean", "mean", mean, {})])


def open_joined(trunk: Path, paths: list[Path]) -> SparseModel:
    """Return the model of a trunk and leaves, on the default device."""
    opened = open_trunk(trunk)
    return _assemble(opened, [open_leaf(path, opened) for path in paths])


def _assemble(trunk: Trunk, leaves: list[GrownLeaf]) -> SparseModel:
    model = assemble_model(trunk, leaves, topk_group=1)
    model.network.to(select_device("auto"))
    return model


@recipe
class PooledRecipe:
    """Joint training of all weights on the pooled text of all owners."""

    trunk: str
    leaf: LeafConfig
    train: TrainConfig
    leaves: list[str]
    own: dict[str, str]
    """Hash of each owner's text."""
    recognition: float
    """Weight of the loss that teaches each leaf to recognise the text of its owner."""
    public_share: float = 0.25


def train_unrestricted(budget: Any, work: Path, trunk: Path, own: dict[str, TokenShards]) -> SparseModel:
    """Train the joined model's network on pooled data from the same trunk, for the tokens of all leaves together."""
    return _train_pooled("unrestricted", budget, budget.leaf, list(own), 1.0, work, trunk, own)


def train_dense(budget: Any, work: Path, trunk: Path, own: dict[str, TokenShards]) -> SparseModel:
    """Train a dense network with the same number of active parameters in the same way."""
    leaf = dataclasses.replace(budget.leaf, num_experts=budget.leaf.top_k)
    return _train_pooled("dense", budget, leaf, ["dense"], 0.0, work, trunk, own)


def _train_pooled(
    title: str,
    budget: Any,
    leaf: LeafConfig,
    leaves: list[str],
    recognition: float,
    work: Path,
    trunk: Path,
    own: dict[str, TokenShards],
) -> SparseModel:
    train_config = dataclasses.replace(
        budget.grow, tokens=budget.grow.tokens * len(own), batch_sequences=2 * budget.grow.batch_sequences
    )
    hashes = {name: shards.hash for name, shards in own.items()}
    config = PooledRecipe(
        trunk=str(trunk), leaf=leaf, train=train_config, leaves=leaves, own=hashes, recognition=recognition
    )
    out = work / f"{title}-{value_hash(to_table(config))[:12]}"

    def stage(config: PooledRecipe, run: Run) -> None:
        _train_everything(title, open_trunk(trunk), config, own, run)

    run_stage(stage, config, out)
    return open_joined(out / "trunk", [out / name for name in leaves])


def _train_everything(title: str, trunk: Trunk, config: PooledRecipe, own: dict[str, TokenShards], run: Run) -> None:
    device = select_device(config.train.device)
    model = trunk.network.to(device).requires_grad_(True)
    for number, name in enumerate(config.leaves):
        leaf = Leaf(model.config, config.leaf)
        leaf.initialize(config.train.seed + number)
        model.join(name, leaf.to(device))
    batches = Batches(
        [*own.values(), trunk.replay()],
        [(1 - config.public_share) / len(own)] * len(own) + [config.public_share],
        batch_sequences=config.train.batch_sequences,
        sequence_tokens=config.train.sequence_tokens,
        seed=config.train.seed,
    )
    train(title, dict(model.named_parameters()), batches, _loss(model, config), config.train, run)
    card_fields = {
        "recipe": to_table(config),
        "data": describe_sources(own),
        "metrics": {"loss": 0.0, "tokens": 0},
        "curve": [],
    }
    leaves = {name: model.peel(name).cpu() for name in config.leaves}
    with atomic_folder(run.out) as part:
        save_trunk(part / "trunk", model.cpu(), trunk.tokenizer, replay=trunk.replay(), card_fields=card_fields)
        trained_trunk = open_trunk(part / "trunk")
        for name, leaf in leaves.items():
            save_leaf(part / name, name, leaf, trained_trunk, data=card_fields["data"], card_fields=card_fields)


def _loss(model: Transformer, config: PooledRecipe) -> Callable[[Batch], tuple[Tensor, dict[str, Tensor]]]:
    def loss_of(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        device = model.embedding.weight.device
        tokens_BS = batch.tokens_BS1.to(device)
        source_T = batch.source_B.to(device).repeat_interleave(tokens_BS.shape[1] - 1)
        trace: list[LayerTrace] = []
        with mixed_precision(config.train, device):
            hidden_BSD = model.hidden(tokens_BS[:, :-1], trace=trace)
            loss = linear_cross_entropy(hidden_BSD.flatten(0, 1), model.head_weight(), tokens_BS[:, 1:].flatten())
            if not config.recognition:
                return loss, {}
            recognised = torch.stack(
                [
                    recognition_loss(layer.logits_TGE[:, number : number + 1], source_T == number)
                    for layer in trace
                    for number in range(len(model.leaves))
                ]
            ).mean()
        return loss + config.recognition * recognised, {"recognition": recognised.detach()}

    return loss_of
