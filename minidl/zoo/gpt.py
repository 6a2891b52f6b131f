"""GPT-2 (Radford et al., 2019) in one file: a transformer that reads tokens and predicts, at each, the next one.

The letters of the shapes: B sequences, T tokens in each, C channels, H heads of D = C / H channels, V words.
"""
from math import sqrt

from .. import nn
from ..nn import functional as F
from .head import logits_and_loss


class CausalSelfAttention(nn.Module):
    """Each token looks at itself and at those before it."""

    def __init__(self, n_embd, n_head, dropout=0.0, bias=True):
        super().__init__()
        if n_embd % n_head:
            raise ValueError(f"CausalSelfAttention: n_embd={n_embd}, n_head={n_head}: a multiple of the heads expected")
        self.n_head, self.dropout = n_head, dropout
        self.qkv = nn.Linear(n_embd, 3 * n_embd, bias)  # queries, keys and values of all heads in one product
        self.proj = nn.Linear(n_embd, n_embd, bias)

    def forward(self, x, cache=None):  # (B, T, C) -> (B, T, C)
        b, t, c = x.shape
        q, k, v = (part.reshape(b, t, self.n_head, c // self.n_head).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        causal = cache is None or cache.length == 0
        if cache is not None:
            k, v = cache.append(k, v)
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0, is_causal=causal)
        return self.proj(y.transpose(1, 2).reshape(b, t, c))  # from (B, H, T, D)


class Block(nn.Module):
    """Attention between the tokens, then a network for each token by itself; both are added to what was there."""

    def __init__(self, n_embd, n_head, dropout=0.0, bias=True):
        super().__init__()
        self.ln_1 = nn.LayerNorm(n_embd, bias=bias)
        self.attn = CausalSelfAttention(n_embd, n_head, dropout, bias)
        self.ln_2 = nn.LayerNorm(n_embd, bias=bias)
        self.mlp = nn.Sequential(nn.Linear(n_embd, 4 * n_embd, bias), nn.GELU(), nn.Linear(4 * n_embd, n_embd, bias))
        self.drop = nn.Dropout(dropout)

    def forward(self, x, cache=None):
        x = x + self.drop(self.attn(self.ln_1(x), cache))
        return x + self.drop(self.mlp(self.ln_2(x)))


class GPT(nn.Module):
    """vocab_size tokens, up to block_size of them at a time, through n_layer blocks of n_head heads and n_embd channels.

    bias: of the linear layers and norms. tie_weights: the table of tokens also turns channels into logits (Press and Wolf,
    2017). Initial values: normal with deviation 0.02, of the layers that end in a sum by sqrt(2 n_layer) smaller.
    """

    def __init__(self, vocab_size=65, block_size=256, n_layer=6, n_head=6, n_embd=384, dropout=0.0, bias=True,
                 tie_weights=True):
        super().__init__()
        self.block_size = block_size
        self.wte = nn.Embedding(vocab_size, n_embd)  # word, token, embedding
        self.wpe = nn.Embedding(block_size, n_embd)  # position
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList([Block(n_embd, n_head, dropout, bias) for _ in range(n_layer)])
        self.ln_f = nn.LayerNorm(n_embd, bias=bias)
        self.lm_head = nn.Linear(n_embd, vocab_size, bias=False)
        for name, p in self.named_parameters():
            if p.ndim == 2:
                nn.init.normal_(p, std=0.02 / sqrt(2 * n_layer) if name.endswith(("proj.weight", "mlp.2.weight")) else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(p)
        if tie_weights:
            self.lm_head.weight = self.wte.weight

    def forward(self, idx, targets=None, caches=None, need_logits=True):
        """idx, targets: integers (B, T) -> logits (B, T, V), and the mean cross entropy with the targets or None.

        A target of -100 does not count. caches: one for each block; idx then follows what they hold. need_logits False, with
        targets: None in their place, and they are never in memory as a whole, which pays for large vocabularies.
        Raises ValueError for more than block_size tokens.
        """
        start = caches[0].length if caches else 0
        if start + idx.shape[1] > self.block_size:
            raise ValueError(f"GPT: {start + idx.shape[1]} tokens: at most block_size={self.block_size} expected")
        x = self.drop(self.wte(idx) + self.wpe.weight[start:start + idx.shape[1]])  # (B, T, C)
        for i, block in enumerate(self.blocks):
            x = block(x, caches and caches[i])
        return logits_and_loss(self.lm_head, self.ln_f(x), targets, need_logits)

    def generate(self, idx, max_new_tokens, temperature=1.0, top_k=None):
        """idx (B, T) and max_new_tokens more: see `cache.generate`."""
        from .cache import KeyValueCache, generate
        return generate(self, idx, max_new_tokens, [KeyValueCache(self.block_size) for _ in self.blocks], temperature, top_k)

    def count_parameters(self):
        """How many numbers are trained, a tied table counted once."""
        return sum(p.numel() for p in self.parameters())
