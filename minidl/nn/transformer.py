"""The transformer of Vaswani et al., 2017, and its form with the norms first (Xiong et al., 2020)."""
from copy import deepcopy

from ..ops.multi_head import causal_mask_of
from . import functional as F
from . import init
from .attention import MultiheadAttention
from .container import ModuleList
from .dropout import Dropout
from .linear import Linear
from .module import Module
from .row_norm import LayerNorm


class TransformerLayer(Module):
    """What layers of encoders and decoders share: attention to the sequence itself, and a network for each position."""

    def __init__(self, d_model, nhead, dim_feedforward=2048, dropout=0.1, activation=F.relu, layer_norm_eps=1e-5,
                 batch_first=False, norm_first=False, bias=True, device=None, dtype=None):
        super().__init__()
        if isinstance(activation, str):
            if activation not in ("relu", "gelu"):
                raise RuntimeError(f"{type(self).__name__}: activation={activation!r}: 'relu', 'gelu' or a function expected")
            activation = getattr(F, activation)
        kind = {"device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, **kind)
        self.build_attention(d_model, nhead, dropout, bias, batch_first=batch_first, **kind)
        self.linear1 = Linear(d_model, dim_feedforward, bias, **kind)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **kind)
        for i in range(1, self.sublayers + 1):
            setattr(self, f"norm{i}", LayerNorm(d_model, layer_norm_eps, bias=bias, **kind))
        for i in range(1, self.sublayers + 1):
            setattr(self, f"dropout{i}", Dropout(dropout))
        self.norm_first, self.activation = norm_first, activation

    def build_attention(self, *args, **kwargs):
        """Makes the attention to another sequence, where the layer has one."""

    def run(self, x, *functions):
        """Each function's result is added to x, and normalised: what goes into it, with norm_first, or the sum."""
        for i, function in enumerate(functions, 1):
            norm, dropout = getattr(self, f"norm{i}"), getattr(self, f"dropout{i}")
            x = x + dropout(function(norm(x))) if self.norm_first else norm(x + dropout(function(x)))
        return x

    def feed(self, x):
        """The network for each position."""
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


class TransformerEncoderLayer(TransformerLayer):
    """x = norm1(x + attention(x)), then norm2(x + linear2(activation(linear1(x)))).

    norm_first: x = x + attention(norm1(x)) and so on. activation: 'relu', 'gelu' or a function. dropout: of the weights, of
    what is added, and inside. Shapes: (T, N, d_model), with batch_first (N, T, d_model), or without N; kept. Raises ValueError
    where sizes do not match, RuntimeError for another activation.
    """

    sublayers = 2

    def forward(self, src, src_mask=None, src_key_padding_mask=None, is_causal=False):
        """Masks as those of MultiheadAttention."""
        def attended(x):
            return self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal)[0]
        return self.run(src, attended, self.feed)


class TransformerDecoderLayer(TransformerLayer):
    """As TransformerEncoderLayer, with attention to another sequence, the encoder's result, between its two parts."""

    sublayers = 3

    def build_attention(self, *args, **kwargs):
        self.multihead_attn = MultiheadAttention(*args, **kwargs)

    def forward(self, tgt, memory, tgt_mask=None, memory_mask=None, tgt_key_padding_mask=None, memory_key_padding_mask=None,
                tgt_is_causal=False, memory_is_causal=False):
        """memory: what is attended to, (S, N, d_model). Masks as those of MultiheadAttention."""
        def attended(x):
            return self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal)[0]

        def looked_up(x):
            return self.multihead_attn(x, memory, memory, memory_key_padding_mask, False, memory_mask,
                                       is_causal=memory_is_causal)[0]
        return self.run(tgt, attended, looked_up, self.feed)


def is_causal_mask(mask, is_causal, x, batch_first):
    """is_causal, or, where it is None, whether the mask is that: then attention need not read it."""
    if is_causal is not None or mask is None:
        return bool(is_causal)
    length = x.shape[1 if batch_first and x.ndim == 3 else 0]
    return mask.dtype.kind == "f" and mask.shape == (length, length) and bool((mask == causal_mask_of(length)).all())


class TransformerEncoder(Module):
    """num_layers copies of a layer, one after the other, and a norm at the end if one is given.

    enable_nested_tensor and mask_check are accepted for PyTorch's sake. Shape: kept.
    """

    def __init__(self, encoder_layer, num_layers, norm=None, enable_nested_tensor=True, mask_check=True):
        super().__init__()
        self.layers = ModuleList([deepcopy(encoder_layer) for _ in range(num_layers)])
        self.num_layers, self.norm = num_layers, norm

    def forward(self, src, mask=None, src_key_padding_mask=None, is_causal=None):
        """Masks as those of MultiheadAttention. is_causal: whether mask is the causal one; None looks."""
        causal = is_causal_mask(mask, is_causal, src, self.layers[0].self_attn.batch_first if len(self.layers) else False)
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask, causal)
        return src if self.norm is None else self.norm(src)


class TransformerDecoder(Module):
    """num_layers copies of a decoder's layer, one after the other, and a norm at the end if one is given. Shape: tgt's."""

    def __init__(self, decoder_layer, num_layers, norm=None):
        super().__init__()
        self.layers = ModuleList([deepcopy(decoder_layer) for _ in range(num_layers)])
        self.num_layers, self.norm = num_layers, norm

    def forward(self, tgt, memory, tgt_mask=None, memory_mask=None, tgt_key_padding_mask=None, memory_key_padding_mask=None,
                tgt_is_causal=None, memory_is_causal=False):
        """Masks as those of MultiheadAttention. tgt_is_causal: whether tgt_mask is the causal one; None looks."""
        causal = is_causal_mask(tgt_mask, tgt_is_causal, tgt,
                                self.layers[0].self_attn.batch_first if len(self.layers) else False)
        for layer in self.layers:
            tgt = layer(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask, causal,
                        memory_is_causal)
        return tgt if self.norm is None else self.norm(tgt)


class Transformer(Module):
    """An encoder, and a decoder that attends to its result. Shapes: src (S, N, d_model), tgt (T, N, d_model), with batch_first
    (N, S, d_model) and (N, T, d_model), or both without N -> as tgt.

    custom_encoder, custom_decoder: modules to take instead. The other arguments: as TransformerEncoderLayer's. Initial values
    of all matrices: Glorot's, uniform. Raises RuntimeError where batches or channels differ.
    """

    def __init__(self, d_model=512, nhead=8, num_encoder_layers=6, num_decoder_layers=6, dim_feedforward=2048, dropout=0.1,
                 activation=F.relu, custom_encoder=None, custom_decoder=None, layer_norm_eps=1e-5, batch_first=False,
                 norm_first=False, bias=True, device=None, dtype=None):
        super().__init__()
        kind = {"device": device, "dtype": dtype}
        layer = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias)
        norm = LayerNorm(d_model, layer_norm_eps, bias=bias, **kind)
        self.encoder = custom_encoder if custom_encoder is not None else TransformerEncoder(
            TransformerEncoderLayer(*layer, **kind), num_encoder_layers, norm)
        self.decoder = custom_decoder if custom_decoder is not None else TransformerDecoder(
            TransformerDecoderLayer(*layer, **kind), num_decoder_layers, deepcopy(norm))
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first
        for p in self.parameters():
            if p.ndim > 1:
                init.xavier_uniform_(p)

    def forward(self, src, tgt, src_mask=None, tgt_mask=None, memory_mask=None, src_key_padding_mask=None,
                tgt_key_padding_mask=None, memory_key_padding_mask=None, src_is_causal=None, tgt_is_causal=None,
                memory_is_causal=False):
        """Masks as those of MultiheadAttention."""
        batch = 0 if self.batch_first else 1
        if src.ndim != tgt.ndim or (src.ndim == 3 and src.shape[batch] != tgt.shape[batch]):
            raise RuntimeError(f"Transformer: src {src.shape}, tgt {tgt.shape}: the same batch expected")
        if src.shape[-1] != self.d_model or tgt.shape[-1] != self.d_model:
            raise RuntimeError(f"Transformer: src {src.shape}, tgt {tgt.shape}: d_model={self.d_model} channels expected")
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        return self.decoder(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask, tgt_is_causal,
                            memory_is_causal)

    @staticmethod
    def generate_square_subsequent_mask(sz, device=None, dtype=None):
        """(sz, sz), to be added: -inf above the diagonal, 0 elsewhere."""
        return causal_mask_of(sz, dtype or "float32")
