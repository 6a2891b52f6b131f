"""The operations behind minidl.nn: derivatives of first and second order, and life without NumPy arrays."""
import importlib

import numpy as np
import pytest
from strict_array import StrictArray

import minidl as ml
import minidl.nn.functional as F
from minidl import ops
from minidl.autograd import gradcheck, gradgradcheck
from minidl.autograd.tensor import wrap
from minidl.ops import batch_norm as norm

row_norm = importlib.import_module("minidl.ops.row_norm")
loss = importlib.import_module("minidl.ops.loss")
pool = importlib.import_module("minidl.ops.pool")
random = np.random.default_rng(0)
CASES = []


def case(name, function, *shapes, first=None):
    """A function of float64 arrays of these shapes; `first`, an array, takes the place of the first one."""
    arrays = [random.standard_normal(shape) for shape in shapes]
    if first is not None:
        arrays.insert(0, first)
    CASES.append(pytest.param(function, arrays, id=name))


def constant(array, x):
    """A constant in the kind of array that x has."""
    return wrap(array if isinstance(x.array, np.ndarray) else StrictArray(array))


for name in ("relu", "leaky_relu", "elu", "sigmoid", "silu", "gelu", "softplus", "relu6", "hardtanh", "softmax",
             "log_softmax"):
    case(name, getattr(ops, name), (3, 4))
case("gelu-tanh", lambda x: ops.gelu(x, "tanh"), (3, 4))
case("leaky_relu-slope", lambda x: ops.leaky_relu(x, 0.3), (7,))
case("elu-alpha", lambda x: ops.elu(x, 0.6), (7,))
case("softmax-axis", lambda x: ops.softmax(x, 0), (3, 4))
case("softmax-dim", lambda x: ops.softmax(x, dim=1), (2, 3, 2))
case("log_softmax-axis", lambda x: ops.log_softmax(x, 1), (2, 3, 2))
for label, window in {"": {}, "-stride": {"stride": 2, "padding": 1}, "-groups": {"groups": 2, "padding": (1, 0)},
                      "-dilation": {"dilation": 2, "padding": 2}}.items():
    case(f"conv2d{label}", lambda x, w, b, k=window: ops.conv2d(x, w, b, **k),
         (1, 4, 4, 4), (2, 4 // window.get("groups", 1), 3, 2), (2,))
case("conv2d-relu", lambda x, w, b: ops.conv2d(x, w, b, activation="relu"), (2, 2, 4, 3), (3, 2, 2, 2), (3,))
case("conv2d-no-bias", ops.conv2d, (1, 2, 4, 4), (3, 2, 2, 2))
for label, window in {"": {"kernel_size": 2}, "-overlap": {"kernel_size": 3, "stride": 2, "padding": 1},
                      "-pairs": {"kernel_size": (2, 3), "stride": (1, 2), "padding": (1, 0)},
                      "-ceil": {"kernel_size": 2, "stride": 3, "ceil_mode": True}}.items():
    case(f"max_pool2d{label}", lambda x, k=window: ops.max_pool2d(x, **k), (2, 2, 7, 8))
    case(f"avg_pool2d{label}", lambda x, k=window: ops.avg_pool2d(x, **k), (2, 2, 7, 8))
case("max_pool2d-dilation", lambda x: ops.max_pool2d(x, 2, 1, dilation=(2, 1)), (2, 2, 7, 8))
case("max_pool2d-relu", lambda x: ops.max_pool2d(x, 2, activation="relu"), (2, 2, 6, 6))
case("adaptive_avg_pool2d", lambda x: ops.adaptive_avg_pool2d(x, (3, 2)), (2, 2, 7, 5))
case("adaptive_avg_pool2d-even", lambda x: ops.adaptive_avg_pool2d(x, (None, 2)), (2, 2, 3, 4))
case("batch_norm_train", norm.batch_norm_train, (3, 2, 2, 2), (2,), (2,))
case("batch_norm_train-relu", lambda x, w, b: norm.batch_norm_train(x, w, b, activation="relu")[0], (3, 2, 2, 2), (2,), (2,))
case("batch_norm_train-relu6", lambda x, w, b: norm.batch_norm_train(3 * x, 5 * w, b, activation="relu6")[0],
     (3, 2, 2, 2), (2,), (2,))
case("batch_norm_train-residual", lambda x, w, b, r: norm.batch_norm_train(x, w, b, 1e-5, "relu", r)[0],
     (3, 2, 2, 2), (2,), (2,), (3, 2, 2, 2))
case("local_response_norm", lambda x: row_norm.local_response_norm(x, 3, 0.5, 0.6, 1.2), (2, 5, 3))
case("batch_norm_train-plain", norm.batch_norm_train, (5, 2))
case("batch_norm_train-statistics", lambda x: norm.batch_norm_train(x)[1:], (5, 2))
case("batch_norm_given", lambda x, w, b, m, v: norm.batch_norm_given(x, w, b, m, v * v + 1), (3, 2, 2), *[(2,)] * 4)
case("batch_norm_given-plain", lambda x, m, v: norm.batch_norm_given(x, None, None, m, v * v + 1), (3, 2), (2,), (2,))
for name, forward, shapes in (
        ("layer_norm", row_norm.layer_norm_train, ((3, 4), (4,), (4,))),
        ("layer_norm-axes", lambda *x: row_norm.layer_norm_train(*x, axes=2), ((2, 3, 2, 2), (2, 2), (2, 2))),
        ("rms_norm", row_norm.rms_norm_train, ((2, 2, 4), (4,))),
        ("group_norm", lambda x, *v: row_norm.group_norm_train(x, 2, *v), ((2, 4, 3), (4,), (4,))),
        ("instance_norm", lambda x: row_norm.instance_norm(x, eps=0.01), ((2, 2, 2, 2),))):
    case(name, forward, *shapes)
    case(f"{name}-plain", forward, shapes[0])
    case(f"{name}-weight", lambda *x, f=forward: f(*x)[0], *shapes[:2])
    case(f"{name}-statistics", lambda x, f=forward: f(x)[1:], shapes[0])
case("layer_norm-bias", lambda x, b: row_norm.layer_norm_train(x, None, b), (3, 4), (4,))
for label, table in {"": (5, 3), "-one": (1, 2)}.items():
    rows = np.array([[1, 0, 1], [4, 4, 1]]) % table[0]
    case(f"embedding{label}", lambda w, i=rows: F.embedding(constant(i, w), w), table)
LABELS = np.array([1, -100, 0, 2, 1])
WEIGHTS = np.array([1.0, 2.0, 0.5])
for label, options in {"": {}, "-sum": {"reduction": "sum"}, "-none": {"reduction": "none"},
                       "-smooth": {"label_smoothing": 0.1}}.items():
    for weight in (None, WEIGHTS):
        case(f"cross_entropy{label}-{'plain' if weight is None else 'weight'}",
             lambda x, k=options, w=weight: ops.cross_entropy(x, constant(LABELS, x), None if w is None else constant(w, x),
                                                              **k), (5, 3))
case("cross_entropy-lse", lambda x: loss.cross_entropy_labels(x, constant(LABELS, x)), (5, 3))
case("cross_entropy-images", lambda x: ops.cross_entropy(x, constant(LABELS[:4].reshape(1, 2, 2), x)), (1, 3, 2, 2))
case("cross_entropy-probabilities", lambda x, t: ops.cross_entropy(x, ops.softmax(t), constant(WEIGHTS, x),
                                                                    label_smoothing=0.2), (4, 3), (4, 3))
case("nll_loss", lambda x: ops.nll_loss(x, constant(LABELS, x), constant(WEIGHTS, x)), (5, 3))
case("nll_loss-sum", lambda x: ops.nll_loss(x, constant(LABELS, x), reduction="sum"), (5, 3))
for name in ("mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss", "binary_cross_entropy_with_logits"):
    case(name, getattr(ops, name), (4, 3), (4, 3))
case("huber_loss-delta", lambda x, t: ops.huber_loss(x, t, delta=0.3), (9,), (9,))
case("smooth_l1_loss-beta", lambda x, t: ops.smooth_l1_loss(x, t, "sum", 0.4), (9,), (9,))
case("binary_cross_entropy", lambda x, t: ops.binary_cross_entropy(ops.sigmoid(x), ops.sigmoid(t)), (4, 3), (4, 3))
case("binary_cross_entropy_with_logits-pos_weight",
     lambda x, t: ops.binary_cross_entropy_with_logits(x, t, pos_weight=constant(WEIGHTS, x)), (4, 3), (4, 3))


def parts(result):
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("function, arrays", CASES)
def test_derivatives_of_first_and_second_order_agree_with_finite_differences(function, arrays):
    inputs = [ml.Tensor(a, requires_grad=True) for a in arrays]
    assert gradcheck(function, inputs)
    assert gradgradcheck(function, inputs, atol=1e-4)


@pytest.mark.parametrize("function, arrays", CASES)
def test_runs_on_arrays_that_are_not_numpys(function, arrays):
    with ml.backend("reference"):
        plain = [ml.Tensor(a.copy(), requires_grad=True) for a in arrays]
        strict = [wrap(StrictArray(a.copy())).requires_grad_() for a in arrays]
        for y, e in zip(parts(function(*strict)), parts(function(*plain))):
            assert isinstance(y.array, StrictArray)
            np.testing.assert_array_equal(y.array._array, e.array)
            if y.requires_grad:
                y.backward(wrap(StrictArray(np.ones(y.shape))), retain_graph=True)
                e.backward(ml.ones_like(e), retain_graph=True)
        for x, e in zip(strict, plain):
            np.testing.assert_allclose(x.grad.array._array, e.grad.array, rtol=1e-12, atol=1e-12)


def test_third_order_through_batch_norm():
    x = ml.Tensor(random.standard_normal((4, 2)), requires_grad=True)

    def second(x):
        y = (norm.batch_norm_train(x)[0] ** 3).sum()
        first, = ml.grad(y, [x], create_graph=True)
        return ml.grad((first * first).sum(), [x], create_graph=True)[0]
    assert gradcheck(second, [x], atol=1e-4)


def test_saturated_activations_stay_finite():
    x = ml.tensor([-1e30, -1000.0, 0.0, 1000.0, 1e30], requires_grad=True)
    for function in (ops.sigmoid, ops.silu, ops.gelu, ops.softplus, ops.elu, ops.softmax, ops.log_softmax, F.softplus):
        x.grad = None
        function(x).sum().backward()
        assert np.isfinite(x.grad.numpy()).all(), function


@pytest.mark.parametrize("call, message", [
    (lambda: ops.gelu(ml.ones(2), "erf"), "approximate='erf'"),
    (lambda: ops.leaky_relu(ml.ones(2), -1.0), "slope=-1"),
    (lambda: ops.softmax(ml.ones(2, 3), 2), "axis=2"),
    (lambda: ops.conv2d(ml.ones(32, 28, 28, 1), ml.ones(32, 1, 3, 3)), "channels-last"),
    (lambda: ops.conv2d(ml.ones(1, 2, 3, 3), ml.ones(4, 2, 5, 5)), "smaller than the window"),
    (lambda: ops.max_pool2d(ml.ones(1, 1, 2, 2), 3), "a window that fits"),
    (lambda: ops.adaptive_avg_pool2d(ml.ones(1, 1, 4, 4), 0), "output_size=0"),
    (lambda: ops.max_pool2d(ml.ones(1, 1, 4, 4), 2, return_indices=True, activation="relu"), "only one"),
    (lambda: ops.cross_entropy(ml.ones(4, 3), ml.tensor([0, 1, 2, 3])), r"target\[3\] = 3: 0 <= target < 3"),
    (lambda: ops.cross_entropy(ml.ones(4, 3), ml.tensor([0, 1])), r"target \(4,\) expected"),
    (lambda: ops.cross_entropy(ml.ones(2, 3), ml.tensor([[0, 1, 0], [1, 0, 0]])), "argmax"),
    (lambda: ops.cross_entropy(ml.ones(2, 3), ml.tensor([0, 1]), reduction="avg"), "reduction='avg'"),
    (lambda: ops.cross_entropy(ml.ones(2, 3), ml.tensor([0, 1]), ml.ones(3, requires_grad=True)), "weight.detach"),
    (lambda: ops.cross_entropy(ml.tensor(1.0), ml.tensor(0)), r"input \(\)"),
    (lambda: ops.nll_loss(ml.ones(4, 3), ml.tensor([0, 1, 2, -1])), r"target\[3\] = -1"),
    (lambda: ops.nll_loss(ml.ones(4, 3), ml.tensor([0, 1])), "integer labels"),
    (lambda: ops.mse_loss(ml.ones(2), ml.ones(2), "avg"), "reduction='avg'"),
    (lambda: ops.huber_loss(ml.ones(2), ml.ones(2), delta=0.0), "delta=0.0"),
    (lambda: ops.smooth_l1_loss(ml.ones(2), ml.ones(2), beta=-1.0), "beta=-1.0"),
    (lambda: ops.binary_cross_entropy(ml.ones(2) * 3, ml.ones(2)), "for logits use"),
    (lambda: ops.binary_cross_entropy(ml.ones(2), ml.ones(2, 1)), "the same shape"),
    (lambda: F.batch_norm(ml.ones(1, 3), None, None, training=True), "more than one value"),
    (lambda: F.batch_norm(ml.ones(2, 3), None, None), "running_mean and running_var"),
    (lambda: F.conv2d(ml.ones(1, 1, 4, 4), ml.ones(1, 1, 3, 3), padding="full"), "padding='full'"),
    (lambda: F.conv2d(ml.ones(1, 1, 4, 4), ml.ones(1, 1, 3, 3), stride=2, padding="same"), "stride 1"),
])
def test_errors_say_what_was_given_and_what_is_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("call, message", [
    (lambda: ops.conv2d(ml.ones(1, 1, 4, 4, dtype="float64"), ml.ones(1, 1, 3, 3)), "float64, weight is float32"),
    (lambda: ops.linear(ml.ones(2, 3, dtype="int64"), ml.ones(4, 3)), "int64, weight is float32"),
    (lambda: ops.cross_entropy(ml.ones(2, 3), ml.ones(2)), "integer labels"),
    (lambda: ops.gelu(ml.tensor([1, 2])), "floating-point"),
])
def test_errors_of_dtype_say_what_was_given(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_a_loss_of_shapes_that_differ_warns():
    with pytest.warns(UserWarning, match="will broadcast"):
        y = ops.mse_loss(ml.ones(3, 1), ml.zeros(3))
    assert y.item() == 1


def test_a_frozen_convolution_keeps_only_what_its_gradients_need():
    x, w, b = ml.ones(1, 2, 4, 4), ml.ones(3, 2, 3, 3), ml.zeros(3)
    for tensors, kept in [((x,), {id(w)}), ((b,), set()), ((w,), {id(x)}), ((x, w), {id(x), id(w)})]:
        for t in (x, w, b):
            t.grad, t.requires_grad = None, any(t is one for one in tensors)
        y = ops.conv2d(x, w, b)
        assert {id(s) for s in y._node.saved if isinstance(s, ml.Tensor)} == kept
        y.sum().backward()
        assert all(t.grad.shape == t.shape for t in tensors)
