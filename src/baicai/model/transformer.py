"""The network: a trunk, and leaves whose chosen experts add to the stream in its upper layers.

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
    """Keys and values of a batch's tokens, kept between calls. It belongs to one set of leaves."""

    def __init__(self, config: ModelConfig, max_tokens: int | None = None) -> None:
        self.max_tokens = min(max_tokens or config.max_tokens, config.max_tokens)
        self.length = 0
        self.device_length: Tensor | None = None
        """`length` as a tensor [1], for a step of one token that is recorded as a CUDA graph."""
        self.leaves: dict[str, object] | None = None
        """Each active leaf, with the sequences for which it is active."""
        self.layers = [LayerCache(self.max_tokens) for _ in range(config.num_layers)]
        self.mtp = LayerCache(self.max_tokens)


def check_length(tokens: int, limit: int) -> None:
    """Check that a sequence fits into the context.

    Raises: ConfigError
    """
    if tokens > limit:
        raise ConfigError(f"{tokens} tokens do not fit: this model takes at most {limit}")


class Transformer(nn.Module):
    """A trunk, and the leaves that are joined to it."""

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
        # Last, so that `initialize` draws the same other weights with and without it.
        self.mtp = MultiTokenModule(config) if config.mtp else None

    def initialize(self, seed: int) -> None:
        """Draw the trunk's weights. The same seed gives the same bits."""
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
        """The sizes of the leaves; None without leaves."""
        leaf = next(iter(self.leaves.values()), None)
        return leaf.config if isinstance(leaf, Leaf) else None

    def join(self, name: str, leaf: Leaf) -> None:
        """Join a leaf.

        Raises: ConfigError if the name is taken, or the sizes differ from those of other leaves.
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

        Raises: ConfigError if the leaf is unknown.
        """
        self._check_names([name])
        leaf = self.leaves.pop(name)
        assert isinstance(leaf, Leaf)
        return leaf

    def trunk_tensors(self) -> dict[str, Tensor]:
        """Return the trunk's weights by name."""
        return {name: tensor for name, tensor in self.named_parameters() if not name.startswith("leaves.")}

    def leaf_mask(self, names: Collection[str]) -> Tensor:
        """Return a mask of the named leaves, in the order of `leaves`, [1, G].

        Raises: ConfigError if a leaf is unknown.
        """
        self._check_names(names)
        mask = [[name in names for name in self.leaves]]
        return torch.tensor(mask, dtype=torch.bool, device=self.embedding.weight.device)

    def _check_names(self, names: Collection[str]) -> None:
        for name in sorted(set(names) - set(self.leaves)):
            raise ConfigError(f"unknown leaf '{name}': this model has {', '.join(self.leaves) or 'none'}")

    @property
    def first_leaf_layer(self) -> int:
        """The lowest layer with experts; without leaves, the number of layers."""
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
        """Run the network.

        Args:
            tokens_BS: token ids.
            on_BG: leaves that are active for each sequence, in the order of `self.leaves`; None for all of them. A leaf
                that is active for no sequence is not read.
            cache: keys and values of the tokens before these, which it is extended with.
            trace: list to which the router's choices are appended, a `LayerTrace` for each layer with leaves.

        Returns: logits of the next tokens, [B, S, V], float32.
        Raises: ConfigError if the sequence exceeds the context, or the cache was made with other leaves.
        """
        return self.logits(self.hidden(tokens_BS, on_BG=on_BG, cache=cache, trace=trace))

    def logits(self, hidden_BSD: Tensor) -> Tensor:
        """Return the logits of a normed output, [B, S, V], float32."""
        return linear(hidden_BSD, self.head_weight()).float()

    def draft(self, hidden_BSD: Tensor, tokens_BS: Tensor, *, start: int = 0, cache: KVCache | None = None) -> Tensor:
        """Run the multi-token prediction module, which predicts the tokens after `tokens_BS`.

        Args:
            hidden_BSD: output of `hidden` for the token before each of these.
            tokens_BS: token ids.
            start: position of the first of them.
            cache: cache of the tokens before `start`; later entries are overwritten.

        Returns: the module's normed output, [B, S, D]; `logits` turns it into logits.
        """
        assert self.mtp is not None, "drafting needs an MTP module"
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
        """Return the normed output of the last layer, [B, S, D]. Arguments as in `forward`."""
        return self.upper(self.lower(tokens_BS, cache=cache), on_BG=on_BG, cache=cache, trace=trace)

    def lower(self, tokens_BS: Tensor, *, cache: KVCache | None = None) -> Tensor:
        """Return the stream [B, S, D] that the experts of the first leaf layer read. No leaf affects it.

        Without leaves it is the stream after the last layer.
        """
        check_length((cache.length if cache else 0) + tokens_BS.shape[1], (cache or self.config).max_tokens)
        x_BSD: Tensor = self.embedding(tokens_BS).float()
        for number in range(self.first_leaf_layer):
            x_BSD = self._block(number)(x_BSD, self.rotary, *_cache_of_layer(cache, number))
        return self._attend(self.first_leaf_layer, x_BSD, cache) if self.leaves else x_BSD

    def upper(
        self,
        x_BSD: Tensor,
        *,
        on_BG: Tensor | None = None,
        cache: KVCache | None = None,
        trace: list[LayerTrace] | None = None,
    ) -> Tensor:
        """Return the normed output, [B, S, D], for the stream that `lower` returned. Arguments as in `forward`."""
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
                raise ConfigError(f"this cache was made with leaves {list(cache.leaves)}: make another one for {names}")
            cache.leaves = used
        for number in range(self.first_leaf_layer, self.config.num_layers):
            if number > self.first_leaf_layer:
                x_BSD = self._attend(number, x_BSD, cache)
            x_BSD, h_BSD = self._block(number).feed_forward(x_BSD)
            if names:
                x_BSD = x_BSD + self._routed_experts(h_BSD, number, names, on_TG, trace)
        if cache is not None:
            cache.length += x_BSD.shape[1]
        out: Tensor = self.norm(x_BSD)
        return out

    def _block(self, number: int) -> Block:
        block = self.layers[number]
        assert isinstance(block, Block)
        return block

    def _attend(self, number: int, x_BSD: Tensor, cache: KVCache | None) -> Tensor:
        return self._block(number).attend(x_BSD, self.rotary, *_cache_of_layer(cache, number))

    def _routed_experts(
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


def _cache_of_layer(cache: KVCache | None, number: int) -> tuple[StartPosition, LayerCache | None]:
    """Return the position of the first new token, and the cache of a layer."""
    if cache is None:
        return 0, None
    return cache.length if cache.device_length is None else cache.device_length, cache.layers[number]
