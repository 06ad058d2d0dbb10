"""The sizes of a network as transformers' config.json says them, read and written."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from baicai.config import from_table, to_table
from baicai.errors import ArtefactError, ConfigError
from baicai.model.config import GQAConfig, LeafConfig, MLAConfig, ModelConfig

DENSE = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
DEEPSEEK, GLM = SPARSE = ("DeepseekV3ForCausalLM", "Glm4MoeForCausalLM")
MODEL_TYPES = dict(
    zip((*DENSE, *SPARSE), ("llama", "mistral", "qwen2", "qwen3", "deepseek_v3", "glm4_moe"), strict=True)
)
LATENT_NORM_EPS = 1e-6
"""DeepseekV3ForCausalLM norms its compressed queries and keys with this, whatever rms_norm_eps says."""


@dataclass(frozen=True)
class Sizes:
    """What a config.json says of a network that we can run."""

    architecture: str
    model: ModelConfig
    leaf: LeafConfig | None = None
    num_leaves: int = 0
    topk_group: int = 1
    shared_dim: int = 0
    """Hidden size of the shared expert where there are leaves."""
    num_drafts: int = 0
    """Layers for multi-token prediction behind the last one, which are left out."""
    notes: tuple[str, ...] = ()
    """What the user should know of the translation."""


def read_sizes(config: Mapping[str, Any], where: str) -> Sizes:
    """Return the sizes that a config.json asks for; `where` names it in errors.

    Raises: ArtefactError if the network is none of ours, ConfigError if a size is missing or cannot be.
    """
    architecture = str((config.get("architectures") or ["none"])[0])
    if architecture not in MODEL_TYPES:
        raise ArtefactError(
            f"{where}: architecture {architecture} cannot be imported: give one of {', '.join((*DENSE, *SPARSE))}"
        )
    _refuse(config, architecture, where)
    max_tokens, notes = _longest(config, architecture, where)
    table = {
        "vocab_size": config.get("vocab_size"),
        "dim": config.get("hidden_size"),
        "num_layers": config.get("num_hidden_layers"),
        "ffn_dim": config.get("intermediate_size"),
        "max_tokens": max_tokens,
        "attention": _attention(config, architecture, where),
        "norm_eps": config.get("rms_norm_eps", 1e-5 if architecture == GLM else 1e-6),
        "tied_head": config.get("tie_word_embeddings", False),
        **_rotary(config, where),
    }
    model = from_table(ModelConfig, table, where)
    drafts = _count(config, "num_nextn_predict_layers", where, 0) if architecture in SPARSE else 0
    if drafts:
        notes = (*notes, f"Its layers for multi-token prediction ({drafts}) are left out.")
    first = _count(config, "first_k_dense_replace", where, 0) if architecture in SPARSE else model.num_layers
    if first >= model.num_layers:
        return Sizes(architecture, model, num_drafts=drafts, notes=notes)
    groups, experts = _count(config, "n_group", where, 1), _count(config, "n_routed_experts", where)
    if groups < 1 or experts % groups:
        raise ConfigError(f"{where}: {experts} experts do not make {groups} groups of one size")
    leaf = {
        "first_layer": first,
        "num_experts": experts // groups,
        "expert_dim": config.get("moe_intermediate_size"),
        "top_k": config.get("num_experts_per_tok"),
        "routed_scaling_factor": config.get("routed_scaling_factor", 1.0),
    }
    sizes = from_table(LeafConfig, leaf, where)
    shared_dim = _count(config, "n_shared_experts", where, 1) * sizes.expert_dim
    topk_group = _count(config, "topk_group", where, 1)
    return Sizes(architecture, model, sizes, groups, topk_group, shared_dim, drafts, notes)


def _count(config: Mapping[str, Any], key: str, where: str, default: int | None = None) -> int:
    value = config.get(key)
    value = default if value is None else value
    if not isinstance(value, int) or value < 0:
        raise ConfigError(f"{where}: key '{key}' = {value!r}: it must be a whole number")
    return value


def _refuse(config: Mapping[str, Any], architecture: str, where: str) -> None:
    """Refuse what a supported architecture can be told to do and our network cannot."""
    rotary = _merged_rotary(config)
    partial = rotary.get(
        "partial_rotary_factor", config.get("partial_rotary_factor", 0.5 if architecture == GLM else 1)
    )
    wrong = {
        "quantization_config (give the original, unquantised checkpoint)": config.get("quantization_config"),
        "hidden_act other than silu": config.get("hidden_act", "silu") != "silu",
        "mlp_bias": config.get("mlp_bias"),
        "partial_rotary_factor other than 1": partial != 1,
        "norm_topk_prob": architecture in SPARSE and config.get("norm_topk_prob", True),
        "scoring_func other than sigmoid": config.get("scoring_func", "sigmoid") != "sigmoid",
        "attention_bias": architecture == DEEPSEEK and config.get("attention_bias"),
        "rope_interleave = false": architecture == DEEPSEEK and config.get("rope_interleave") is False,
        "mscale_all_dim": architecture == DEEPSEEK and rotary.get("mscale_all_dim"),
        f"rms_norm_eps other than {LATENT_NORM_EPS}": architecture == DEEPSEEK
        and config.get("rms_norm_eps", LATENT_NORM_EPS) != LATENT_NORM_EPS,
    }
    for what, found in wrong.items():
        if found:
            raise ArtefactError(f"{where}: {architecture} with {what} cannot be imported: it is another network")


def _attention(config: Mapping[str, Any], architecture: str, where: str) -> dict[str, Any]:
    heads = _count(config, "num_attention_heads", where)
    if architecture == DEEPSEEK:
        return {
            "kind": "mla",
            "num_heads": heads,
            "kv_lora_rank": config.get("kv_lora_rank"),
            "q_lora_rank": config.get("q_lora_rank"),
            "nope_head_dim": config.get("qk_nope_head_dim"),
            "rope_head_dim": config.get("qk_rope_head_dim"),
            "value_head_dim": config.get("v_head_dim"),
        }
    usual = 128 if architecture == "Qwen3ForCausalLM" else _count(config, "hidden_size", where) // max(heads, 1)
    return {
        "kind": "gqa",
        "num_heads": heads,
        "num_kv_heads": config.get("num_key_value_heads") or heads,
        "head_dim": config.get("head_dim") or usual,
        "qk_norm": architecture == "Qwen3ForCausalLM" or (architecture == GLM and config.get("use_qk_norm", False)),
        "qkv_bias": architecture == "Qwen2ForCausalLM" or config.get("attention_bias", False),
    }


def _longest(config: Mapping[str, Any], architecture: str, where: str) -> tuple[int, tuple[str, ...]]:
    """Return the longest sequence, and what there is to say of it: a window of attention must never bite."""
    longest = _count(config, "max_position_embeddings", where)
    slides = architecture == "MistralForCausalLM" or (
        config.get("use_sliding_window", False)
        and "sliding_attention" in (config.get("layer_types") or ["sliding_attention"])
    )
    window = config.get("sliding_window") if slides else None
    if window is None or longest <= window:
        return longest, ()
    note = f"Attention reaches {window} tokens back: max_tokens is {window}, where that is everything, not {longest}."
    return window, (note,)


def _merged_rotary(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rotary parameters of transformers 5, or what older versions say in two places."""
    return {"rope_theta": config.get("rope_theta", 10000.0)} | (
        config.get("rope_scaling") or config.get("rope_parameters") or {}
    )


def _rotary(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    rotary = _merged_rotary(config)
    kind = rotary.get("rope_type", rotary.get("type", "default"))
    if kind == "default":
        return {"rope_theta": rotary["rope_theta"]}
    if kind not in ("linear", "llama3", "yarn"):
        raise ArtefactError(
            f"{where}: rope type '{kind}' cannot be imported, as its angles depend on the length of the text or are "
            "not known: only default, linear, llama3 and yarn can"
        )
    names = ("factor", "low_freq_factor", "high_freq_factor", "beta_fast", "beta_slow", "truncate", "attention_factor")
    scaling = {name: rotary[name] for name in names if rotary.get(name) is not None} | {"kind": kind}
    if kind != "linear":
        scaling["original_max_tokens"] = rotary.get(
            "original_max_position_embeddings", config.get("max_position_embeddings")
        )
    if kind == "yarn" and rotary.get("mscale") and rotary.get("mscale_all_dim"):
        above, below = (0.1 * rotary[name] * math.log(rotary["factor"]) + 1 for name in ("mscale", "mscale_all_dim"))
        scaling.setdefault("attention_factor", above / below)
    return {"rope_theta": rotary["rope_theta"], "rope_scaling": scaling}


def write_sizes(
    model: ModelConfig, leaf: LeafConfig | None, num_leaves: int, topk_group: int, *, qwen_words: bool
) -> tuple[dict[str, Any], int]:
    """Return the config.json of a model, and the hidden size of its shared expert beside leaves.

    `qwen_words`: its tokenizer cuts words as Qwen2's does, which transformers takes for granted in Qwen2ForCausalLM.

    Raises: ConfigError if transformers cannot represent it.
    """
    attention = model.attention
    config: dict[str, Any] = {
        "vocab_size": model.vocab_size,
        "hidden_size": model.dim,
        "intermediate_size": model.ffn_dim,
        "num_hidden_layers": model.num_layers,
        "num_attention_heads": attention.num_heads,
        "hidden_act": "silu",
        "max_position_embeddings": model.max_tokens,
        "rms_norm_eps": model.norm_eps,
        "tie_word_embeddings": model.tied_head,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        **_rotary_config(model),
    }
    if isinstance(attention, MLAConfig):
        architecture = DEEPSEEK
        config |= _latent_config(model, attention)
    else:
        architecture = GLM if leaf else _dense_class(model, attention, qwen_words)
        config |= {"num_key_value_heads": attention.num_kv_heads, "head_dim": attention.head_dim}
        config |= {"attention_bias": attention.qkv_bias, "use_qk_norm": attention.qk_norm}
        config["use_sliding_window"], config["sliding_window"] = False, None
    shared_dim = model.ffn_dim
    if architecture in SPARSE:
        experts, shared_dim = _expert_config(model, leaf, num_leaves, topk_group)
        config |= experts
    if architecture == GLM:
        config["partial_rotary_factor"] = config["rope_parameters"]["partial_rotary_factor"] = 1.0
    return {"architectures": [architecture], "model_type": MODEL_TYPES[architecture], **config}, shared_dim


def _latent_config(model: ModelConfig, attention: MLAConfig) -> dict[str, Any]:
    if model.norm_eps != LATENT_NORM_EPS:
        raise ConfigError(
            f"transformers' {DEEPSEEK} fixes the norm of compressed keys at eps {LATENT_NORM_EPS}, this trunk has "
            f"norm_eps {model.norm_eps}: train one with {LATENT_NORM_EPS}"
        )
    return {
        "num_key_value_heads": attention.num_heads,
        "kv_lora_rank": attention.kv_lora_rank,
        "q_lora_rank": attention.q_lora_rank,
        "qk_nope_head_dim": attention.nope_head_dim,
        "qk_rope_head_dim": attention.rope_head_dim,
        "v_head_dim": attention.value_head_dim,
        "rope_interleave": True,
        "attention_bias": False,
    }


def _dense_class(model: ModelConfig, attention: GQAConfig, qwen_words: bool) -> str:
    """Return the class that a trunk without leaves is."""
    if attention.qkv_bias:  # elsewhere these biases come with one more after attention
        return "Qwen2ForCausalLM" if qwen_words and not attention.qk_norm else GLM
    if attention.qk_norm:
        return "Qwen3ForCausalLM"
    return "LlamaForCausalLM" if model.dim % attention.num_heads == 0 else "MistralForCausalLM"


def _expert_config(
    model: ModelConfig, leaf: LeafConfig | None, num_leaves: int, topk_group: int
) -> tuple[dict[str, Any], int]:
    if leaf is None:  # dense layers only; the sizes of experts that are not there must still make sense
        leaf, num_leaves = LeafConfig(first_layer=model.num_layers, num_experts=2, expert_dim=model.ffn_dim, top_k=1), 1
    # A choice among leaves that leaves none out is no choice, and llama.cpp refuses it; nor is one of single experts.
    chosen = topk_group < num_leaves and leaf.num_experts > 1
    num_shared = -(-model.ffn_dim // leaf.expert_dim)
    return {
        "first_k_dense_replace": leaf.first_layer,
        "n_routed_experts": num_leaves * leaf.num_experts,
        "n_shared_experts": num_shared,
        "moe_intermediate_size": leaf.expert_dim,
        "num_experts_per_tok": leaf.top_k,
        "n_group": num_leaves if chosen else 1,
        "topk_group": topk_group if chosen else 1,
        "norm_topk_prob": False,
        "scoring_func": "sigmoid",
        "topk_method": "noaux_tc",
        "routed_scaling_factor": leaf.routed_scaling_factor,
        "num_nextn_predict_layers": 0,
    }, num_shared * leaf.expert_dim


def _rotary_config(model: ModelConfig) -> dict[str, Any]:
    """Return the rotary parameters as transformers 5 reads them, and as older versions do."""
    scaling = model.rope_scaling
    if scaling is None:
        rotary: dict[str, Any] = {"rope_type": "default"}
    else:
        rotary = {"rope_type": scaling.kind, "factor": scaling.factor}
        if scaling.kind != "linear":
            rotary["original_max_position_embeddings"] = scaling.original_max_tokens
        rotary |= {name: value for name, value in to_table(scaling).items() if name in _NAMES[scaling.kind]}
        if scaling.kind == "yarn" and scaling.attention_factor is None:
            del rotary["attention_factor"]
    older = {"rope_theta": model.rope_theta, "rope_scaling": None if scaling is None else rotary}
    return {"rope_parameters": {**rotary, "rope_theta": model.rope_theta}, **older}


_NAMES: dict[str, tuple[str, ...]] = {
    "linear": (),
    "llama3": ("low_freq_factor", "high_freq_factor"),
    "yarn": ("beta_fast", "beta_slow", "truncate", "attention_factor"),
}
