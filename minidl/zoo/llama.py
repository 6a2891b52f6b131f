"""Llama (Touvron et al., 2023) in one file: a GPT with RMS norms, rotary positions, gated networks and shared key heads.

Parameters have the names and layouts of Hugging Face's LlamaForCausalLM, without its prefix "model.". The letters of the
shapes: B sequences, T tokens in each, C channels, H heads of D = C / H channels, G heads of keys and values, V words.
"""
import numpy as np

from .. import nn
from ..autograd.tensor import wrap
from ..nn import functional as F
from ..ops.attention import attention, heads_joined, rotate
from .cache import KeyValueCache, generate
from .head import logits_and_loss


class Attention(nn.Module):
    """Each token looks at itself and at those before it. H / G heads share their keys and values (Ainslie et al., 2023)."""

    def __init__(self, hidden_size, num_attention_heads, num_key_value_heads):
        super().__init__()
        self.heads, self.groups, size = num_attention_heads, num_key_value_heads, hidden_size // num_attention_heads
        self.q_proj = nn.Linear(hidden_size, self.heads * size, bias=False)
        self.k_proj = nn.Linear(hidden_size, self.groups * size, bias=False)
        self.v_proj = nn.Linear(hidden_size, self.groups * size, bias=False)
        self.o_proj = nn.Linear(self.heads * size, hidden_size, bias=False)

    def forward(self, x, angles, cache=None):  # (B, T, C) -> (B, T, C)
        b, t, _ = x.shape
        q = rotate(self.q_proj(x).reshape(b, t, self.heads, -1), angles).transpose(1, 2)   # (B, H, T, D)
        k = rotate(self.k_proj(x).reshape(b, t, self.groups, -1), angles).transpose(1, 2)  # (B, G, T, D)
        v = self.v_proj(x).reshape(b, t, self.groups, -1).transpose(1, 2)
        causal = cache is None or cache.length == 0
        if cache is not None:
            k, v = cache.append(k, v)
        return self.o_proj(heads_joined(attention(q, k, v, None, causal)[0]))


class MLP(nn.Module):
    """A network whose inner channels are gated: SwiGLU (Shazeer, 2020)."""

    def __init__(self, hidden_size, intermediate_size):
        super().__init__()
        self.gate_proj = nn.Linear(hidden_size, intermediate_size, bias=False)
        self.up_proj = nn.Linear(hidden_size, intermediate_size, bias=False)
        self.down_proj = nn.Linear(intermediate_size, hidden_size, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class LlamaBlock(nn.Module):
    """Attention between the tokens, then a network for each token by itself; both are added to what was there."""

    def __init__(self, hidden_size, intermediate_size, num_attention_heads, num_key_value_heads, rms_norm_eps=1e-5):
        super().__init__()
        self.input_layernorm = nn.RMSNorm(hidden_size, rms_norm_eps)
        self.self_attn = Attention(hidden_size, num_attention_heads, num_key_value_heads)
        self.post_attention_layernorm = nn.RMSNorm(hidden_size, rms_norm_eps)
        self.mlp = MLP(hidden_size, intermediate_size)

    def forward(self, x, angles, cache=None):
        x = x + self.self_attn(self.input_layernorm(x), angles, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """vocab_size tokens, up to block_size of them at a time, through num_hidden_layers blocks.

    num_key_value_heads: a divisor of num_attention_heads, which it is if None. rope_theta: the base of the rotations' wave
    lengths (Su et al., 2021). Initial values: normal with deviation 0.02. Raises ValueError where sizes do not divide.
    """

    def __init__(self, vocab_size=65, block_size=256, num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=None,
                 hidden_size=256, intermediate_size=688, rope_theta=10000.0, rms_norm_eps=1e-5):
        super().__init__()
        groups = num_attention_heads if num_key_value_heads is None else num_key_value_heads
        if hidden_size % (2 * num_attention_heads) or num_attention_heads % groups:
            raise ValueError(f"Llama: hidden_size={hidden_size}, num_attention_heads={num_attention_heads}, "
                             f"num_key_value_heads={groups}: an even size for each head, and a divisor of the heads, expected")
        self.block_size = block_size
        self.embed_tokens = nn.Embedding(vocab_size, hidden_size)
        self.layers = nn.ModuleList([LlamaBlock(hidden_size, intermediate_size, num_attention_heads, groups, rms_norm_eps)
                                     for _ in range(num_hidden_layers)])
        self.norm = nn.RMSNorm(hidden_size, rms_norm_eps)
        self.lm_head = nn.Linear(hidden_size, vocab_size, bias=False)
        for p in self.parameters():
            if p.ndim == 2:
                nn.init.normal_(p, std=0.02)
        half = hidden_size // num_attention_heads // 2
        waves = rope_theta ** (-np.arange(half) / half)  # pair i turns by position * waves[i]
        self.angles = np.outer(np.arange(block_size), waves).astype(np.float32)[:, None]  # (block_size, 1, D / 2)

    def forward(self, idx, targets=None, caches=None, need_logits=True):
        """idx, targets: integers (B, T) -> logits (B, T, V), and the mean cross entropy with the targets or None.

        A target of -100 does not count. caches: one for each block; idx then follows what they hold. need_logits False, with
        targets: None in their place, and they are never in memory as a whole, which pays for large vocabularies.
        Raises ValueError for more than block_size tokens.
        """
        start = caches[0].length if caches else 0
        if start + idx.shape[1] > self.block_size:
            raise ValueError(f"Llama: {start + idx.shape[1]} tokens: at most block_size={self.block_size} expected")
        x, angles = self.embed_tokens(idx), wrap(self.angles[start:start + idx.shape[1]])  # x: (B, T, C)
        for i, layer in enumerate(self.layers):
            x = layer(x, angles, caches and caches[i])
        return logits_and_loss(self.lm_head, self.norm(x), targets, need_logits)

    def generate(self, idx, max_new_tokens, temperature=1.0, top_k=None):
        """idx (B, T) and max_new_tokens more: see `cache.generate`."""
        return generate(self, idx, max_new_tokens, [KeyValueCache(self.block_size) for _ in self.layers], temperature, top_k)
