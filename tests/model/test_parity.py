"""Ours against transformers, weights copied: the same network by other hands."""

import pytest
import torch

from baicai.model.config import GQAConfig
from baicai.model.transformer import Transformer
from tests.model.conftest import MLA, grown, tiny

transformers = pytest.importorskip("transformers")

LATENT = {"q_down": "q_a_proj", "q_norm": "q_a_layernorm", "q": "q_b_proj", "kv_down": "kv_a_proj_with_mqa"}
LATENT |= {"kv_norm": "kv_a_layernorm", "kv_up": "kv_b_proj", "out": "o_proj"}
GROUPED = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "out": "o_proj", "q_norm": "q_norm", "k_norm": "k_norm"}


def copied_weights(model: Transformer) -> dict[str, torch.Tensor]:
    """Our weights under the names of transformers."""
    named = {"model.embed_tokens.weight": model.embedding.weight, "model.norm.weight": model.norm.weight}
    named["lm_head.weight"] = model.head_weight()
    names = GROUPED if isinstance(model.config.attention, GQAConfig) else LATENT
    for number, block in enumerate(model.layers):
        start = f"model.layers.{number}."
        named[start + "input_layernorm.weight"] = block.attention_norm.weight
        named[start + "post_attention_layernorm.weight"] = block.shared_norm.weight
        for ours, tensor in block.attention.named_parameters():
            module, kind = ours.split(".")
            named[f"{start}self_attn.{names[module]}.{kind}"] = tensor
        sparse = number >= model.first_leaf_layer
        for ours in ("gate", "up", "down"):
            place = "mlp.shared_experts" if sparse else "mlp"
            named[f"{start}{place}.{ours}_proj.weight"] = getattr(block.shared, ours).weight
        if sparse:
            layers = [leaf.layer(number) for leaf in model.leaves.values()]
            named[start + "mlp.gate.weight"] = torch.cat([layer.router_ED for layer in layers])
            # Their mask of groups that are not chosen is 0, ours -inf: with every choice positive they agree.
            named[start + "mlp.gate.e_score_correction_bias"] = torch.cat([layer.bias_E for layer in layers]) + 1.0
            gate_up = torch.cat([torch.cat((layer.gate_EFD, layer.up_EFD), 1) for layer in layers])
            named[start + "mlp.experts.gate_up_proj"] = gate_up
            named[start + "mlp.experts.down_proj"] = torch.cat([layer.down_EDF for layer in layers])
    return {name: tensor.detach() for name, tensor in named.items()}


@pytest.mark.parametrize(("leaves", "topk_group"), [(1, 1), (4, 1), (4, 2)])
@torch.no_grad()
def test_logits_equal_deepseek_v3(leaves: int, topk_group: int, tokens_BS: torch.Tensor) -> None:
    model = tiny(MLA, tied_head=False)
    for seed in range(leaves):
        model.join(f"leaf-{seed}", grown(model, seed))
    model.topk_group = topk_group
    sizes = model.config
    config = transformers.DeepseekV3Config(
        vocab_size=sizes.vocab_size,
        hidden_size=sizes.dim,
        intermediate_size=sizes.ffn_dim,
        moe_intermediate_size=16,
        n_shared_experts=sizes.ffn_dim // 16,
        num_hidden_layers=sizes.num_layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        n_routed_experts=4 * leaves,
        num_experts_per_tok=2,
        n_group=leaves,
        topk_group=topk_group,
        first_k_dense_replace=1,
        norm_topk_prob=False,
        routed_scaling_factor=1.0,
        kv_lora_rank=MLA.kv_lora_rank,
        q_lora_rank=MLA.q_lora_rank,
        qk_nope_head_dim=MLA.nope_head_dim,
        qk_rope_head_dim=MLA.rope_head_dim,
        v_head_dim=MLA.value_head_dim,
        rope_interleave=True,
        rms_norm_eps=sizes.norm_eps,
        max_position_embeddings=sizes.max_tokens,
        attention_bias=False,
    )
    twin = transformers.DeepseekV3ForCausalLM(config).eval()
    missing, unexpected = twin.load_state_dict(copied_weights(model), strict=False)
    assert not missing
    assert not unexpected
    assert (twin(tokens_BS).logits - model(tokens_BS)).abs().max() <= 1e-4


@pytest.mark.parametrize("options", [{}, {"qk_norm": False, "qkv_bias": False}], ids=["norm-and-bias", "plain"])
@torch.no_grad()
def test_grouped_query_logits_equal_glm4_moe(options: dict[str, bool], tokens_BS: torch.Tensor) -> None:
    model = tiny(GQAConfig(num_heads=4, num_kv_heads=2, head_dim=8, **({"qk_norm": True, "qkv_bias": True} | options)))
    for seed in range(3):
        model.join(f"leaf-{seed}", grown(model, seed))
    sizes, attention = model.config, model.config.attention
    config = transformers.Glm4MoeConfig(
        vocab_size=sizes.vocab_size,
        hidden_size=sizes.dim,
        intermediate_size=sizes.ffn_dim,
        moe_intermediate_size=16,
        n_shared_experts=sizes.ffn_dim // 16,
        num_hidden_layers=sizes.num_layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        partial_rotary_factor=1.0,
        n_routed_experts=12,
        num_experts_per_tok=2,
        n_group=3,
        topk_group=1,
        first_k_dense_replace=1,
        norm_topk_prob=False,
        routed_scaling_factor=1.0,
        attention_bias=attention.qkv_bias,
        use_qk_norm=attention.qk_norm,
        rms_norm_eps=sizes.norm_eps,
        max_position_embeddings=sizes.max_tokens,
        tie_word_embeddings=True,
    )
    config.rope_parameters = {"rope_type": "default", "rope_theta": sizes.rope_theta, "partial_rotary_factor": 1.0}
    twin = transformers.Glm4MoeForCausalLM(config).eval()
    missing, unexpected = twin.load_state_dict(copied_weights(model), strict=False)
    assert set(missing) <= {"lm_head.weight"}
    assert not unexpected
    assert (twin(tokens_BS).logits - model(tokens_BS)).abs().max() <= 1e-4
