"""Map tensors between our names and shapes and those of transformers."""

from collections.abc import Iterator, Mapping, Sequence

import torch

from baicai.convert.hf_config import CheckpointConfig
from baicai.convert.lazy_safetensors import LazyTensor, concatenate, equal, in_memory, stack
from baicai.errors import ArtefactError
from baicai.leaves.leaf import BIAS_CAP, check_router
from baicai.model.config import GQAConfig, LeafConfig, ModelConfig
from baicai.model.transformer import Transformer

TOP_LEVEL = {
    "embedding.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
}
NORMS = {"attention_norm": "input_layernorm", "shared_norm": "post_attention_layernorm"}
GROUPED = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "out": "o_proj", "q_norm": "q_norm", "k_norm": "k_norm"}
LATENT = {"q_down": "q_a_proj", "q_norm": "q_a_layernorm", "q": "q_b_proj", "kv_down": "kv_a_proj_with_mqa"}
LATENT |= {"kv_norm": "kv_a_layernorm", "kv_up": "kv_b_proj", "out": "o_proj"}
EXPERT = {"gate_EFD": "gate_proj", "up_EFD": "up_proj", "down_EDF": "down_proj"}
FEED_FORWARD = (".mlp.gate_proj.", ".mlp.up_proj.", ".mlp.down_proj.", ".shared_experts.")

BIAS_SHIFT = 0.125
"""Constant added to every choice bias on export, so that all choice scores are positive.

We mask leaves that are not chosen with -inf. Many releases of transformers, and remote code such as DeepSeek's own,
mask them with 0.0: a negative score in a chosen leaf then loses to experts of leaves that were not chosen. Scores are
in (0, 1) and biases are at least -BIAS_CAP; adding the same constant to all of them does not change the choice.
"""
assert BIAS_SHIFT > BIAS_CAP


def trunk_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the tensors of a trunk."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in Transformer(config).named_parameters()}


def trunk_names(config: ModelConfig, first_leaf_layer: int) -> dict[str, str]:
    """Return transformers' name of each tensor of a trunk with leaves from layer `first_leaf_layer` up."""
    names = dict(GROUPED if isinstance(config.attention, GQAConfig) else LATENT)
    if not isinstance(config.attention, GQAConfig) and config.attention.q_lora_rank is None:
        names["q"] = "q_proj"

    def theirs(ours: str) -> str:
        if ours in TOP_LEVEL:
            return TOP_LEVEL[ours]
        _, number, part, *rest = ours.split(".")
        if part == "attention":
            suffix = f"self_attn.{names[rest[0]]}.{rest[1]}"
        elif part == "shared":
            suffix = f"mlp{'.shared_experts' if int(number) >= first_leaf_layer else ''}.{rest[0]}_proj.weight"
        else:
            suffix = f"{NORMS[part]}.weight"
        return f"model.layers.{number}.{suffix}"

    return {ours: theirs(ours) for ours in trunk_shapes(config)}


def _leaf_layers(model: ModelConfig, leaf: LeafConfig) -> Iterator[tuple[str, str]]:
    """Yield our and transformers' name prefix of each layer with experts."""
    for number in range(leaf.first_layer, model.num_layers):
        yield f"layers.{number}.", f"model.layers.{number}.mlp."


def to_transformers(
    config: CheckpointConfig,
    trunk: Mapping[str, LazyTensor],
    leaves: Sequence[Mapping[str, LazyTensor]],
    scales: Sequence[Sequence[float]],
) -> dict[str, LazyTensor]:
    """Return a model's tensors under transformers' names.

    Args:
        scales: factor of the router of each leaf and layer, from calibration.
    """
    model, leaf = config.model, config.leaf
    theirs = {}
    for ours, name in trunk_names(model, leaf.first_layer if leaf else model.num_layers).items():
        tensor = trunk[ours]
        if ".shared_experts." in name:  # its width is a multiple of the expert size: pad with zeros
            tensor = tensor.resized(_with_width(tensor, name, config.shared_dim))
        theirs[name] = tensor
    for layer, (ours, start) in enumerate(_leaf_layers(model, leaf) if leaf else ()):
        assert leaf is not None
        theirs[f"{start}gate.weight"] = concatenate(
            [source[f"{ours}router_ED"].scaled(scale[layer]) for source, scale in zip(leaves, scales, strict=True)]
        )
        biases = concatenate([source[f"{ours}bias_E"] for source in leaves])
        theirs[f"{start}gate.e_score_correction_bias"] = biases.map(lambda bias_E: bias_E + BIAS_SHIFT)
        for group, source in enumerate(leaves):
            for expert in range(leaf.num_experts):
                number = group * leaf.num_experts + expert
                for kind, name in EXPERT.items():
                    theirs[f"{start}experts.{number}.{name}.weight"] = source[ours + kind].row(expert)
    return theirs


def _with_width(tensor: LazyTensor, name: str, width: int) -> tuple[int, ...]:
    """Return the shape of a feed-forward matrix with another hidden size."""
    rows, columns = tensor.shape
    return (rows, width) if ".down_proj." in name else (width, columns)


def trunk_from_transformers(
    config: CheckpointConfig, tensors: Mapping[str, LazyTensor], where: str
) -> dict[str, LazyTensor]:
    """Return the trunk in a checkpoint's tensors; `where` names the checkpoint in errors.

    Raises: ArtefactError if a tensor is missing, unexpected or of a wrong shape.
    """
    model, leaf = config.model, config.leaf
    names, shapes = trunk_names(model, leaf.first_layer if leaf else model.num_layers), trunk_shapes(model)
    ours = {}
    for our_name, name in names.items():
        tensor, shape = _require(tensors, name, where), shapes[our_name]
        if leaf and any(part in name for part in FEED_FORWARD) and len(tensor.shape) == 2:
            tensor = tensor.resized(_with_width(tensor, name, model.ffn_dim))
        ours[our_name] = _check_shape(tensor, shape, name, where)
    _check_rest(
        config, {name: tensor for name, tensor in tensors.items() if name not in names.values()}, tensors, where
    )
    return ours


def _require(tensors: Mapping[str, LazyTensor], name: str, where: str) -> LazyTensor:
    if name not in tensors:
        hint = ", and tie_word_embeddings is false" if name == TOP_LEVEL["head.weight"] else ""
        raise ArtefactError(f"{where}: tensor '{name}' is missing{hint}: copy the checkpoint again")
    return tensors[name]


def _check_shape(tensor: LazyTensor, shape: tuple[int, ...], name: str, where: str) -> LazyTensor:
    if tensor.shape != shape:
        raise ArtefactError(
            f"{where}: '{name}' has shape {list(tensor.shape)}, config.json requires {list(shape)}: they belong to "
            "different models; copy both again"
        )
    return tensor


def _check_rest(
    config: CheckpointConfig, rest: Mapping[str, LazyTensor], tensors: Mapping[str, LazyTensor], where: str
) -> None:
    """Refuse tensors other than the trunk's, unless they are experts, drafts or redundant."""
    for name, tensor in rest.items():
        if name == TOP_LEVEL["head.weight"] and config.model.tied_head:
            if not equal(tensor, tensors[TOP_LEVEL["embedding.weight"]]):
                raise ArtefactError(
                    f"{where}: tie_word_embeddings is true, but lm_head.weight differs from the embedding: set it to "
                    "false in config.json if the head is separate"
                )
        elif name.endswith(".self_attn.o_proj.bias"):
            if tensor.read().any():
                raise ArtefactError(f"{where}: '{name}' is not zero: a bias after attention is not supported")
        elif not (name.endswith("rotary_emb.inv_freq") or _is_expert(name, config) or _is_draft(name, config)):
            raise ArtefactError(f"{where}: unexpected tensor '{name}': config.json describes another network")


def _layer(name: str) -> int:
    parts = name.split(".")
    return int(parts[2]) if name.startswith("model.layers.") and parts[2].isdigit() else -1


def _is_expert(name: str, config: CheckpointConfig) -> bool:
    return config.leaf is not None and _layer(name) >= config.leaf.first_layer and ".mlp." in name


def _is_draft(name: str, config: CheckpointConfig) -> bool:
    """Return whether a tensor belongs to the multi-token prediction layers, which follow the last layer."""
    return config.model.num_layers <= _layer(name) < config.model.num_layers + config.num_drafts


def leaves_from_transformers(
    config: CheckpointConfig, tensors: Mapping[str, LazyTensor], where: str, shift: float | None
) -> list[dict[str, LazyTensor]]:
    """Return each group of experts in a checkpoint's tensors as a leaf.

    Args:
        shift: constant that was added to every choice bias; None estimates it as the midpoint of each layer's biases.

    Raises: ArtefactError if a tensor is missing or of a wrong shape, or a router exceeds the limits of a leaf.
    """
    model, leaf = config.model, config.leaf
    assert leaf is not None
    experts, hidden, dim = leaf.num_experts, leaf.expert_dim, model.dim
    shapes = {"gate_EFD": (hidden, dim), "up_EFD": (hidden, dim), "down_EDF": (dim, hidden)}
    leaves: list[dict[str, LazyTensor]] = [{} for _ in range(config.num_leaves)]
    for ours, start in _leaf_layers(model, leaf):
        names = {"router_ED": f"{start}gate.weight", "bias_E": f"{start}gate.e_score_correction_bias"}
        rows = {"router_ED": (experts * len(leaves), dim), "bias_E": (experts * len(leaves),)}
        router, bias = (
            _check_shape(_require(tensors, names[kind], where), rows[kind], names[kind], where).read().float()
            for kind in names
        )
        bias = bias - (float(bias.min() + bias.max()) / 2 if shift is None else shift)
        for group, target in enumerate(leaves):
            own_rows = slice(group * experts, (group + 1) * experts)
            check_router(router[own_rows], bias[own_rows], f"{where}: {start.rstrip('.')}")
            target[f"{ours}router_ED"], target[f"{ours}bias_E"] = in_memory(router[own_rows]), in_memory(bias[own_rows])
            for kind, shape in shapes.items():
                expert_names = [
                    f"{start}experts.{number}.{EXPERT[kind]}.weight" for number in range(own_rows.start, own_rows.stop)
                ]
                target[ours + kind] = stack(
                    [_check_shape(_require(tensors, name, where), shape, name, where) for name in expert_names]
                )
    return leaves
