"""What each part of a teacher adds on sample text: a student keeps the parts that add most.

Shape suffixes: B sequences, S positions, T tokens, D model width, H query heads, F hidden size of the feed-forward,
L layers, G leaves, E experts of one leaf, K experts a token uses; U parts, of C features each, that a projection reads.
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
    """What each part of a trunk adds, summed over the sample's tokens; float64."""

    width_D: Tensor
    """Sizes of the stream's dimensions as the layers read them."""
    heads_LH: Tensor
    """Lengths of what the heads put into the stream."""
    neurons_LF: Tensor
    """Lengths of what the feed-forward's neurons put into the stream."""


@dataclass(frozen=True)
class ExpertImportance:
    """What each expert of some leaves adds; L counts the layers from the first leaf layer up. All float64."""

    names: tuple[str, ...]
    """The leaves, in the order of G."""
    weights_LGE: Tensor
    """Mean routing weight over the sample's tokens; one that did not choose the expert counts with 0."""
    importance_LGE: Tensor
    """Sum over tokens of routing weight times length of the expert's output."""


@torch.inference_mode()
def measure_trunk_importance(model: Transformer, windows: Iterable[Tensor]) -> TrunkImportance:
    """Return what each part of the trunk adds on windows [B, S + 1]; leaves that are joined are on.

    Heads and neurons count with the projection behind them: one whose output is thrown away adds nothing.
    Source: Muralidharan et al., Compact Language Models via Pruning and Knowledge Distillation, 2024, section 2.2.

    Raises: DataError if there is no text, or what a part adds is not finite.
    """
    blocks, sizes = trunk_blocks(model), model.config
    width_D = torch.zeros(sizes.dim, dtype=torch.float64)
    heads_LH = torch.zeros(len(blocks), sizes.attention.num_heads, dtype=torch.float64)
    neurons_LF = torch.zeros(len(blocks), sizes.ffn_dim, dtype=torch.float64)
    hears: dict[nn.Module, Callable[[Tensor], object]] = {}
    for block, heads_H, neurons_F in zip(blocks, heads_LH, neurons_LF, strict=True):
        out = block.attention.get_submodule("out")
        hears[block.attention] = hears[block.shared] = partial(_add_sizes, width_D)
        hears[out] = partial(_add_lengths, heads_H, out.get_parameter("weight"))
        hears[block.shared.down] = partial(_add_lengths, neurons_F, block.shared.down.weight)
    with _listening(hears):
        for tokens_BS in windows:
            model.hidden(tokens_BS[:, :-1].to(model.embedding.weight.device))
    for what, added in (("stream", width_D), ("attention", heads_LH), ("feed-forward", neurons_LF)):
        _check(what, added)
    return TrunkImportance(width_D, heads_LH, neurons_LF)


@torch.inference_mode()
def measure_expert_importance(
    model: Transformer, names: Collection[str], windows: Iterable[Tensor]
) -> ExpertImportance:
    """Return what each expert of the named leaves adds on windows [B, S + 1], with those leaves on and no others.

    Source: Lasby et al., REAP, 2025, whose score is the mean over the tokens that chose an expert. Here it is the sum:
    the text is of the abilities to keep, and what they seldom use is what may go.

    Raises: ConfigError for a leaf there is not, DataError if there is no text, or what an expert adds is not finite.
    """
    on_1G, first = model.leaf_mask(names), model.first_leaf_layer
    kept = [name for name in model.leaves if name in names]
    assert kept, "an ability is wanted"
    layers = [leaf_layers(model, kept, number) for number in range(first, model.config.num_layers)]
    shape, tokens = (len(layers), len(kept), len(layers[0][0].bias_E)), 0
    weights_LGE, importance_LGE = (torch.zeros(shape, dtype=torch.float64) for _ in range(2))
    read: list[Tensor] = []
    with _listening({block.shared: read.append for block in trunk_blocks(model)[first:]}):
        for tokens_BS in windows:
            read.clear()
            trace: list[LayerTrace] = []
            read_BS = tokens_BS[:, :-1].to(on_1G.device)
            model.hidden(read_BS, on_BG=on_1G.expand(len(read_BS), -1), trace=trace)
            tokens += read_BS.numel()
            for number, (h_TD, layer) in enumerate(zip(read, trace, strict=True)):
                weights_GE, lengths_GE = _expert_sums(h_TD, layer.choice, layers[number])
                weights_LGE[number] += weights_GE
                importance_LGE[number] += lengths_GE
    for name, added_LE in zip(kept, importance_LGE.unbind(1), strict=True):
        _check(f"leaf '{name}'", added_LE)
    return ExpertImportance(tuple(kept), weights_LGE / tokens, importance_LGE)


def trunk_blocks(model: Transformer) -> list[Block]:
    """Return the layers of the trunk."""
    return [block for block in model.layers if isinstance(block, Block)]


def leaf_layers(model: Transformer, names: Collection[str], number: int) -> list[LeafLayer]:
    """Return a layer's experts of the named leaves, in the model's order."""
    found = (leaf for name, leaf in model.leaves.items() if name in names)
    return [leaf.layer(number) for leaf in found if isinstance(leaf, Leaf)]


def best(added_U: Tensor, count: int) -> Tensor:
    """Return the numbers of the parts that add most, in ascending order; of equal ones the first."""
    return added_U.argsort(descending=True, stable=True)[:count].sort().values


def _expert_sums(h_TD: Tensor, choice: ExpertChoice, layers: list[LeafLayer]) -> tuple[Tensor, Tensor]:
    """Return the routing weights of each expert, summed over tokens, [G, E], and the same times its outputs' length."""
    shape = len(layers), len(layers[0].bias_E)
    weights_GE, added_GE = (torch.zeros(shape, dtype=torch.float64) for _ in range(2))
    for leaf, layer in enumerate(layers):
        for expert in range(shape[1]):
            rows_N, slots_N = (choice.expert_ids_TK == leaf * shape[1] + expert).nonzero(as_tuple=True)
            weights_N, x_ND = choice.weights_TK[rows_N, slots_N].double(), h_TD[rows_N]
            inner_NF = F.silu(linear(x_ND, layer.gate_EFD[expert])) * linear(x_ND, layer.up_EFD[expert])
            lengths_N = linear(inner_NF, layer.down_EDF[expert]).double().norm(dim=-1)
            weights_GE[leaf, expert], added_GE[leaf, expert] = weights_N.sum(), (weights_N * lengths_N).sum()
    return weights_GE, added_GE


def _add_sizes(total_D: Tensor, x_TD: Tensor) -> None:
    total_D += x_TD.abs().double().sum(0).cpu()


def _add_lengths(total_U: Tensor, weight_DI: Tensor, x_TI: Tensor) -> None:
    """Add how long each part of a projection's input is behind it, summed over tokens."""
    x_TUC, weight_DUC = (matrix.double().view(len(matrix), len(total_U), -1) for matrix in (x_TI, weight_DI))
    gram_UCC = torch.einsum("duc,due->uce", weight_DUC, weight_DUC)
    squares_TU = torch.einsum("tuc,uce,tue->tu", x_TUC, gram_UCC, x_TUC)
    total_U += squares_TU.clamp(min=0).sqrt().sum(0).cpu()


@contextmanager
def _listening(hears: Mapping[nn.Module, Callable[[Tensor], object]]) -> Iterator[None]:
    """Call each module's function with what the module reads, [T, features], float32."""

    def hear(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        hears[module](given[0].flatten(0, 1).float())

    hooks = [module.register_forward_pre_hook(hear) for module in hears]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _check(what: str, added: Tensor) -> None:
    """Refuse sums from which nothing can be chosen."""
    if not added.isfinite().all():
        raise DataError(
            f"the teacher's {what} says NaN or infinite values on the sample text: nothing can be learnt from it"
        )
    if not added.any():
        raise DataError(f"the teacher's {what} adds nothing on the sample text: give text of what is to be kept")
