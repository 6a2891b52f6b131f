"""Attention: derivatives by finite differences, other arrays, and values and gradients against PyTorch."""
import numpy as np
import pytest
from strict_array import StrictArray

import minidl as ml
import minidl.nn.functional as F
from minidl import nn
from minidl.autograd import gradcheck, gradgradcheck
from minidl.autograd.tensor import wrap
from minidl.ops.attention import attention, attention_backward, attention_weights, spread
from minidl.ops.shape import rejoin

random = np.random.default_rng(0)
SEEN = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 0, 1]], bool)  # the second query sees nothing
PLAIN, GROUPED = ((1, 2, 3, 2), (1, 2, 4, 2), (1, 2, 4, 3)), ((1, 4, 3, 2), (1, 2, 4, 2), (1, 2, 4, 3))


def like(array, x):
    """A constant in the kind of array that x has."""
    return wrap(array if isinstance(x.array, np.ndarray) else StrictArray(array))


CASES = {
    "both results": (lambda q, k, v: attention(q, k, v, scale=0.7), PLAIN),
    "causal": (lambda q, k, v: attention(q, k, v, causal=True)[0], PLAIN),
    "grouped": (lambda q, k, v: attention(q, k, v)[0], GROUPED),
    "grouped, both results": (lambda q, k, v: attention(q, k, v), GROUPED),
    "lse alone": (lambda q, k, v: attention(q, k, v)[1], GROUPED),
    "seen": (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, like(SEEN, q)), PLAIN),
    "mask": (lambda q, k, v, m: attention(q, k, v, m)[0], (*GROUPED, (1, 1, 3, 4))),
    "three axes": (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), tuple(s[1:] for s in PLAIN)),
    "dq alone": (lambda g, q, k, v: attention_backward(g, q, k, v, *attention(q, k, v))[0], ((1, 2, 3, 3), *PLAIN)),
    "dk alone": (lambda g, q, k, v: attention_backward(g, q, k, v, *attention(q, k, v))[1], ((1, 4, 3, 3), *GROUPED)),
    "dv alone": (lambda g, q, k, v: attention_backward(g, q, k, v, *attention(q, k, v))[2], ((1, 4, 3, 3), *GROUPED)),
    "weights": (lambda q, k: attention_weights(q, k, like(SEEN, q), causal=True), GROUPED[:2]),
}


def parts(result):
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("name", CASES)
def test_derivatives_of_first_and_second_order_agree_with_finite_differences(name):
    function, shapes = CASES[name]
    inputs = [ml.Tensor(random.standard_normal(s), requires_grad=True) for s in shapes]
    assert gradcheck(function, inputs)
    assert gradgradcheck(function, inputs, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_runs_on_arrays_that_are_not_numpys(name):
    function, shapes = CASES[name]
    arrays = [random.standard_normal(s) for s in shapes]
    with ml.backend("reference"):
        plain = [ml.Tensor(a.copy(), requires_grad=True) for a in arrays]
        strict = [wrap(StrictArray(a.copy())).requires_grad_() for a in arrays]
        for y, e in zip(parts(function(*strict)), parts(function(*plain)), strict=True):
            np.testing.assert_array_equal(y.array._array, e.array)
            y.backward(wrap(StrictArray(np.ones(y.shape))), retain_graph=True)
            e.backward(ml.ones_like(e), retain_graph=True)
        for x, e in zip(strict, plain, strict=True):
            if e.grad is not None:
                np.testing.assert_allclose(x.grad.array._array, e.grad.array, rtol=1e-12, atol=1e-12)


def test_the_gradients_of_a_joint_products_parts_are_joined_without_a_copy():
    x = ml.tensor(random.standard_normal((2, 5, 24)).astype("f"), requires_grad=True)
    q, k, v = (part.reshape(2, 5, 2, 4).transpose(1, 2) for part in x.chunk(3, -1))
    g = random.standard_normal((2, 2, 5, 4)).astype("f")
    F.scaled_dot_product_attention(q, k, v, is_causal=True).backward(ml.tensor(g))
    parts = [ml.tensor(np.ascontiguousarray(p.detach().numpy()), requires_grad=True) for p in (q, k, v)]
    F.scaled_dot_product_attention(*parts, is_causal=True).backward(ml.tensor(g))
    apart = np.concatenate([p.grad.numpy().transpose(0, 2, 1, 3).reshape(2, 5, 8) for p in parts], -1)
    np.testing.assert_allclose(x.grad.numpy(), apart, rtol=1e-6, atol=1e-7)
    q, k, v = (p.detach().array for p in (q, k, v))
    y, lse = ml.kernels.attention(q, k, v, None, True)
    dq, dk, dv = ml.kernels.attention_backward(g, q, k, v, y, lse, None, True)
    assert dq.base is dk.base is dv.base and dk.strides == k.strides
    joined = rejoin(*[wrap(d.transpose(0, 2, 1, 3).reshape(2, 5, 8)) for d in (dq, dk, dv)], axis=-1)
    assert np.shares_memory(joined.array, dk)
    swapped = rejoin(*[wrap(d.transpose(0, 2, 1, 3).reshape(2, 5, 8)) for d in (dk, dq, dv)], axis=-1)
    assert not np.shares_memory(swapped.array, dk) and (swapped.array[..., :8] == joined.array[..., 8:16]).all()


def test_a_hidden_query_gives_zero_and_no_gradient():
    q, k, v = (ml.Tensor(random.standard_normal(s).astype("f"), requires_grad=True) for s in PLAIN)
    y = F.scaled_dot_product_attention(q, k, v, ml.tensor(SEEN))
    y.sum().backward()
    for result in (y.detach().numpy(), q.grad.numpy()):
        assert not result[:, :, 1].any() and result[:, :, ::2].all()


@pytest.mark.parametrize("causal, groups", [(False, 2), (True, 1)])
def test_dropout_drops_the_weights_that_the_same_seed_drops_elsewhere(causal, groups):
    arrays = [random.standard_normal(shape) for shape in ((2, 2, 5, 4), (2, groups, 70, 4), (2, groups, 70, 3))]
    q, k, v = (ml.tensor(x, requires_grad=True) for x in arrays)
    kept = ml.kernels.dropout(np.ones((2, 2, 5, 128)), 0.3, 77)[..., :70]
    weights = attention_weights(q, k, None, causal) * ml.tensor(kept)
    wanted = weights @ spread(v, 2)
    assert np.allclose(attention(q, k, v, None, causal, None, 0.3, 77)[0].detach().numpy(), wanted.detach().numpy())
    q, k, v = (ml.tensor(x[:, :, :4].copy(), requires_grad=True) for x in arrays)

    def y(q, k, v):
        return attention(q, k, v, None, causal, None, 0.3, 77)[0]
    assert gradcheck(y, (q, k, v)) and gradgradcheck(y, (q, k, v))


def test_dropout_of_the_weights_keeps_their_mean():
    q, k = ml.zeros(1, 1, 2000, 4, requires_grad=True), ml.zeros(1, 1, 8, 4)
    y = F.scaled_dot_product_attention(q, k, ml.ones(1, 1, 8, 3), dropout_p=0.25)
    assert 0.97 < y.mean().item() < 1.03 and y.std().item() > 0.1
    with pytest.raises(ValueError, match=r"attention: p=1\.5"):
        F.scaled_dot_product_attention(q, k, k, dropout_p=1.5)


@pytest.mark.parametrize("shapes, options, message", [
    (PLAIN, {"attn_mask": SEEN, "is_causal": True}, "is_causal=True: one of them expected"),
    (GROUPED, {}, "enable_gqa=True allows"), (((3, 2), (1, 4, 2), (1, 4, 2)), {"enable_gqa": True}, "as many axes"),
    (((2,), (2,), (2,)), {}, "as many axes"), (((3, 2), (4, 3), (4, 3)), {}, r"k .* \(1, a divisor of 1, S, 2\)"),
    (((3, 2), (4, 2), (5, 2)), {}, "v "), (((1, 3, 3, 2), (1, 2, 4, 2), (1, 2, 4, 2)), {"enable_gqa": True}, "a divisor of 3"),
    (PLAIN, {"attn_mask": SEEN[:, :3]}, "broadcasts to"),
    (PLAIN, {"attn_mask": SEEN.astype("i4")}, "bool or float32 expected"),
])
def test_what_does_not_fit_is_named(shapes, options, message):
    q, k, v = (ml.zeros(*s) for s in shapes)
    if "attn_mask" in options:
        options = {**options, "attn_mask": ml.tensor(options["attn_mask"])}
    with pytest.raises(ValueError, match=message):
        F.scaled_dot_product_attention(q, k, v, **options)


def test_the_kernel_checks_its_arguments():
    q, k, v = (ml.zeros(*s).array for s in PLAIN)
    y, lse = ml.kernels.attention(q, k, v)
    with pytest.raises(ValueError, match=r"q is float32.* expected"):
        ml.kernels.attention(q[0], k, v)
    with pytest.raises(ValueError, match="lse is float64"):
        ml.kernels.attention_backward(y, q, k, v, y, lse.astype("f8"))
    with pytest.raises(ValueError, match="g is "):
        ml.kernels.attention_backward(y[..., :1], q, k, v, y, lse)


@pytest.mark.parametrize("options", [{"embed_dim": 6, "num_heads": 4}, {"embed_dim": 6, "num_heads": 0}])
def test_multihead_attention_names_what_it_cannot_be(options):
    with pytest.raises(ValueError, match=r"MultiheadAttention: .* expected"):
        nn.MultiheadAttention(**options)
    with pytest.raises(ValueError, match="multi_head_attention: key"):
        nn.MultiheadAttention(4, 2)(ml.zeros(3, 4), ml.zeros(3, 5), ml.zeros(3, 4))


def both(torch, *shapes):
    arrays = [random.standard_normal(s).astype("f") for s in shapes]
    return [ml.tensor(a, requires_grad=True) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]


def agree(ours, theirs, tolerance=1e-5):
    assert ours.shape == tuple(theirs.shape)
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=tolerance, atol=tolerance)


def compare(torch, y, y2, ours, theirs):
    agree(y, y2)
    g = random.standard_normal(y.shape).astype("f")
    y.backward(ml.tensor(g))
    y2.backward(torch.tensor(g))
    for a, b in zip(ours, theirs, strict=True):
        agree(a.grad, b.grad)


@pytest.mark.parametrize("shapes, options", [
    (((2, 3, 70, 16), (2, 3, 70, 16), (2, 3, 70, 16)), {"is_causal": True}),
    (((2, 3, 9, 8), (2, 3, 20, 8), (2, 3, 20, 5)), {"is_causal": True}),
    (((2, 3, 20, 8), (2, 3, 9, 8), (2, 3, 9, 8)), {"is_causal": True, "scale": 0.5}),
    (((2, 4, 9, 8), (2, 2, 20, 8), (2, 2, 20, 8)), {"enable_gqa": True}),
    (((3, 9, 8), (3, 20, 8), (3, 20, 8)), {}), (((9, 8), (20, 8), (20, 8)), {}),
    (((2, 2, 3, 9, 8), (2, 2, 3, 20, 8), (2, 2, 3, 20, 4)), {}),
    (((2, 3, 9, 8), (2, 3, 20, 8), (2, 3, 20, 8)), {"attn_mask": random.random((9, 20)) > 0.5}),
    (((2, 3, 9, 8), (2, 3, 20, 8), (2, 3, 20, 8)), {"attn_mask": random.random((2, 1, 1, 20)) > 0.5}),
    (((3, 9, 8), (3, 20, 8), (3, 20, 8)), {"attn_mask": random.random((3, 9, 20)) > 0.5}),
    (((2, 2, 3, 9, 8), (2, 2, 3, 20, 8), (2, 2, 3, 20, 4)), {"attn_mask": random.random((2, 1, 9, 20)).astype("f")}),
])
def test_values_and_gradients_are_pytorchs(shapes, options):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    ours, theirs = both(torch, *shapes)
    masks = [{**options, "attn_mask": make(options["attn_mask"])} if "attn_mask" in options else options
             for make in (ml.tensor, torch.tensor)]
    compare(torch, F.scaled_dot_product_attention(*ours, **masks[0]),
            torch.nn.functional.scaled_dot_product_attention(*theirs, **masks[1]), ours, theirs)


def test_the_gradient_of_a_mask_is_pytorchs():
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    ours, theirs = both(torch, (2, 3, 9, 8), (2, 3, 20, 8), (2, 3, 20, 8), (3, 9, 20))
    y, y2 = (f.scaled_dot_product_attention(*x) for f, x in ((F, ours), (torch.nn.functional, theirs)))
    compare(torch, y, y2, ours, theirs)


HIDDEN = np.triu(np.ones((7, 7), bool), 1)
PADDING = np.arange(7)[None] >= np.array([[7], [5], [3]])


@pytest.mark.parametrize("options, call", [
    ({}, {}), ({"batch_first": True}, {}), ({"bias": False}, {"average_attn_weights": False}), ({}, {"need_weights": False}),
    ({}, {"attn_mask": HIDDEN}), ({}, {"attn_mask": HIDDEN, "need_weights": False}),
    ({}, {"attn_mask": HIDDEN, "is_causal": True, "need_weights": False}), ({}, {"attn_mask": HIDDEN, "is_causal": True}),
    ({"batch_first": True}, {"key_padding_mask": PADDING}),
    ({}, {"key_padding_mask": PADDING, "attn_mask": HIDDEN, "is_causal": True, "need_weights": False}),
    ({}, {"attn_mask": random.standard_normal((12, 7, 7)).astype("f")}), ({"add_bias_kv": True}, {}),
    ({"add_zero_attn": True}, {"need_weights": False}),
    ({"add_zero_attn": True, "add_bias_kv": True, "batch_first": True}, {"attn_mask": HIDDEN, "key_padding_mask": PADDING}),
    ({"add_zero_attn": True}, {"attn_mask": HIDDEN, "need_weights": False, "is_causal": True}),
])
@pytest.mark.parametrize("kind", ["self", "cross", "sizes", "alone"])
def test_multihead_attention_is_pytorchs(options, call, kind):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    if kind == "alone" and ("key_padding_mask" in call or getattr(call.get("attn_mask"), "ndim", 2) == 3):
        call = {"key_padding_mask": PADDING[1]}
    options = {**options, **({"kdim": 6, "vdim": 5} if kind == "sizes" else {})}
    ours, theirs = (package.MultiheadAttention(8, 4, **options) for package in (nn, torch.nn))
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])
    lead = (7,) if kind == "alone" else (3, 7) if options.get("batch_first") else (7, 3)
    sizes = {"cross": (8, 8, 8), "sizes": (8, 6, 5)}.get(kind, (8,))
    x, x2 = both(torch, *((*lead, size) for size in sizes))
    calls = [{key: make(v) if isinstance(v, np.ndarray) else v for key, v in call.items()}
             for make in (ml.tensor, torch.tensor)]
    (y, w), (y2, w2) = ours(*x * (3 // len(x)), **calls[0]), theirs(*x2 * (3 // len(x2)), **calls[1])
    assert (w is None) == (w2 is None)
    if w is not None:
        agree(w, w2)
    compare(torch, y, y2, [*x, *ours.parameters()], [*x2, *theirs.parameters()])


def test_multihead_attention_drops_weights_in_training_only():
    layer, x = nn.MultiheadAttention(8, 2, dropout=0.5), ml.tensor(random.standard_normal((40, 2, 8)).astype("f"))
    y, weights = layer(x, x, x, need_weights=False)
    assert weights is None and repr(layer).startswith("MultiheadAttention(")
    layer.eval()
    assert not np.allclose(y.detach().numpy(), layer(x, x, x)[0].detach().numpy())
    agree(layer(x, x, x)[0], layer(x, x, x, need_weights=False)[0])
    agree(layer(x, x, x, is_causal=True)[0], layer(x, x, x, attn_mask=ml.tensor(np.triu(np.ones((40, 40), bool), 1)))[0])


@pytest.mark.parametrize("options", [{}, {"batch_first": True, "activation": "gelu"},
                                     {"norm_first": True, "layer_norm_eps": 1e-3}, {"bias": False, "activation": "relu"}])
@pytest.mark.parametrize("call", [{}, {"mask": HIDDEN}, {"mask": HIDDEN, "is_causal": True},
                                  {"mask": HIDDEN, "src_key_padding_mask": PADDING}])
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_transformer_encoder_is_pytorchs(options, call):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    ours, theirs = (nn_.TransformerEncoder(nn_.TransformerEncoderLayer(8, 2, 20, 0.0, **options), 2, nn_.LayerNorm(8))
                    for nn_ in (nn, torch.nn))
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])
    x, x2 = both(torch, (3, 7, 8) if options.get("batch_first") else (7, 3, 8))
    calls = [{key: make(v) if isinstance(v, np.ndarray) else v for key, v in call.items()}
             for make in (ml.tensor, torch.tensor)]
    compare(torch, ours(*x, **calls[0]), theirs(*x2, **calls[1]), [*x, *ours.parameters()], [*x2, *theirs.parameters()])


@pytest.mark.parametrize("options", [{}, {"batch_first": True, "norm_first": True, "activation": "gelu"}, {"bias": False}])
@pytest.mark.parametrize("masks", [{}, {"tgt_mask": HIDDEN, "src_mask": HIDDEN}, {"tgt_mask": HIDDEN, "tgt_is_causal": True},
                                   {"src_key_padding_mask": PADDING, "memory_key_padding_mask": PADDING}])
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_transformer_is_pytorchs(options, masks):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    torch.manual_seed(0)
    ours, theirs = (package.Transformer(8, 2, 2, 2, 20, 0.0, **options) for package in (nn, torch.nn))
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])
    x, x2 = both(torch, *[(3, 7, 8) if options.get("batch_first") else (7, 3, 8)] * 2)
    calls = [{key: make(np.where(v, -np.inf, 0).astype("f") if v is HIDDEN else v) if isinstance(v, np.ndarray) else v
              for key, v in masks.items()} for make in (ml.tensor, torch.tensor)]
    compare(torch, ours(*x, **calls[0]), theirs(*x2, **calls[1]), [*x, *ours.parameters()], [*x2, *theirs.parameters()])


def test_transformer_names_what_does_not_fit():
    model = nn.Transformer(8, 2, 1, 1, 20)
    with pytest.raises(RuntimeError, match="the same batch"):
        model(ml.zeros(5, 2, 8), ml.zeros(5, 3, 8))
    with pytest.raises(RuntimeError, match="d_model=8"):
        model(ml.zeros(5, 2, 7), ml.zeros(5, 2, 7))
    mask = nn.Transformer.generate_square_subsequent_mask(3)
    assert mask.tolist() == [[0, -np.inf, -np.inf], [0, 0, -np.inf], [0, 0, 0]]
    with pytest.raises(ValueError, match="attn_mask"):
        nn.MultiheadAttention(8, 2)(*[ml.zeros(5, 2, 8)] * 3, attn_mask=ml.zeros(4, 5))
    with pytest.raises(ValueError, match="key_padding_mask"):
        nn.MultiheadAttention(8, 2)(*[ml.zeros(5, 2, 8)] * 3, key_padding_mask=ml.zeros(5, 2))


def test_an_encoders_layers_are_copies_of_their_own():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 20), 2)
    assert encoder.norm is None and encoder.layers[0].linear1.weight is not encoder.layers[1].linear1.weight
    x = ml.tensor(random.standard_normal((7, 3, 8)).astype("f"))
    assert not np.allclose(encoder(x).detach().numpy(), encoder.eval()(x).detach().numpy())  # dropout, in training only
    with pytest.raises(RuntimeError, match="activation='tanh'"):
        nn.TransformerEncoderLayer(8, 2, activation="tanh")


@pytest.mark.parametrize("given", [{}, {"key_padding_mask": True}, {"separate": True}, {"static": True}, {"bias": True}])
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("add_zero_attn", [True, False])
def test_multi_head_attention_forward_is_pytorchs(given, need_weights, add_zero_attn):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    n, t, s, e, heads = 2, 3, 4, 6, 2
    shapes = [(t, n, e), (s, n, e), (s, n, e), (3 * e, e), (3 * e,), (e, e), (e,)]
    extra = {"separate": [(e, e)] * 3, "static": [(n * heads, 5, e // heads)] * 2, "bias": [(1, 1, e)] * 2}
    kind = next(iter(given), None)
    shapes += extra.get(kind, [])
    arrays = [(0.3 * random.standard_normal(shape)).astype("f") for shape in shapes]
    ours, theirs = ([lib.tensor(a, requires_grad=True) for a in arrays] for lib in (ml, torch))
    results = []
    for (q, k, v, w, b, out, out_b, *rest), lib, functions in ((ours, ml, F), (theirs, torch, torch.nn.functional)):
        options = {"need_weights": need_weights, "training": False}
        if kind == "key_padding_mask":
            options[kind] = lib.tensor([[False, True, False, False], [False, False, False, True]])
        if kind == "separate":
            options |= {"use_separate_proj_weight": True} | dict(zip([f"{x}_proj_weight" for x in "qkv"], rest))
        if kind == "static":
            options |= dict(zip(("static_k", "static_v"), rest))
        biases = rest if kind == "bias" else (None, None)
        results.append(functions.multi_head_attention_forward(q, k, v, e, heads, w, b, *biases, add_zero_attn, 0.3, out, out_b,
                                                              **options))
    (y, weights), (y2, weights2) = results
    assert (weights is None) == (weights2 is None) == (not need_weights)
    if need_weights:
        agree(weights, weights2)
    used = [i for i in range(len(shapes)) if not (kind == "separate" and i == 3) and not (kind == "static" and i in (1, 2))]
    compare(torch, y, y2, [ours[i] for i in used], [theirs[i] for i in used])
