"""The network: a frozen trunk whose upper layers add what the chosen experts of its leaves say.

Shape suffixes: B sequences, S positions, T = B * S tokens, D model width, G leaves, V vocabulary.
"""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from baicai.errors import ConfigError
from baicai.model.config import GQAConfig, LeafConfig, ModelConfig
from baicai.model.experts import Leaf
from baicai.model.grouped_experts import ExpertMixer
from baicai.model.layers import Block, LayerCache, Linear, Rotary, StartPosition, linear
from baicai.model.multi_token import MultiTokenModule
from baicai.model.norm import RMSNorm
from baicai.model.router import LayerTrace, choose_experts, routing_logits


class KVCache:
    """What a model keeps of a batch's tokens between calls; it belongs to one set of leaves."""

    def __init__(self, config: ModelConfig, max_tokens: int | None = None) -> None:
        self.max_tokens = min(max_tokens or config.max_tokens, config.max_tokens)
        self.length = 0
        self.device_length: Tensor | None = None
        """Stands for `length` in a step of one token that is recorded for CUDA, [1]."""
        self.leaves: dict[str, object] | None = None
        """Each leaf that is on, with the sequences it is on for."""
        self.layers = [LayerCache(self.max_tokens) for _ in range(config.num_layers)]
        self.mtp = LayerCache(self.max_tokens)


def check_length(tokens: int, limit: int) -> None:
    """Raise a ConfigError if a text has more tokens than there is room for."""
    if tokens > limit:
        raise ConfigError(f"{tokens} tokens do not fit: this model takes at most {limit}")


class Transformer(nn.Module):
    """A trunk and the leaves joined to it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.dim)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        self.head = None if config.tied_head else Linear(config.dim, config.vocab_size, bias=False)
        sizes = config.attention
        rope_dim = sizes.head_dim if isinstance(sizes, GQAConfig) else sizes.rope_head_dim
        self.rotary = Rotary(rope_dim, config.max_tokens, config.rope_theta, config.rope_scaling)
        self.leaves = nn.ModuleDict()
        self.topk_group = 1
        self.mixers = [ExpertMixer() for _ in range(config.num_layers)]
        # Last, so that `start` draws the other weights as it does without it.
        self.mtp = MultiTokenModule(config) if config.mtp else None

    def initialize(self, seed: int) -> None:
        """Draw the trunk's weights; the same seed gives the same bits."""
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                into_stream = name.endswith(("out.weight", "down.weight"))
                scale = (2 * self.config.num_layers) ** -0.5 if into_stream else 1.0
                nn.init.normal_(parameter, std=0.02 * scale, generator=generator)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    @property
    def leaf_config(self) -> LeafConfig | None:
        """The sizes that the leaves share; None if there is no leaf."""
        leaf = next(iter(self.leaves.values()), None)
        return leaf.config if isinstance(leaf, Leaf) else None

    def join(self, name: str, leaf: Leaf) -> None:
        """Add a leaf.

        Raises: ConfigError if the name is taken or its sizes differ from the other leaves'.
        """
        if name in self.leaves:
            raise ConfigError(f"two leaves are named '{name}': give one of them another name")
        if self.leaf_config not in (None, leaf.config):
            raise ConfigError(
                f"leaf '{name}' has sizes {leaf.config}, this model's leaves {self.leaf_config}: grow it with those"
            )
        self.leaves[name] = leaf

    def peel(self, name: str) -> Leaf:
        """Remove a leaf and return it.

        Raises: ConfigError if there is none of that name.
        """
        if name not in self.leaves:
            raise ConfigError(f"unknown leaf '{name}': this model has {', '.join(self.leaves) or 'none'}")
        leaf = self.leaves.pop(name)
        assert isinstance(leaf, Leaf)
        return leaf

    def trunk_tensors(self) -> dict[str, Tensor]:
        """Return the trunk's weights by name."""
        return {name: tensor for name, tensor in self.named_parameters() if not name.startswith("leaves.")}

    def leaf_mask(self, names: Collection[str]) -> Tensor:
        """Return which leaves are named, in the order of `leaves`, [1, G].

        Raises: ConfigError for a leaf there is not.
        """
        missing = sorted(set(names) - set(self.leaves))
        if missing:
            raise ConfigError(f"unknown leaf '{missing[0]}': this model has {', '.join(self.leaves) or 'none'}")
        mask = [[name in names for name in self.leaves]]
        return torch.tensor(mask, dtype=torch.bool, device=self.embedding.weight.device)

    @property
    def first_leaf_layer(self) -> int:
        """The lowest layer that a leaf is in; the number of layers if there is no leaf."""
        return self.leaf_config.first_layer if self.leaf_config else self.config.num_layers

    def head_weight(self) -> Tensor:
        """Return the output projection, [V, D]."""
        return self.embedding.weight if self.head is None else self.head.weight

    def forward(
        self,
        tokens_BS: Tensor,
        *,
        on_BG: Tensor | None = None,
        cache: KVCache | None = None,
        trace: list[LayerTrace] | None = None,
    ) -> Tensor:
        """Return logits [B, S, V] of the next tokens, in float32.

        `on_BG` says which leaves, in the order of `self.leaves`, are on for each sequence (default: all); a leaf that
        is off for all is not read. With a cache, the tokens continue what it holds. A `trace` is filled with what the
        router did, a `LayerTrace` for each layer that has leaves.
        """
        return self.logits(self.hidden(tokens_BS, on_BG=on_BG, cache=cache, trace=trace))

    def logits(self, hidden_BSD: Tensor) -> Tensor:
        """Return what the head says of a normed output, [B, S, V], in float32."""
        return linear(hidden_BSD, self.head_weight()).float()

    def draft(self, hidden_BSD: Tensor, tokens_BS: Tensor, *, start: int = 0, cache: KVCache | None = None) -> Tensor:
        """Return the MTP module's normed output [B, S, D], in which the head reads the tokens after `tokens_BS`.

        `hidden_BSD` is what `hidden` gave for the tokens before each of these, the first at position `start`. With a
        cache, what it holds from there on is forgotten.
        """
        assert self.mtp is not None, "a model without an MTP module drafts nothing"
        layer_cache = cache.mtp if cache else None
        out: Tensor = self.mtp(hidden_BSD, self.embedding(tokens_BS).float(), self.rotary, start, layer_cache)
        return out

    def hidden(
        self,
        tokens_BS: Tensor,
        *,
        on_BG: Tensor | None = None,
        cache: KVCache | None = None,
        trace: list[LayerTrace] | None = None,
    ) -> Tensor:
        """Return the normed output of the last layer, [B, S, D]; arguments as in `forward`."""
        return self.upper(self.lower(tokens_BS, cache=cache), on_BG=on_BG, cache=cache, trace=trace)

    def lower(self, tokens_BS: Tensor, *, cache: KVCache | None = None) -> Tensor:
        """Return the stream [B, S, D] where the first leaf layer's experts read it: the same whatever leaves there are.

        Without a leaf that is after the last layer.
        """
        check_length((cache.length if cache else 0) + tokens_BS.shape[1], (cache or self.config).max_tokens)
        x_BSD: Tensor = self.embedding(tokens_BS).float()
        for number in range(self.first_leaf_layer):
            x_BSD = self._block(number)(x_BSD, self.rotary, *_taken(cache, number))
        return self._attend(self.first_leaf_layer, x_BSD, cache) if self.leaves else x_BSD

    def upper(
        self,
        x_BSD: Tensor,
        *,
        on_BG: Tensor | None = None,
        cache: KVCache | None = None,
        trace: list[LayerTrace] | None = None,
    ) -> Tensor:
        """Return the normed output for what `lower` gave; arguments as in `forward`."""
        names = list(self.leaves)
        on_TG: Tensor | None = None
        if on_BG is not None:
            used_G = on_BG.any(0)
            names = [name for name, used in zip(names, used_G.tolist(), strict=True) if used]
            on_BG = on_BG[:, used_G]
            if not bool(on_BG.all()):
                on_TG = on_BG.repeat_interleave(x_BSD.shape[1], 0)
        if cache is not None:
            rows = [None] * len(names) if on_TG is None or on_BG is None else on_BG.T.tolist()
            used: dict[str, object] = {name: (self.leaves[name], row) for name, row in zip(names, rows, strict=True)}
            if cache.leaves not in (None, used):
                raise ConfigError(f"this cache was made with leaves {list(cache.leaves)}: start another for {names}")
            cache.leaves = used
        for number in range(self.first_leaf_layer, self.config.num_layers):
            if number > self.first_leaf_layer:
                x_BSD = self._attend(number, x_BSD, cache)
            x_BSD, h_BSD = self._block(number).feed_forward(x_BSD)
            if names:
                x_BSD = x_BSD + self._routed(h_BSD, number, names, on_TG, trace)
        if cache is not None:
            cache.length += x_BSD.shape[1]
        out: Tensor = self.norm(x_BSD)
        return out

    def _block(self, number: int) -> Block:
        block = self.layers[number]
        assert isinstance(block, Block)
        return block

    def _attend(self, number: int, x_BSD: Tensor, cache: KVCache | None) -> Tensor:
        return self._block(number).attend(x_BSD, self.rotary, *_taken(cache, number))

    def _routed(
        self, h_BSD: Tensor, number: int, names: list[str], on_TG: Tensor | None, trace: list[LayerTrace] | None
    ) -> Tensor:
        leaves = [leaf for name in names if isinstance(leaf := self.leaves[name], Leaf)]
        layers = [leaf.layer(number) for leaf in leaves]
        h_TD = h_BSD.flatten(0, 1)
        logits_TGE = routing_logits(h_TD, [layer.router_ED for layer in layers])
        choice = choose_experts(
            logits_TGE,
            torch.stack([layer.bias_E for layer in layers]),
            topk_group=self.topk_group,
            top_k=leaves[0].config.top_k,
            scaling=leaves[0].config.routed_scaling_factor,
            on_TG=on_TG,
        )
        if trace is not None:
            trace.append(LayerTrace(tuple(names), logits_TGE, choice))
        return self.mixers[number].mix(h_TD, choice, layers, some_absent=on_TG is not None).view_as(h_BSD)


def _taken(cache: KVCache | None, number: int) -> tuple[StartPosition, LayerCache | None]:
    """Return where new tokens begin, and what a layer keeps of those before them."""
    if cache is None:
        return 0, None
    return cache.length if cache.device_length is None else cache.device_length, cache.layers[number]
