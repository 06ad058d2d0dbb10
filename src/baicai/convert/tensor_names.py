"""Our tensors under the names and in the shapes that transformers gives them, and back."""

from collections.abc import Iterator, Mapping, Sequence

import torch

from baicai.convert.hf_config import Sizes
from baicai.convert.lazy_safetensors import StoredTensor, concatenated, held, same, stacked
from baicai.errors import ArtefactError
from baicai.leaves.leaf import BIAS_CAP, check_router
from baicai.model.config import GQAConfig, LeafConfig, ModelConfig
from baicai.model.transformer import Transformer

TOP = {
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

SHIFT = 0.125
"""Added to every choice bias on the way out, so that all choice scores are positive.

We mask leaves that are not chosen with -inf. Many releases of transformers, and remote code like DeepSeek's own, mask
them with 0.0: a score below 0 in a chosen leaf then loses to experts of leaves that were not chosen. Scores are in
(0, 1) and biases at least -BIAS_CAP, and one constant more for all changes no choice.
"""
assert SHIFT > BIAS_CAP


def trunk_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of a trunk's tensors."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in Transformer(config).named_parameters()}


def trunk_names(config: ModelConfig, first_leaf_layer: int) -> dict[str, str]:
    """Return what transformers calls each tensor of a trunk that has leaves from `first_leaf_layer` up."""
    names = dict(GROUPED if isinstance(config.attention, GQAConfig) else LATENT)
    if not isinstance(config.attention, GQAConfig) and config.attention.q_lora_rank is None:
        names["q"] = "q_proj"

    def theirs(ours: str) -> str:
        if ours in TOP:
            return TOP[ours]
        _, number, part, *rest = ours.split(".")
        if part == "attention":
            place = f"self_attn.{names[rest[0]]}.{rest[1]}"
        elif part == "shared":
            place = f"mlp{'.shared_experts' if int(number) >= first_leaf_layer else ''}.{rest[0]}_proj.weight"
        else:
            place = f"{NORMS[part]}.weight"
        return f"model.layers.{number}.{place}"

    return {ours: theirs(ours) for ours in trunk_shapes(config)}


def _leaf_layers(model: ModelConfig, leaf: LeafConfig) -> Iterator[tuple[str, str]]:
    """Yield what we and transformers put before the names of each layer with experts."""
    for number in range(leaf.first_layer, model.num_layers):
        yield f"layers.{number}.", f"model.layers.{number}.mlp."


def to_theirs(
    sizes: Sizes,
    trunk: Mapping[str, StoredTensor],
    leaves: Sequence[Mapping[str, StoredTensor]],
    scales: Sequence[Sequence[float]],
) -> dict[str, StoredTensor]:
    """Return a model's tensors as transformers names them; `scales` calibrates the router of each leaf and layer."""
    model, leaf = sizes.model, sizes.leaf
    theirs = {}
    for ours, name in trunk_names(model, leaf.first_layer if leaf else model.num_layers).items():
        tensor = trunk[ours]
        if ".shared_experts." in name:  # a whole number of experts wide: zeros beside ours add nothing
            tensor = tensor.fitted(_with_width(tensor, name, sizes.shared_dim))
        theirs[name] = tensor
    for layer, (ours, start) in enumerate(_leaf_layers(model, leaf) if leaf else ()):
        assert leaf is not None
        theirs[f"{start}gate.weight"] = concatenated(
            [one[f"{ours}router_ED"].times(scale[layer]) for one, scale in zip(leaves, scales, strict=True)]
        )
        biases = concatenated([one[f"{ours}bias_E"] for one in leaves])
        theirs[f"{start}gate.e_score_correction_bias"] = biases.changed(lambda bias_E: bias_E + SHIFT)
        for group, one in enumerate(leaves):
            for expert in range(leaf.num_experts):
                number = group * leaf.num_experts + expert
                for kind, name in EXPERT.items():
                    theirs[f"{start}experts.{number}.{name}.weight"] = one[ours + kind].row(expert)
    return theirs


def _with_width(tensor: StoredTensor, name: str, width: int) -> tuple[int, ...]:
    """Return the shape of a feed-forward's matrix with another hidden size."""
    rows, columns = tensor.shape
    return (rows, width) if ".down_proj." in name else (width, columns)


def trunk_from_theirs(sizes: Sizes, tensors: Mapping[str, StoredTensor], where: str) -> dict[str, StoredTensor]:
    """Return the trunk in a checkpoint's tensors; `where` names the checkpoint in errors.

    Raises: ArtefactError if a tensor is missing or of a wrong shape, or one is there that the network has not.
    """
    model, leaf = sizes.model, sizes.leaf
    names, shapes = trunk_names(model, leaf.first_layer if leaf else model.num_layers), trunk_shapes(model)
    ours = {}
    for our_name, name in names.items():
        tensor, shape = _taken(tensors, name, where), shapes[our_name]
        if leaf and any(part in name for part in FEED_FORWARD) and len(tensor.shape) == 2:
            tensor = tensor.fitted(_with_width(tensor, name, model.ffn_dim))
        ours[our_name] = _of_shape(tensor, shape, name, where)
    _check_rest(sizes, {name: tensor for name, tensor in tensors.items() if name not in names.values()}, tensors, where)
    return ours


def _taken(tensors: Mapping[str, StoredTensor], name: str, where: str) -> StoredTensor:
    if name not in tensors:
        hint = ", and tie_word_embeddings is false" if name == TOP["head.weight"] else ""
        raise ArtefactError(f"{where}: tensor '{name}' is missing{hint}: copy the checkpoint again")
    return tensors[name]


def _of_shape(tensor: StoredTensor, shape: tuple[int, ...], name: str, where: str) -> StoredTensor:
    if tensor.shape != shape:
        raise ArtefactError(
            f"{where}: '{name}' has shape {list(tensor.shape)}, config.json asks for {list(shape)}: they are not of "
            "one model; copy both again"
        )
    return tensor


def _check_rest(
    sizes: Sizes, rest: Mapping[str, StoredTensor], tensors: Mapping[str, StoredTensor], where: str
) -> None:
    """Refuse what a checkpoint holds beyond the trunk, unless it is experts or says nothing new."""
    for name, tensor in rest.items():
        if name == TOP["head.weight"] and sizes.model.tied_head:
            if not same(tensor, tensors[TOP["embedding.weight"]]):
                raise ArtefactError(
                    f"{where}: tie_word_embeddings is true, but lm_head.weight is another matrix than the embedding: "
                    "set it to false in config.json if the head is meant to be its own"
                )
        elif name.endswith(".self_attn.o_proj.bias"):
            if tensor.read().any():
                raise ArtefactError(f"{where}: '{name}' is not zero: a bias after attention cannot be imported")
        elif not (name.endswith("rotary_emb.inv_freq") or _is_expert(name, sizes) or _drafts(name, sizes)):
            raise ArtefactError(f"{where}: tensor '{name}' is not expected: config.json tells of another network")


def _layer(name: str) -> int:
    parts = name.split(".")
    return int(parts[2]) if name.startswith("model.layers.") and parts[2].isdigit() else -1


def _is_expert(name: str, sizes: Sizes) -> bool:
    return sizes.leaf is not None and _layer(name) >= sizes.leaf.first_layer and ".mlp." in name


def _drafts(name: str, sizes: Sizes) -> bool:
    """Return whether a tensor is of the layers for multi-token prediction, which stand behind the last one."""
    return sizes.model.num_layers <= _layer(name) < sizes.model.num_layers + sizes.num_drafts


def leaves_from_theirs(
    sizes: Sizes, tensors: Mapping[str, StoredTensor], where: str, shift: float | None
) -> list[dict[str, StoredTensor]]:
    """Return the groups of experts in a checkpoint's tensors, each as a leaf.

    `shift` is what was added to every choice bias; None: not known, the middle of each layer's is taken for it.

    Raises: ArtefactError if a tensor is missing or of a wrong shape, or a router cannot be a leaf's.
    """
    model, leaf = sizes.model, sizes.leaf
    assert leaf is not None
    experts, hidden, dim = leaf.num_experts, leaf.expert_dim, model.dim
    shapes = {"gate_EFD": (hidden, dim), "up_EFD": (hidden, dim), "down_EDF": (dim, hidden)}
    leaves: list[dict[str, StoredTensor]] = [{} for _ in range(sizes.num_leaves)]
    for ours, start in _leaf_layers(model, leaf):
        names = {"router_ED": f"{start}gate.weight", "bias_E": f"{start}gate.e_score_correction_bias"}
        rows = {"router_ED": (experts * len(leaves), dim), "bias_E": (experts * len(leaves),)}
        router, bias = (
            _of_shape(_taken(tensors, names[kind], where), rows[kind], names[kind], where).read().float()
            for kind in names
        )
        bias = bias - (float(bias.min() + bias.max()) / 2 if shift is None else shift)
        for group, one in enumerate(leaves):
            mine = slice(group * experts, (group + 1) * experts)
            check_router(router[mine], bias[mine], f"{where}: {start.rstrip('.')}")
            one[f"{ours}router_ED"], one[f"{ours}bias_E"] = held(router[mine]), held(bias[mine])
            for kind, shape in shapes.items():
                numbered = [f"{start}experts.{number}.{EXPERT[kind]}.weight" for number in range(mine.start, mine.stop)]
                one[ours + kind] = stacked(
                    [_of_shape(_taken(tensors, name, where), shape, name, where) for name in numbered]
                )
    return leaves
