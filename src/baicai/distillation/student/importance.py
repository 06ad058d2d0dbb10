"""Importance scores of a teacher's parts on sample text: a student keeps the parts with the highest scores.

Shape suffixes: B sequences, S positions, T tokens, D model width, H query heads, F hidden size of the feed-forward,
L layers, G leaves, E experts of one leaf, K experts a token uses; U parts, of C features each, of a projection's input.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from baicai.errors import DataError
from baicai.model.experts import Leaf, LeafLayer
from baicai.model.layers import Block, linear
from baicai.model.router import ExpertChoice, LayerTrace
from baicai.model.transformer import Transformer


@dataclass(frozen=True)
class TrunkImportance:
    """Importance of a trunk's parts, summed over the sample's tokens; float64."""

    width_D: Tensor
    """Absolute activation of each dimension of the residual stream, as read by the layers."""
    heads_LH: Tensor
    """Norm of each attention head's contribution to the residual stream."""
    neurons_LF: Tensor
    """Norm of each feed-forward neuron's contribution to the residual stream."""


@dataclass(frozen=True)
class ExpertImportance:
    """Importance of the experts of some leaves, float64; L counts layers from the first leaf layer."""

    names: tuple[str, ...]
    """Names of the leaves, in the order of G."""
    weights_LGE: Tensor
    """Mean routing weight over all tokens of the sample; tokens that were not routed to the expert count as 0."""
    importance_LGE: Tensor
    """Sum over tokens of the routing weight times the norm of the expert's output."""


@torch.inference_mode()
def measure_trunk_importance(model: Transformer, windows: Iterable[Tensor]) -> TrunkImportance:
    """Measure the importance of the trunk's parts on `windows`, each [B, S + 1], with all joined leaves active.

    Heads and neurons are scored after their output projection, so one whose output the projection discards scores 0.
    Source: Muralidharan et al., Compact Language Models via Pruning and Knowledge Distillation, 2024, section 2.2.

    Raises: DataError if `windows` is empty, or a score is not finite.
    """
    blocks, sizes = trunk_blocks(model), model.config
    width_D = torch.zeros(sizes.dim, dtype=torch.float64)
    heads_LH = torch.zeros(len(blocks), sizes.attention.num_heads, dtype=torch.float64)
    neurons_LF = torch.zeros(len(blocks), sizes.ffn_dim, dtype=torch.float64)
    callbacks: dict[nn.Module, Callable[[Tensor], object]] = {}
    for block, heads_H, neurons_F in zip(blocks, heads_LH, neurons_LF, strict=True):
        out = block.attention.get_submodule("out")
        callbacks[block.attention] = callbacks[block.shared] = partial(_add_absolute, width_D)
        callbacks[out] = partial(_add_norms, heads_H, out.get_parameter("weight"))
        callbacks[block.shared.down] = partial(_add_norms, neurons_F, block.shared.down.weight)
    with _observe_inputs(callbacks):
        for tokens_BS in windows:
            model.hidden(tokens_BS[:, :-1].to(model.embedding.weight.device))
    for part, scores in (("residual stream", width_D), ("attention", heads_LH), ("feed-forward", neurons_LF)):
        _check_scores(part, scores)
    return TrunkImportance(width_D, heads_LH, neurons_LF)


@torch.inference_mode()
def measure_expert_importance(
    model: Transformer, names: Collection[str], windows: Iterable[Tensor]
) -> ExpertImportance:
    """Measure the importance of the named leaves' experts on `windows`, each [B, S + 1], with only those leaves active.

    Source: Lasby et al., REAP, 2025, whose score is the mean over the tokens routed to an expert. Here it is the sum:
    the text is of the domains to keep, so experts that it seldom uses may go.

    Raises: ConfigError if a leaf does not exist; DataError if `windows` is empty, or a score is not finite.
    """
    on_1G, first = model.leaf_mask(names), model.first_leaf_layer
    leaves = [name for name in model.leaves if name in names]
    assert leaves, "at least one leaf is kept"
    layers = [leaf_layers(model, leaves, number) for number in range(first, model.config.num_layers)]
    shape, tokens = (len(layers), len(leaves), len(layers[0][0].bias_E)), 0
    weights_LGE, importance_LGE = (torch.zeros(shape, dtype=torch.float64) for _ in range(2))
    inputs: list[Tensor] = []
    with _observe_inputs({block.shared: inputs.append for block in trunk_blocks(model)[first:]}):
        for tokens_BS in windows:
            inputs.clear()
            trace: list[LayerTrace] = []
            inputs_BS = tokens_BS[:, :-1].to(on_1G.device)
            model.hidden(inputs_BS, on_BG=on_1G.expand(len(inputs_BS), -1), trace=trace)
            tokens += inputs_BS.numel()
            for number, (h_TD, layer) in enumerate(zip(inputs, trace, strict=True)):
                weights_GE, scores_GE = _expert_scores(h_TD, layer.choice, layers[number])
                weights_LGE[number] += weights_GE
                importance_LGE[number] += scores_GE
    for name, scores_LE in zip(leaves, importance_LGE.unbind(1), strict=True):
        _check_scores(f"leaf '{name}'", scores_LE)
    return ExpertImportance(tuple(leaves), weights_LGE / tokens, importance_LGE)


def trunk_blocks(model: Transformer) -> list[Block]:
    """Return the trunk's layers."""
    return [block for block in model.layers if isinstance(block, Block)]


def leaf_layers(model: Transformer, names: Collection[str], number: int) -> list[LeafLayer]:
    """Return layer `number` of each named leaf, in the model's order."""
    leaves = (leaf for name, leaf in model.leaves.items() if name in names)
    return [leaf.layer(number) for leaf in leaves if isinstance(leaf, Leaf)]


def top_indices(scores_U: Tensor, count: int) -> Tensor:
    """Return the indices of the `count` highest scores, ascending; ties go to the lower index."""
    return scores_U.argsort(descending=True, stable=True)[:count].sort().values


def _expert_scores(h_TD: Tensor, choice: ExpertChoice, layers: list[LeafLayer]) -> tuple[Tensor, Tensor]:
    """Return each expert's routing weights, and weights times output norms, both summed over tokens, [G, E]."""
    shape = len(layers), len(layers[0].bias_E)
    weights_GE, scores_GE = (torch.zeros(shape, dtype=torch.float64) for _ in range(2))
    for leaf, layer in enumerate(layers):
        for expert in range(shape[1]):
            rows_N, slots_N = (choice.expert_ids_TK == leaf * shape[1] + expert).nonzero(as_tuple=True)
            weights_N, x_ND = choice.weights_TK[rows_N, slots_N].double(), h_TD[rows_N]
            inner_NF = F.silu(linear(x_ND, layer.gate_EFD[expert])) * linear(x_ND, layer.up_EFD[expert])
            norms_N = linear(inner_NF, layer.down_EDF[expert]).double().norm(dim=-1)
            weights_GE[leaf, expert], scores_GE[leaf, expert] = weights_N.sum(), (weights_N * norms_N).sum()
    return weights_GE, scores_GE


def _add_absolute(total_D: Tensor, x_TD: Tensor) -> None:
    total_D += x_TD.abs().double().sum(0).cpu()


def _add_norms(total_U: Tensor, weight_DI: Tensor, x_TI: Tensor) -> None:
    """Add the norm of each input part's contribution to a projection's output, summed over tokens."""
    x_TUC, weight_DUC = (matrix.double().view(len(matrix), len(total_U), -1) for matrix in (x_TI, weight_DI))
    gram_UCC = torch.einsum("duc,due->uce", weight_DUC, weight_DUC)
    squares_TU = torch.einsum("tuc,uce,tue->tu", x_TUC, gram_UCC, x_TUC)
    total_U += squares_TU.clamp(min=0).sqrt().sum(0).cpu()


@contextmanager
def _observe_inputs(callbacks: Mapping[nn.Module, Callable[[Tensor], object]]) -> Iterator[None]:
    """Call each module's callback with the module's input, [T, features], float32, at every forward pass."""

    def observe(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        callbacks[module](inputs[0].flatten(0, 1).float())

    hooks = [module.register_forward_pre_hook(observe) for module in callbacks]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _check_scores(part: str, scores: Tensor) -> None:
    """Reject scores that cannot rank anything."""
    if not scores.isfinite().all():
        raise DataError(f"the teacher's {part} produces NaN or infinite values on the sample text: use another teacher")
    if not scores.any():
        raise DataError(f"the teacher's {part} contributes nothing on the sample text: add text of the domains to keep")
