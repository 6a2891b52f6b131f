"""Multi-head attention (Vaswani et al., 2017)."""
from ..ops import zeros
from ..ops.multi_head import multi_head_attention_forward
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

    def forward(self, query, key, value, key_padding_mask=None, need_weights=True, attn_mask=None, average_attn_weights=True,
                is_causal=False):
        """The output and the weights. attn_mask (T, S) or (N num_heads, T, S), key_padding_mask (N, S) or (S,): added if
        floating; if bool, True hides a key, as in PyTorch. is_causal: query t sees keys 0 to t; attn_mask is that, or None.
        """
        return multi_head_attention_forward(
            query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight, self.in_proj_bias, self.bias_k,
            self.bias_v, self.add_zero_attn, self.dropout, self.out_proj.weight, self.out_proj.bias, self.training,
            key_padding_mask, need_weights, attn_mask, not self._qkv_same_embed_dim, self.q_proj_weight, self.k_proj_weight,
            self.v_proj_weight, average_attn_weights=average_attn_weights, is_causal=is_causal, batch_first=self.batch_first)

    def extra_repr(self):
        return f"{self.embed_dim}, {self.num_heads}, dropout={self.dropout}, batch_first={self.batch_first}"
