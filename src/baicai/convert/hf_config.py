"""Convert between transformers' config.json and the configuration of our network."""

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
"""Norm epsilon of compressed queries and keys in DeepseekV3ForCausalLM, regardless of rms_norm_eps."""


@dataclass(frozen=True)
class CheckpointConfig:
    """Configuration of a network that we can run, as read from or written to a config.json."""

    architecture: str
    model: ModelConfig
    leaf: LeafConfig | None = None
    num_leaves: int = 0
    topk_group: int = 1
    shared_dim: int = 0
    """Hidden size of the shared expert in layers with leaves."""
    num_drafts: int = 0
    """Number of multi-token prediction layers after the last one; they are not imported."""
    notes: tuple[str, ...] = ()
    """Notes for the user about differences from the checkpoint."""


def read_hf_config(config: Mapping[str, Any], where: str) -> CheckpointConfig:
    """Read the configuration of a network from the content of a config.json; `where` names the file in errors.

    Raises: ArtefactError if the network is not supported, ConfigError if a value is missing or invalid.
    """
    architecture = str((config.get("architectures") or ["none"])[0])
    if architecture not in MODEL_TYPES:
        raise ArtefactError(
            f"{where}: architecture {architecture} cannot be imported; supported: {', '.join((*DENSE, *SPARSE))}"
        )
    return _ConfigReader(config, architecture, where).read()


@dataclass(frozen=True)
class _ConfigReader:
    config: Mapping[str, Any]
    architecture: str
    where: str

    def read(self) -> CheckpointConfig:
        config, architecture, where = self.config, self.architecture, self.where
        self.check_supported()
        max_tokens, notes = self.max_tokens()
        table = {
            "vocab_size": config.get("vocab_size"),
            "dim": config.get("hidden_size"),
            "num_layers": config.get("num_hidden_layers"),
            "ffn_dim": config.get("intermediate_size"),
            "max_tokens": max_tokens,
            "attention": self.attention(),
            "norm_eps": config.get("rms_norm_eps", 1e-5 if architecture == GLM else 1e-6),
            "tied_head": config.get("tie_word_embeddings", False),
            **self.rotary(),
        }
        model = from_table(ModelConfig, table, where)
        drafts = self.count("num_nextn_predict_layers", 0) if architecture in SPARSE else 0
        if drafts:
            notes = (*notes, f"The {drafts} layers for multi-token prediction are not imported.")
        first = self.count("first_k_dense_replace", 0) if architecture in SPARSE else model.num_layers
        if first >= model.num_layers:
            return CheckpointConfig(architecture, model, num_drafts=drafts, notes=notes)
        groups, experts = self.count("n_group", 1), self.count("n_routed_experts")
        if groups < 1 or experts % groups:
            raise ConfigError(f"{where}: {experts} experts cannot be split into {groups} groups of equal size")
        leaf = {
            "first_layer": first,
            "num_experts": experts // groups,
            "expert_dim": config.get("moe_intermediate_size"),
            "top_k": config.get("num_experts_per_tok"),
            "routed_scaling_factor": config.get("routed_scaling_factor", 1.0),
        }
        leaf_config = from_table(LeafConfig, leaf, where)
        shared_dim = self.count("n_shared_experts", 1) * leaf_config.expert_dim
        topk_group = self.count("topk_group", 1)
        return CheckpointConfig(architecture, model, leaf_config, groups, topk_group, shared_dim, drafts, notes)

    def count(self, key: str, default: int | None = None) -> int:
        value = self.config.get(key)
        value = default if value is None else value
        if not isinstance(value, int) or value < 0:
            raise ConfigError(f"{self.where}: key '{key}' = {value!r}: it must be a whole number")
        return value

    def check_supported(self) -> None:
        """Refuse options of a supported architecture that our network does not implement."""
        config, rotary, architecture = self.config, self.merged_rotary(), self.architecture
        partial = rotary.get(
            "partial_rotary_factor", config.get("partial_rotary_factor", 0.5 if architecture == GLM else 1)
        )
        unsupported = {
            "quantization_config (use the original, unquantized checkpoint)": config.get("quantization_config"),
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
        for option, is_set in unsupported.items():
            if is_set:
                raise ArtefactError(
                    f"{self.where}: {architecture} with {option} cannot be imported: baicai does not implement it"
                )

    def attention(self) -> dict[str, Any]:
        config, architecture, heads = self.config, self.architecture, self.count("num_attention_heads")
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
        default_head_dim = 128 if architecture == "Qwen3ForCausalLM" else self.count("hidden_size") // max(heads, 1)
        return {
            "kind": "gqa",
            "num_heads": heads,
            "num_kv_heads": config.get("num_key_value_heads") or heads,
            "head_dim": config.get("head_dim") or default_head_dim,
            "qk_norm": architecture == "Qwen3ForCausalLM" or (architecture == GLM and config.get("use_qk_norm", False)),
            "qkv_bias": architecture == "Qwen2ForCausalLM" or config.get("attention_bias", False),
        }

    def max_tokens(self) -> tuple[int, tuple[str, ...]]:
        """Return the maximum sequence length and notes for the user. A sliding attention window caps the length."""
        config, limit = self.config, self.count("max_position_embeddings")
        slides = self.architecture == "MistralForCausalLM" or (
            config.get("use_sliding_window", False)
            and "sliding_attention" in (config.get("layer_types") or ["sliding_attention"])
        )
        window = config.get("sliding_window") if slides else None
        if window is None or limit <= window:
            return limit, ()
        note = f"Attention has a sliding window of {window} tokens, so max_tokens is {window} instead of {limit}."
        return window, (note,)

    def merged_rotary(self) -> dict[str, Any]:
        """Return the rotary parameters as in transformers 5; older versions keep them under two keys."""
        return {"rope_theta": self.config.get("rope_theta", 10000.0)} | (
            self.config.get("rope_scaling") or self.config.get("rope_parameters") or {}
        )

    def rotary(self) -> dict[str, Any]:
        rotary = self.merged_rotary()
        kind = rotary.get("rope_type", rotary.get("type", "default"))
        if kind == "default":
            return {"rope_theta": rotary["rope_theta"]}
        if kind not in ("linear", "llama3", "yarn"):
            raise ArtefactError(
                f"{self.where}: rope type '{kind}' cannot be imported; supported: default, linear, llama3, yarn"
            )
        names = "factor", "low_freq_factor", "high_freq_factor", "beta_fast", "beta_slow", "truncate"
        scaling = {name: rotary[name] for name in (*names, "attention_factor") if rotary.get(name) is not None}
        scaling["kind"] = kind
        if kind != "linear":
            scaling["original_max_tokens"] = rotary.get(
                "original_max_position_embeddings", self.config.get("max_position_embeddings")
            )
        if kind == "yarn" and rotary.get("mscale") and rotary.get("mscale_all_dim"):
            above, below = (
                0.1 * rotary[name] * math.log(rotary["factor"]) + 1 for name in ("mscale", "mscale_all_dim")
            )
            scaling.setdefault("attention_factor", above / below)
        return {"rope_theta": rotary["rope_theta"], "rope_scaling": scaling}


def build_hf_config(
    model: ModelConfig, leaf: LeafConfig | None, num_leaves: int, topk_group: int, *, qwen_words: bool
) -> tuple[dict[str, Any], int]:
    """Return the content of a model's config.json, and the hidden size of its shared expert.

    Args:
        qwen_words: whether the tokenizer splits words as Qwen2's does, which transformers assumes for Qwen2ForCausalLM.

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
            f"transformers' {DEEPSEEK} fixes the norm epsilon of compressed keys at {LATENT_NORM_EPS}, but this trunk "
            f"has norm_eps {model.norm_eps}: train a trunk with norm_eps = {LATENT_NORM_EPS}"
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
    """Return the transformers class for a trunk without leaves."""
    if attention.qkv_bias:  # other classes add a bias after attention, too
        return "Qwen2ForCausalLM" if qwen_words and not attention.qk_norm else GLM
    if attention.qk_norm:
        return "Qwen3ForCausalLM"
    return "LlamaForCausalLM" if model.dim % attention.num_heads == 0 else "MistralForCausalLM"


def _expert_config(
    model: ModelConfig, leaf: LeafConfig | None, num_leaves: int, topk_group: int
) -> tuple[dict[str, Any], int]:
    if leaf is None:  # dense layers only, but transformers still validates the sizes of experts
        leaf, num_leaves = LeafConfig(first_layer=model.num_layers, num_experts=2, expert_dim=model.ffn_dim, top_k=1), 1
    # llama.cpp refuses group-limited routing that leaves no group out, or groups of a single expert.
    limited = topk_group < num_leaves and leaf.num_experts > 1
    num_shared = -(-model.ffn_dim // leaf.expert_dim)
    return {
        "first_k_dense_replace": leaf.first_layer,
        "n_routed_experts": num_leaves * leaf.num_experts,
        "n_shared_experts": num_shared,
        "moe_intermediate_size": leaf.expert_dim,
        "num_experts_per_tok": leaf.top_k,
        "n_group": num_leaves if limited else 1,
        "topk_group": topk_group if limited else 1,
        "norm_topk_prob": False,
        "scoring_func": "sigmoid",
        "topk_method": "noaux_tc",
        "routed_scaling_factor": leaf.routed_scaling_factor,
        "num_nextn_predict_layers": 0,
    }, num_shared * leaf.expert_dim


def _rotary_config(model: ModelConfig) -> dict[str, Any]:
    """Return the rotary parameters as transformers 5 reads them, and as older versions read them."""
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
