import pytest
import torch

from baicai.model.config import GQAConfig, LeafConfig, MLAConfig, ModelConfig
from baicai.model.experts import Leaf
from baicai.model.transformer import Transformer

GQA = GQAConfig(num_heads=4, num_kv_heads=2, head_dim=8, qk_norm=True, qkv_bias=True)
MLA = MLAConfig(
    kind="mla", num_heads=4, kv_lora_rank=16, q_lora_rank=24, nope_head_dim=8, rope_head_dim=4, value_head_dim=12
)
LEAF = LeafConfig(first_layer=1, num_experts=4, expert_dim=16, top_k=2)


def tiny(attention: GQAConfig | MLAConfig = GQA, tied_head: bool = True, mtp: bool = False) -> Transformer:
    config = ModelConfig(
        vocab_size=97,
        dim=32,
        num_layers=3,
        ffn_dim=48,
        attention=attention,
        max_tokens=64,
        tied_head=tied_head,
        mtp=mtp,
    )
    model = Transformer(config)
    model.initialize(0)
    for name, parameter in model.named_parameters():
        if "norm" in name or name.endswith("bias"):
            torch.nn.init.uniform_(parameter, 0.5, 1.5, generator=torch.Generator().manual_seed(1))
    return model.eval()


def grown(model: Transformer, seed: int, config: LeafConfig = LEAF) -> Leaf:
    """A leaf that says something: every tensor random."""
    leaf = Leaf(model.config, config)
    leaf.initialize(seed)
    generator = torch.Generator().manual_seed(100 + seed)
    for layer in leaf.layer_list():
        torch.nn.init.normal_(layer.down_EDF, std=0.2, generator=generator)
        torch.nn.init.normal_(layer.router_ED, std=0.3, generator=generator)
        torch.nn.init.uniform_(layer.bias_E, -0.1, 0.1, generator=generator)
    return leaf.eval()


@pytest.fixture(params=["gqa", "mla"])
def model(request: pytest.FixtureRequest) -> Transformer:
    return tiny(GQA if request.param == "gqa" else MLA)


@pytest.fixture
def tokens_BS() -> torch.Tensor:
    return torch.randint(97, (3, 20), generator=torch.Generator().manual_seed(2))
