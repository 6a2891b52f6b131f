"""Multi-head attention (Vaswani et al., 2017)."""
from ..ops import chunk, concat, expand_dims, full, linear, triu, where, zeros
from ..ops.attention import MINUS_INFINITY, attended, attention_weights, heads_apart, heads_joined
from . import functional as F
from . import init
from .linear import Linear, check_sizes
from .module import Module
from .parameter import Parameter


class MultiheadAttention(Module):
    """Attention of num_heads heads on projections of query, key and value, joined and projected once more.

    Shapes: query (T, N, E), key (S, N, kdim), value (S, N, vdim), with batch_first (N, T, E) and so on, or all without N ->
    output as query, and the weights, their mean over the heads (N, T, S), or each head's (N, num_heads, T, S) with
    average_attn_weights=False, or None with need_weights=False, which streams and is faster. dropout: of the weights, in
    training. add_bias_kv: one more key and value that are learned; add_zero_attn: one more that are zeros. Raises ValueError
    where sizes do not match.
    """

    def __init__(self, embed_dim, num_heads, dropout=0.0, bias=True, add_bias_kv=False, add_zero_attn=False, kdim=None,
                 vdim=None, batch_first=False, device=None, dtype=None):
        super().__init__()
        kdim, vdim = embed_dim if kdim is None else kdim, embed_dim if vdim is None else vdim
        check_sizes("MultiheadAttention", embed_dim=embed_dim, num_heads=num_heads, kdim=kdim, vdim=vdim)
        if num_heads < 1 or embed_dim < 1 or embed_dim % num_heads:
            raise ValueError(f"MultiheadAttention: embed_dim={embed_dim}, num_heads={num_heads}: a multiple of the heads, and "
                             "one head or more, expected")
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = embed_dim, num_heads, dropout, batch_first
        self.kdim, self.vdim, self.head_dim = kdim, vdim, embed_dim // num_heads
        kind = {"dtype": dtype, "device": device}
        self.add_zero_attn, self._qkv_same_embed_dim = add_zero_attn, kdim == vdim == embed_dim
        together = self._qkv_same_embed_dim
        for name, rows, size, used in (("in_proj_weight", 3 * embed_dim, embed_dim, together),
                                       ("q_proj_weight", embed_dim, embed_dim, not together),
                                       ("k_proj_weight", embed_dim, kdim, not together),
                                       ("v_proj_weight", embed_dim, vdim, not together)):
            self.register_parameter(name, Parameter(zeros((rows, size), **kind)) if used else None)
        self.register_parameter("in_proj_bias", Parameter(zeros(3 * embed_dim, **kind)) if bias else None)
        self.out_proj = Linear(embed_dim, embed_dim, bias, **kind)
        for name in ("bias_k", "bias_v"):
            self.register_parameter(name, Parameter(zeros((1, 1, embed_dim), **kind)) if add_bias_kv else None)
        self.reset_parameters()

    def reset_parameters(self):
        """Draws new initial values, as PyTorch does."""
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        self.out_proj.reset_parameters()
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                init.xavier_normal_(bias)

    def project(self, query, key, value):
        """The three projections, each (N, length, E)."""
        if self._qkv_same_embed_dim and query is key and key is value:
            return chunk(linear(query, self.in_proj_weight, self.in_proj_bias), 3, -1)
        weights = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        if self._qkv_same_embed_dim:
            weights = chunk(self.in_proj_weight, 3)
        biases = (None,) * 3 if self.in_proj_bias is None else chunk(self.in_proj_bias, 3)
        return [linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases)]

    def merged_mask(self, attn_mask, key_padding_mask, dtype, more):
        """Both masks as one to be added, (N or 1, H or 1, T or 1, S); None where there is none. All see `more` keys."""
        mask = None
        if attn_mask is not None:
            mask = additive(attn_mask, dtype)
            if mask.ndim == 3:  # (N * H, T, S)
                mask = mask.reshape(-1, self.num_heads, *mask.shape[1:])
        if key_padding_mask is not None:
            padding = additive(key_padding_mask, dtype)
            padding = padding.reshape(-1, 1, 1, padding.shape[-1])
            mask = padding if mask is None else mask + padding
        return mask if mask is None or not more else concat([mask, zeros((*mask.shape[:-1], more), dtype=mask.dtype)], -1)

    def check(self, query, key, value, key_padding_mask, attn_mask):
        """Raises ValueError where shapes do not fit."""
        for name, x, size in (("query", query, self.embed_dim), ("key", key, self.kdim), ("value", value, self.vdim)):
            if x.ndim not in (2, 3) or x.ndim != query.ndim or x.shape[-1] != size:
                raise ValueError(f"MultiheadAttention: {name} {x.shape} with query {query.shape}: as many axes, 2 or 3, the "
                                 f"last of {size}, expected")
        length = 1 if self.batch_first and query.ndim == 3 else 0
        t, s, n = query.shape[length], key.shape[length], query.shape[1 - length] if query.ndim == 3 else 1
        wanted = ((t, s), (n * self.num_heads, t, s))
        if attn_mask is not None and attn_mask.shape not in wanted:
            raise ValueError(f"MultiheadAttention: attn_mask {attn_mask.shape}: {wanted[0]} or {wanted[1]} expected")
        wanted = (n, s) if query.ndim == 3 else (s,)
        if key_padding_mask is not None and key_padding_mask.shape != wanted:
            raise ValueError(f"MultiheadAttention: key_padding_mask {key_padding_mask.shape}: {wanted} expected")

    def forward(self, query, key, value, key_padding_mask=None, need_weights=True, attn_mask=None, average_attn_weights=True,
                is_causal=False):
        """The output and the weights. attn_mask (T, S) or (N num_heads, T, S), key_padding_mask (N, S) or (S,): added if
        floating; if bool, True hides a key, as in PyTorch. is_causal: query t sees keys 0 to t; attn_mask is that, or None.
        """
        self.check(query, key, value, key_padding_mask, attn_mask)
        more = (self.bias_k is not None) + self.add_zero_attn
        # as in PyTorch, is_causal alone also hides the keys that add_bias_kv and add_zero_attn append
        causal = is_causal and (attn_mask is None or not need_weights) and not (more and key_padding_mask is not None)
        if is_causal and not causal and attn_mask is None:
            attn_mask = causal_mask_of(query.shape[-2 if self.batch_first or query.ndim == 2 else 0], query.dtype)
        mask = self.merged_mask(None if causal else attn_mask, key_padding_mask, query.dtype, more)
        p = self.dropout if self.training else 0.0
        parts = map(self.batch_major, self.project(query, key, value))
        y, weights = self.attend(*parts, mask, causal, p, need_weights)
        if weights is not None and average_attn_weights:
            weights = weights.mean(axis=1)
        if query.ndim == 2:
            return self.out_proj(y[0]), weights if weights is None else weights[0]
        return self.out_proj(y if self.batch_first else y.transpose(0, 1)), weights

    def batch_major(self, x):
        """x as (N, length, channels)."""
        return expand_dims(x, 0) if x.ndim == 2 else x if self.batch_first else x.transpose(0, 1)

    def attend(self, q, k, v, mask, causal, dropout_p, need_weights):
        """The heads' results side by side, and their weights if asked for."""
        if self.bias_k is not None:
            k, v = (concat([x, b.expand(x.shape[0], 1, x.shape[2])], 1) for x, b in ((k, self.bias_k), (v, self.bias_v)))
        if self.add_zero_attn:
            k, v = (concat([x, zeros((x.shape[0], 1, x.shape[2]), dtype=x.dtype)], 1) for x in (k, v))
        q, k, v = (heads_apart(x, self.num_heads) for x in (q, k, v))
        if not need_weights:
            return heads_joined(attended(q, k, v, mask, causal, None, dropout_p)), None
        weights = F.dropout(attention_weights(q, k, mask, causal), dropout_p)
        return heads_joined(weights @ v), weights

    def extra_repr(self):
        return f"{self.embed_dim}, {self.num_heads}, dropout={self.dropout}, batch_first={self.batch_first}"


def additive(mask, dtype):
    """A mask to be added: -inf where a bool one hides a key."""
    return where(mask, MINUS_INFINITY, 0.0).astype(dtype) if mask.dtype == bool else mask.astype(dtype)


def causal_mask_of(length, dtype="float32"):
    """(length, length), to be added: -inf above the diagonal, 0 elsewhere."""
    return triu(full((length, length), MINUS_INFINITY, dtype=dtype), 1)
