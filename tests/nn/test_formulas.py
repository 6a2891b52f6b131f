"""Modules and functions against their formulas in NumPy float64, where PyTorch need not be installed; and what they print."""
from itertools import groupby, product

import numpy as np
import pytest
from scipy import special

import minidl
from minidl import nn, optim
from minidl.autograd import gradcheck, gradgradcheck
from minidl.nn import functional as F

RNG = np.random.default_rng(3)
X, T = RNG.standard_normal((6, 4)), RNG.standard_normal((6, 4))
P, Q = special.expit(X), special.expit(T)
LABELS = np.array([0, 3, 1, 1, 2, 0])
WEIGHT = RNG.random(4)
PICKED = -special.log_softmax(X, 1)[np.arange(6), LABELS]
HALF = -(Q * np.log(P) + (1 - Q) * np.log(1 - P))
D = np.abs(X - T)
IMAGES = RNG.standard_normal((2, 3, 6, 6))
BLOCKS = IMAGES.reshape(2, 3, 3, 2, 3, 2)


def tensor(array):
    array = np.asarray(array)
    return minidl.tensor(array.astype(np.float32) if array.dtype.kind == "f" else array)


@pytest.mark.parametrize("make, inputs, each", [
    (nn.MSELoss, (X, T), D ** 2),
    (nn.L1Loss, (X, T), D),
    (lambda **r: nn.SmoothL1Loss(beta=0.5, **r), (X, T), np.where(D < 0.5, D ** 2, D - 0.25)),
    (lambda **r: nn.HuberLoss(delta=0.5, **r), (X, T), np.where(D < 0.5, D ** 2 / 2, 0.5 * (D - 0.25))),
    (nn.CrossEntropyLoss, (X, LABELS), PICKED),
    (nn.NLLLoss, (special.log_softmax(X, 1), LABELS), PICKED),
    (nn.BCELoss, (P, Q), HALF),
    (lambda **r: nn.BCELoss(weight=tensor(WEIGHT), **r), (P, Q), WEIGHT * HALF),
    (nn.BCEWithLogitsLoss, (X, Q), HALF),
], ids=["mse", "l1", "smooth l1", "huber", "cross entropy", "nll", "bce", "bce weighted", "bce of logits"])
def test_losses(make, inputs, each):
    inputs = [tensor(x) for x in inputs]
    for reduction, expected in (("none", each), ("sum", each.sum()), ("mean", each.mean())):
        found = make(reduction=reduction)(*inputs)
        np.testing.assert_allclose(found.numpy(), expected, rtol=2e-5, atol=1e-6)
    with pytest.raises(ValueError, match="reduction='average': 'mean', 'sum' or 'none' expected"):
        make(reduction="average")


def test_the_weighted_mean_divides_by_the_weights_of_the_labels():
    weights = WEIGHT[LABELS]
    for loss, x in ((nn.CrossEntropyLoss(tensor(WEIGHT)), X), (nn.NLLLoss(tensor(WEIGHT)), special.log_softmax(X, 1))):
        np.testing.assert_allclose(loss(tensor(x), tensor(LABELS)).item(), (weights * PICKED).sum() / weights.sum(), rtol=1e-5)


@pytest.mark.parametrize("module, function, expected, text", [
    (nn.ReLU(inplace=True), F.relu, np.maximum(X, 0), "ReLU(inplace=True)"),
    (nn.ReLU6(), F.relu6, np.clip(X, 0, 6), "ReLU6()"),
    (nn.Hardtanh(), F.hardtanh, np.clip(X, -1, 1), "Hardtanh(min_val=-1.0, max_val=1.0)"),
    (nn.LeakyReLU(), F.leaky_relu, np.where(X > 0, X, 0.01 * X), "LeakyReLU(negative_slope=0.01)"),
    (nn.ELU(), F.elu, np.where(X > 0, X, np.expm1(X)), "ELU(alpha=1.0)"),
    (nn.Sigmoid(), F.sigmoid, P, "Sigmoid()"),
    (nn.Tanh(), F.tanh, np.tanh(X), "Tanh()"),
    (nn.SiLU(), F.silu, X * P, "SiLU()"),
    (nn.GELU(), F.gelu, X * special.ndtr(X), "GELU(approximate='none')"),
    (nn.Softplus(), F.softplus, np.log1p(np.exp(X)), "Softplus(beta=1.0, threshold=20.0)"),
    (nn.Softmax(dim=-1), lambda x: F.softmax(x, -1), special.softmax(X, 1), "Softmax(dim=-1)"),
    (nn.LogSoftmax(dim=-1), lambda x: F.log_softmax(x, -1), special.log_softmax(X, 1), "LogSoftmax(dim=-1)"),
    (nn.Dropout(0.25).eval(), lambda x: F.dropout(x, 0.25, training=False), X, "Dropout(p=0.25, inplace=False)"),
    (nn.Identity(), lambda x: x, X, "Identity()"),
], ids=lambda x: x if isinstance(x, str) else "")
def test_elementwise_modules(module, function, expected, text):
    for f in (module, function):
        np.testing.assert_allclose(f(tensor(X)).numpy(), expected, rtol=2e-5, atol=1e-6)
    assert repr(module) == text


@pytest.mark.parametrize("module, expected", [
    (nn.MaxPool2d(2), BLOCKS.max(axis=(3, 5))), (nn.AvgPool2d(2), BLOCKS.mean(axis=(3, 5))),
    (nn.AdaptiveAvgPool2d(3), BLOCKS.mean(axis=(3, 5)))], ids=["max", "mean", "adaptive"])
def test_pooling_of_images_and_of_one_image(module, expected):
    np.testing.assert_allclose(module(tensor(IMAGES)).numpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(module(tensor(IMAGES[0])).numpy(), expected[0], rtol=1e-5, atol=1e-6)


def test_where_the_largest_of_one_image_was():
    values, places = nn.MaxPool2d(2, return_indices=True)(tensor(IMAGES[0]))
    np.testing.assert_array_equal(IMAGES[0].reshape(3, 36)[np.arange(3)[:, None], places.numpy().reshape(3, 9)].astype("f4"),
                                  values.numpy().reshape(3, 9))


def correlate(x, w):
    """A convolution whose output has the input's size: zeros around, one more below and right of an even window."""
    kh, kw = w.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), ((kh - 1) // 2, kh // 2), ((kw - 1) // 2, kw // 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kh, kw), axis=(2, 3))
    return np.einsum("nchwab,ocab->nohw", windows, w)


@pytest.mark.parametrize("window", [(3, 3), (2, 4)])
def test_convolution_that_keeps_the_size(window):
    layer = nn.Conv2d(3, 5, window, padding="same", bias=False)
    expected = correlate(IMAGES, layer.weight.detach().numpy().astype(float))
    for f in (layer, lambda x: F.conv2d(x, layer.weight, padding="same")):
        np.testing.assert_allclose(f(tensor(IMAGES)).detach().numpy(), expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(f(tensor(IMAGES[0])).detach().numpy(), expected[0], rtol=1e-4, atol=1e-5)


def test_padding_that_makes_no_sense():
    assert nn.Conv2d(1, 1, 3, padding="valid").padding == "valid"
    with pytest.raises(ValueError, match="padding='sam': whole numbers, 'valid' or 'same' expected"):
        nn.Conv2d(1, 1, 3, padding="sam")
    with pytest.raises(ValueError, match=r"padding='same' with stride=\(2, 2\): stride 1 expected"):
        nn.Conv2d(1, 1, 3, stride=2, padding="same")


def test_what_layers_print():
    assert repr(nn.Linear(3, 2, bias=False)) == "Linear(in_features=3, out_features=2, bias=False)"
    assert repr(nn.Conv2d(4, 6, 3, 2, 1, 2, 2, bias=False)) == (
        "Conv2d(4, 6, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), dilation=(2, 2), groups=2, bias=False)")
    assert repr(nn.MaxPool2d(2)) == "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)"
    assert repr(nn.AvgPool2d(3, 1)) == "AvgPool2d(kernel_size=3, stride=1, padding=0)"
    assert repr(nn.AdaptiveAvgPool2d(1)) == "AdaptiveAvgPool2d(output_size=1)"
    assert repr(nn.Flatten()) == "Flatten(start_dim=1, end_dim=-1)"
    assert repr(nn.Unflatten(1, (2, 2))) == "Unflatten(dim=1, unflattened_size=(2, 2))"
    assert "eps=1e-05, momentum=0.1" in repr(nn.BatchNorm2d(3))


def test_flattening_and_back():
    x = tensor(IMAGES)
    flat = nn.Flatten()(x)
    np.testing.assert_array_equal(flat.numpy(), x.numpy().reshape(2, 108))
    np.testing.assert_array_equal(nn.Unflatten(1, (3, 6, 6))(flat).numpy(), x.numpy())


def test_adam_where_some_parameters_had_no_gradient_in_some_steps():
    """The step that a parameter is in counts for its bias correction, not the number of calls."""
    a, b = (nn.Parameter(tensor([1.0, -2.0])) for _ in range(2))
    optimizer = optim.Adam([a, b], lr=0.1)
    gradients = [np.array([0.5, -1.0]), np.array([0.25, 2.0])]
    a.grad = tensor(gradients[0])
    optimizer.step()
    a.grad, b.grad = tensor(gradients[1]), tensor(gradients[1])
    optimizer.step()

    def adam(gradients):
        x, m, v = np.array([1.0, -2.0]), 0.0, 0.0
        for t, g in enumerate(gradients, 1):
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            x = x - 0.1 * m / (1 - 0.9 ** t) / (np.sqrt(v / (1 - 0.999 ** t)) + 1e-8)
        return x
    np.testing.assert_allclose(a.detach().numpy(), adam(gradients), rtol=1e-5)
    np.testing.assert_allclose(b.detach().numpy(), adam(gradients[1:]), rtol=1e-5)
    assert optimizer.state[b]["step"] == 1


def ctc_by_enumeration(p, labels):
    """-log of the sum over all paths that read as the labels, of the classes' probabilities p (T, C); class 0 is the blank."""
    total = 0.0
    for path in product(range(p.shape[1]), repeat=len(p)):
        if [c for c, _ in groupby(path) if c] == list(labels):
            total += np.prod(p[np.arange(len(p)), path])
    return -np.log(total) if total else np.inf


def test_ctc_is_the_sum_over_all_paths():
    logits = np.random.default_rng(0).normal(size=(5, 4, 3))
    labels, read = [[1, 2], [2, 2], [1], []], [5, 4, 3, 2]
    p = special.softmax(logits, -1)
    expected = np.array([ctc_by_enumeration(p[:n, i], t) for i, (t, n) in enumerate(zip(labels, read))])
    targets, written = tensor([[1, 2], [2, 2], [1, 0], [0, 0]]), [len(t) for t in labels]

    def losses(x, reduction="none"):
        return F.ctc_loss(F.log_softmax(x, -1), targets, read, written, reduction=reduction)
    x = minidl.tensor(logits, requires_grad=True)
    np.testing.assert_allclose(losses(x).detach().numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(losses(x, "mean").item(), (expected / np.maximum(written, 1)).mean(), rtol=1e-12)
    joined = F.ctc_loss(F.log_softmax(x, -1), tensor([1, 2, 2, 2, 1]), read, written, reduction="sum")
    np.testing.assert_allclose(joined.item(), expected.sum(), rtol=1e-12)
    assert gradcheck(losses, [x]) and gradgradcheck(losses, [x])


def test_ctc_of_targets_that_are_too_long():
    x = F.log_softmax(minidl.tensor(np.zeros((2, 1, 3)), requires_grad=True), -1)
    args = tensor([[1, 1]]), tensor([2]), tensor([2])
    assert F.ctc_loss(x, *args).item() == np.inf
    loss = nn.CTCLoss(zero_infinity=True)(x, *args)
    assert loss.item() == 0 and not minidl.grad(loss, [x])[0].numpy().any()
    with pytest.raises(ValueError, match="blank=3"):
        F.ctc_loss(x, *args, blank=3)
    with pytest.raises(ValueError, match=r"input_lengths \[3\]"):
        F.ctc_loss(x, args[0], tensor([3]), args[2])
