"""The parts of a layer that every token passes through: rotary positions, attention and the shared expert.

Shape suffixes: B sequences, S positions, D model width, H query heads, J key heads, C head size, F hidden size of a
feed-forward, R rank of the compressed cache, V vocabulary.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from baicai.model.chunked_attention import attend_in_chunks
from baicai.model.config import GQAConfig, MLAConfig, ModelConfig, RopeScaling
from baicai.model.norm import RMSNorm
from baicai.model.rotary import rotary_frequencies

StartPosition = int | Tensor
"""Position of the first new token. It is a tensor [1] in a step of one token that is recorded as a CUDA graph."""


def _positions(start: StartPosition, count: int) -> slice | Tensor:
    return slice(start, start + count) if isinstance(start, int) else start


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether the hardware multiplies bfloat16. Without, PyTorch takes a hundred times as long."""
    return device.type == "cuda" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def product_dtype(x: Tensor) -> torch.dtype:
    """Return the type of matrix products with `x` under the current autocast state."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x @ weight.T + bias in the type of x. Weights may be stored in a shorter type."""
    if weight.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type):
        weight, bias = weight.to(x.dtype), None if bias is None else bias.to(x.dtype)
    return F.linear(x, weight, bias)


class Linear(nn.Linear):
    """A linear layer whose weights may be stored in a shorter type than its input."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class SwiGLU(nn.Module):
    """The feed-forward of a layer, which is the shared expert of its leaves. Source: Shazeer, 2020."""

    def __init__(self, dim: int, ffn_dim: int) -> None:
        super().__init__()
        self.gate = Linear(dim, ffn_dim, bias=False)
        self.up = Linear(dim, ffn_dim, bias=False)
        self.down = Linear(ffn_dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(product_dtype(x))  # once for both projections
        out: Tensor = self.down(F.silu(self.gate(x)) * self.up(x))
        return out


class Rotary(nn.Module):
    """Cosines and sines of rotary positions, float32. Source: Su et al., 2021, equation 34."""

    cos: Tensor
    sin: Tensor

    def __init__(self, size: int, max_tokens: int, theta: float, scaling: RopeScaling | None = None) -> None:
        super().__init__()
        with torch.device("cpu"):  # also for a network on the meta device
            frequency, factor = rotary_frequencies(size, theta, scaling)
            angle = torch.outer(torch.arange(max_tokens, dtype=torch.float32), frequency)
        self.register_buffer("cos", angle.cos() * factor, persistent=False)
        self.register_buffer("sin", angle.sin() * factor, persistent=False)

    def rotate(self, x_BHSC: Tensor, start: StartPosition, *, interleaved: bool) -> Tensor:
        """Rotate pairs of features by their position. Pairs are neighbours if interleaved, else half a head apart."""
        if interleaved:
            x_BHSC = torch.cat((x_BHSC[..., 0::2], x_BHSC[..., 1::2]), dim=-1)
        positions = _positions(start, x_BHSC.shape[-2])
        cos, sin = self.cos[positions], self.sin[positions]
        left, right = x_BHSC.float().chunk(2, dim=-1)
        return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1).to(x_BHSC.dtype)


class LayerCache:
    """KV cache of one layer: tensors that are filled along the position axis, allocated at full length."""

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self.buffers: tuple[Tensor, ...] = ()

    def extend(self, start: StartPosition, *parts_BxSx: Tensor) -> tuple[Tensor, ...]:
        """Store tensors at position `start` of axis -2.

        Returns: the cache up to the last new position, or the full buffers if `start` is a tensor.
        """
        if not self.buffers:
            self.buffers = tuple(
                part.new_zeros(*part.shape[:-2], self._max_tokens, part.shape[-1]) for part in parts_BxSx
            )
        positions = _positions(start, parts_BxSx[0].shape[-2])
        stop = positions.stop if isinstance(positions, slice) else None
        pairs = list(zip(self.buffers, parts_BxSx, strict=True))
        for buffer, part in pairs:
            buffer[..., positions, :] = part.to(buffer.dtype)
        return tuple(buffer[..., :stop, :].to(part.dtype) for buffer, part in pairs)


def attend(q_BHSC: Tensor, k_BJPC: Tensor, v_BJPC: Tensor, start: StartPosition) -> Tensor:
    """Causal softmax attention. The last query sees the last key or, in full buffers, the key at `start`."""
    queries, keys = q_BHSC.shape[-2], k_BJPC.shape[-2]
    if q_BHSC.dtype == torch.bfloat16 and q_BHSC.device.type == "cpu" and queries > 1:
        return attend_in_chunks(q_BHSC, k_BJPC, v_BJPC)
    groups = q_BHSC.shape[1] // k_BJPC.shape[1]
    k_BHPC, v_BHPC = (x if groups == 1 else x.repeat_interleave(groups, 1) for x in (k_BJPC, v_BJPC))
    if isinstance(start, Tensor):
        seen_1P = torch.arange(keys, device=start.device)[None] <= start
        return F.scaled_dot_product_attention(q_BHSC, k_BHPC, v_BHPC, attn_mask=seen_1P)
    if queries == keys:
        return F.scaled_dot_product_attention(q_BHSC, k_BHPC, v_BHPC, is_causal=True)
    seen = torch.ones(queries, keys, dtype=torch.bool, device=q_BHSC.device).tril(keys - queries)
    return F.scaled_dot_product_attention(q_BHSC, k_BHPC, v_BHPC, attn_mask=None if queries == 1 else seen)


class GroupedQueryAttention(nn.Module):
    """Attention in which several query heads share a key and value head. Source: Ainslie et al., 2023."""

    def __init__(self, config: ModelConfig, sizes: GQAConfig) -> None:
        super().__init__()
        self.sizes = sizes
        queries, keys = sizes.num_heads * sizes.head_dim, sizes.num_kv_heads * sizes.head_dim
        self.q = Linear(config.dim, queries, bias=sizes.qkv_bias)
        self.k = Linear(config.dim, keys, bias=sizes.qkv_bias)
        self.v = Linear(config.dim, keys, bias=sizes.qkv_bias)
        self.out = Linear(queries, config.dim, bias=False)
        self.q_norm = RMSNorm(sizes.head_dim, config.norm_eps) if sizes.qk_norm else None
        self.k_norm = RMSNorm(sizes.head_dim, config.norm_eps) if sizes.qk_norm else None

    def forward(self, x_BSD: Tensor, rotary: Rotary, start: StartPosition, cache: LayerCache | None) -> Tensor:
        shape = (-1, self.sizes.head_dim)
        x_BSD = x_BSD.to(product_dtype(x_BSD))  # once for all three projections
        q_BSHC, k_BSJC = self.q(x_BSD).unflatten(-1, shape), self.k(x_BSD).unflatten(-1, shape)
        v_BJSC = self.v(x_BSD).unflatten(-1, shape).transpose(1, 2)
        if self.q_norm is not None and self.k_norm is not None:
            q_BSHC, k_BSJC = self.q_norm(q_BSHC), self.k_norm(k_BSJC)
        q_BHSC = rotary.rotate(q_BSHC.transpose(1, 2), start, interleaved=False)
        k_BJSC = rotary.rotate(k_BSJC.transpose(1, 2), start, interleaved=False)
        if cache is not None:
            k_BJSC, v_BJSC = cache.extend(start, k_BJSC, v_BJSC)
        out: Tensor = self.out(attend(q_BHSC, k_BJSC, v_BJSC, start).transpose(1, 2).flatten(-2))
        return out


class LatentAttention(nn.Module):
    """Attention whose keys and values come from one compressed vector per token, which is all that is cached.

    Source: DeepSeek-V2, section 2.1, equations 9 to 19.
    """

    def __init__(self, config: ModelConfig, sizes: MLAConfig) -> None:
        super().__init__()
        self.sizes = sizes
        query_dim = sizes.num_heads * (sizes.nope_head_dim + sizes.rope_head_dim)
        self.q_down: Linear | None = None
        if sizes.q_lora_rank is not None:
            self.q_down = Linear(config.dim, sizes.q_lora_rank, bias=False)
            self.q_norm = RMSNorm(sizes.q_lora_rank, config.norm_eps)
        self.q = Linear(sizes.q_lora_rank or config.dim, query_dim, bias=False)
        self.kv_down = Linear(config.dim, sizes.kv_lora_rank + sizes.rope_head_dim, bias=False)
        self.kv_norm = RMSNorm(sizes.kv_lora_rank, config.norm_eps)
        self.kv_up = Linear(
            sizes.kv_lora_rank, sizes.num_heads * (sizes.nope_head_dim + sizes.value_head_dim), bias=False
        )
        self.out = Linear(sizes.num_heads * sizes.value_head_dim, config.dim, bias=False)

    def forward(self, x_BSD: Tensor, rotary: Rotary, start: StartPosition, cache: LayerCache | None) -> Tensor:
        sizes = self.sizes
        x_BSD = x_BSD.to(product_dtype(x_BSD))  # once for both projections
        q_BSX = x_BSD if self.q_down is None else self.q_norm(self.q_down(x_BSD))
        q_BHSC = self.q(q_BSX).unflatten(-1, (sizes.num_heads, -1)).transpose(1, 2)
        q_nope, q_rope = q_BHSC.split((sizes.nope_head_dim, sizes.rope_head_dim), dim=-1)
        latent_BSR, k_rope_BSC = self.kv_down(x_BSD).split((sizes.kv_lora_rank, sizes.rope_head_dim), dim=-1)
        latent_BSR = self.kv_norm(latent_BSR)
        k_rope_BSC = rotary.rotate(k_rope_BSC.unsqueeze(1), start, interleaved=True).squeeze(1)
        if cache is not None:
            latent_BSR, k_rope_BSC = cache.extend(start, latent_BSR, k_rope_BSC)
        kv_BHSC = self.kv_up(latent_BSR).unflatten(-1, (sizes.num_heads, -1)).transpose(1, 2)
        k_nope, v_BHSC = kv_BHSC.split((sizes.nope_head_dim, sizes.value_head_dim), dim=-1)
        k_BHSC = torch.cat((k_nope, k_rope_BSC.unsqueeze(1).expand(-1, sizes.num_heads, -1, -1)), dim=-1)
        q_BHSC = torch.cat((q_nope, rotary.rotate(q_rope, start, interleaved=True)), dim=-1)
        out: Tensor = self.out(attend(q_BHSC, k_BHSC, v_BHSC, start).transpose(1, 2).flatten(-2))
        return out


class Block(nn.Module):
    """One layer of the trunk."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        sizes = config.attention
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.attention: nn.Module = (
            GroupedQueryAttention(config, sizes) if isinstance(sizes, GQAConfig) else LatentAttention(config, sizes)
        )
        self.shared_norm = RMSNorm(config.dim, config.norm_eps)
        self.shared = SwiGLU(config.dim, config.ffn_dim)

    def forward(self, x_BSD: Tensor, rotary: Rotary, start: StartPosition, cache: LayerCache | None) -> Tensor:
        return self.feed_forward(self.attend(x_BSD, rotary, start, cache))[0]

    def attend(self, x_BSD: Tensor, rotary: Rotary, start: StartPosition, cache: LayerCache | None) -> Tensor:
        """Return the stream after attention."""
        out: Tensor = x_BSD + self.attention(self.attention_norm(x_BSD), rotary, start, cache)
        return out

    def feed_forward(self, x_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """Return the stream after the shared expert, and the input of that expert, which leaves read as well."""
        h_BSD = self.shared_norm(x_BSD)
        return x_BSD + self.shared(h_BSD), h_BSD
