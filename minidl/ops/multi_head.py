"""Multi-head attention (Vaswani et al., 2017) as a function of its weights."""
from .attention import MINUS_INFINITY, attended, attention_weights, heads_apart, heads_joined
from .creation import full, zeros
from .dropout import dropout
from .index import triu, where
from .linear import linear
from .shape import broadcast_to, chunk, concat, expand_dims, reshape, swapaxes


def multi_head_attention_forward(query, key, value, embed_dim_to_check, num_heads, in_proj_weight, in_proj_bias, bias_k,
                                 bias_v, add_zero_attn, dropout_p, out_proj_weight, out_proj_bias, training=True,
                                 key_padding_mask=None, need_weights=True, attn_mask=None, use_separate_proj_weight=False,
                                 q_proj_weight=None, k_proj_weight=None, v_proj_weight=None, static_k=None, static_v=None,
                                 average_attn_weights=True, is_causal=False, batch_first=False):
    """What nn.MultiheadAttention computes, from its weights: the output and the weights of attention, or None for them.

    Shapes: query (T, N, E), key (S, N, kdim), value (S, N, vdim), with batch_first (N, T, E) and so on, or all without N;
    in_proj_weight (3 E, E), or with use_separate_proj_weight q_proj_weight (E, E), k_proj_weight (E, kdim), v_proj_weight (E,
    vdim); in_proj_bias (3 E,); bias_k, bias_v (1, 1, E): one more key and value, and with add_zero_attn one more of zeros;
    out_proj_weight (E, E). static_k, static_v (N heads, S, E / heads): projected keys and values instead of key's and value's.
    attn_mask (T, S) or (N heads, T, S), key_padding_mask (N, S) or (S,): added if floating; if bool, True hides a key.
    is_causal: query t sees keys 0 to t; attn_mask is that, or None. Raises ValueError where sizes do not match.
    """
    separate = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else None
    batched, axis = query.ndim == 3, 0 if batch_first or query.ndim == 2 else 1
    check_inputs(query, key, value, embed_dim_to_check, num_heads, separate)
    n, t = (query.shape[axis], query.shape[1 - axis]) if batched else (1, query.shape[0])
    s = static_k.shape[1] if static_k is not None else key.shape[1 - axis] if batched else key.shape[0]
    check_masks(attn_mask, key_padding_mask, n * num_heads, t, s, (n, s) if batched else (s,))
    more = (bias_k is not None) + bool(add_zero_attn)
    # as in PyTorch, is_causal alone also hides the keys that bias_k and add_zero_attn append
    causal = is_causal and (attn_mask is None or not need_weights) and not (more and key_padding_mask is not None)
    if is_causal and not causal and attn_mask is None:
        attn_mask = causal_mask_of(t, query.dtype)
    mask = merged_mask(None if causal else attn_mask, key_padding_mask, num_heads, query.dtype, more)
    q, k, v = (expand_dims(x, 0) if not batched else x if axis == 0 else swapaxes(x, 0, 1)
               for x in projected(query, key, value, in_proj_weight, separate, in_proj_bias))
    if bias_k is not None:
        k, v = (concat([x, broadcast_to(b, (n, 1, x.shape[2]))], 1) for x, b in ((k, bias_k), (v, bias_v)))
    q, k, v = (heads_apart(x, num_heads) for x in (q, k, v))
    k, v = (x if given is None else reshape(given, (n, num_heads, *given.shape[1:]))
            for x, given in ((k, static_k), (v, static_v)))
    if add_zero_attn:
        k, v = (concat([x, zeros((n, num_heads, 1, x.shape[3]), dtype=x.dtype)], 2) for x in (k, v))
    p, weights = dropout_p if training else 0.0, None
    if need_weights:
        weights = dropout(attention_weights(q, k, mask, causal), p)
        y = heads_joined(weights @ v)
        weights = weights.mean(axis=1) if average_attn_weights else weights
        weights = weights if batched else weights[0]
    else:
        y = heads_joined(attended(q, k, v, mask, causal, None, p))
    y = y[0] if not batched else y if axis == 0 else swapaxes(y, 0, 1)
    return linear(y, out_proj_weight, out_proj_bias), weights


def projected(query, key, value, weight, separate, bias):
    """The three projections."""
    if separate is None and query is key and key is value:
        return chunk(linear(query, weight, bias), 3, -1)
    weights = chunk(weight, 3) if separate is None else separate
    biases = (None,) * 3 if bias is None else chunk(bias, 3)
    return [linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases)]


def merged_mask(attn_mask, key_padding_mask, heads, dtype, more):
    """Both masks as one to be added, (N or 1, H or 1, T or 1, S); None where there is none. All see `more` keys."""
    mask = None
    if attn_mask is not None:
        mask = additive(attn_mask, dtype)
        if mask.ndim == 3:  # (N * H, T, S)
            mask = mask.reshape(-1, heads, *mask.shape[1:])
    if key_padding_mask is not None:
        padding = additive(key_padding_mask, dtype)
        padding = padding.reshape(-1, 1, 1, padding.shape[-1])
        mask = padding if mask is None else mask + padding
    return mask if mask is None or not more else concat([mask, zeros((*mask.shape[:-1], more), dtype=mask.dtype)], -1)


def check_inputs(query, key, value, embed_dim, heads, separate):
    """Raises ValueError where shapes do not fit."""
    if embed_dim % heads:
        raise ValueError(f"multi_head_attention: embed_dim={embed_dim}, num_heads={heads}: a multiple of the heads expected")
    sizes = (embed_dim,) * 3 if separate is None else [w.shape[1] for w in separate]
    for name, x, size in zip(("query", "key", "value"), (query, key, value), sizes):
        if x.ndim not in (2, 3) or x.ndim != query.ndim or x.shape[-1] != size:
            raise ValueError(f"multi_head_attention: {name} {x.shape} with query {query.shape}: as many axes, 2 or 3, the "
                             f"last of {size}, expected")


def check_masks(attn_mask, key_padding_mask, each_head, t, s, padding):
    """Raises ValueError where shapes do not fit."""
    wanted = (t, s), (each_head, t, s)
    if attn_mask is not None and attn_mask.shape not in wanted:
        raise ValueError(f"multi_head_attention: attn_mask {attn_mask.shape}: {wanted[0]} or {wanted[1]} expected")
    if key_padding_mask is not None and key_padding_mask.shape != padding:
        raise ValueError(f"multi_head_attention: key_padding_mask {key_padding_mask.shape}: {padding} expected")


def additive(mask, dtype):
    """A mask to be added: -inf where a bool one hides a key."""
    return where(mask, MINUS_INFINITY, 0.0).astype(dtype) if mask.dtype == bool else mask.astype(dtype)


def causal_mask_of(length, dtype="float32"):
    """(length, length), to be added: -inf above the diagonal, 0 elsewhere."""
    return triu(full((length, length), MINUS_INFINITY, dtype=dtype), 1)
