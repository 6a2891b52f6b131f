"""Embedding against PyTorch's: values, gradients of both orders, padding; one-hot vectors; errors."""
import numpy as np
import pytest
from strict_array import StrictArray

import minidl as ml
import minidl.nn.functional as F
from minidl import nn
from minidl.autograd.tensor import wrap
from minidl.ops.embedding import embedding_backward

random = np.random.default_rng(0)


@pytest.mark.parametrize("padding_idx", [None, 2, -1])
@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_embedding_is_pytorchs(padding_idx, dtype):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    theirs = torch.nn.Embedding(5, 7, padding_idx)
    ours = nn.Embedding(5, 7, padding_idx)
    if padding_idx is not None:
        assert not ours.weight.detach().numpy()[padding_idx].any()
    ours.load_state_dict(theirs.state_dict())
    places = random.integers(0, 5, (4, 6)).astype(dtype)
    places[0] = 4
    g = random.standard_normal((4, 6, 7)).astype(np.float32)
    for call, peer in [(ours, theirs), (lambda x: F.embedding(x, ours.weight, padding_idx),
                                        lambda x: torch.nn.functional.embedding(x, theirs.weight, padding_idx))]:
        y, y2 = call(ml.tensor(places)), peer(torch.tensor(places))
        np.testing.assert_array_equal(y.detach().numpy(), y2.detach().numpy())
        ours.weight.grad = theirs.weight.grad = None
        y.backward(ml.tensor(g))
        y2.backward(torch.tensor(g))
        np.testing.assert_allclose(ours.weight.grad.numpy(), theirs.weight.grad.numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("padding_idx", [None, 2, -1])
def test_the_gradient_of_the_gradient_passes_by_the_padding(padding_idx):
    """What reaches dy is what is read back from the table's gradient, whose padding row is always 0."""
    places, table = np.array([2, 4, 0, 2]), random.standard_normal((5, 3))
    dy = ml.tensor(random.standard_normal((4, 3)), requires_grad=True)
    (embedding_backward(dy, ml.tensor(places), 5, padding_idx) * ml.tensor(table)).sum().backward()
    if padding_idx is not None:
        table[padding_idx] = 0
    np.testing.assert_array_equal(dy.grad.numpy(), table[places])


def test_initial_values_and_given_ones():
    layer = nn.Embedding(300, 40)
    assert abs(layer.weight.detach().numpy().std() - 1) < 0.05
    table = ml.tensor(random.standard_normal((3, 2)))
    frozen, free = nn.Embedding.from_pretrained(table), nn.Embedding.from_pretrained(table, freeze=False, padding_idx=0)
    np.testing.assert_array_equal(frozen.weight.numpy(), table.numpy())
    assert frozen.weight.dtype == table.dtype and not frozen.weight.requires_grad and free.weight.requires_grad
    np.testing.assert_array_equal(free(np.array([0, 2])).detach().numpy(), table.numpy()[[0, 2]])


def test_one_hot():
    x = np.array([[0, 2], [1, 0]])
    np.testing.assert_array_equal(F.one_hot(ml.tensor(x)).numpy(), np.eye(3, dtype=np.int64)[x])
    np.testing.assert_array_equal(F.one_hot(ml.tensor(x), 5).numpy(), np.eye(5, dtype=np.int64)[x])
    assert F.one_hot(ml.tensor(np.empty(0, np.int64)), 4).shape == (0, 4)
    y = F.one_hot(wrap(StrictArray(x)), 4).array
    assert isinstance(y, StrictArray) and y.dtype == np.int64
    np.testing.assert_array_equal(y._array, np.eye(4)[x])


TABLE = ml.ones(5, 3)


@pytest.mark.parametrize("call, error, message", [
    (lambda: F.embedding(ml.tensor([[0, 1], [7, 9]]), TABLE), ValueError, r"index\[1, 0\] = 7: 0 <= index < 5 expected"),
    (lambda: F.embedding(ml.tensor([0, -1]), TABLE), ValueError, r"index\[1\] = -1"),
    (lambda: F.embedding(ml.tensor(5), TABLE), ValueError, r"index\[\] = 5"),
    (lambda: F.embedding(ml.tensor([0.0, 1.0]), TABLE), TypeError, "index is float32: integers expected"),
    (lambda: F.embedding(ml.tensor([0]), ml.ones(5)), ValueError, r"weight \(5,\): \(rows, n\) expected"),
    (lambda: F.embedding(ml.tensor([0]), TABLE, 5), ValueError, "padding_idx=5: a row, -5 <= padding_idx < 5"),
    (lambda: nn.Embedding(5, 3, padding_idx=-6), ValueError, "padding_idx=-6"),
    (lambda: nn.Embedding(5, -3), ValueError, "embedding_dim=-3"),
    (lambda: embedding_backward(ml.ones(2, 3), ml.tensor([0]), 5), ValueError, r"g \(2, 3\)"),
    (lambda: F.one_hot(ml.ones(2)), TypeError, "tensor is float32"),
    (lambda: F.one_hot(ml.tensor([0, 3]), 3), ValueError, "tensor holds 0 to 3: numbers from 0 to below num_classes=3"),
    (lambda: F.one_hot(ml.tensor([-1, 3])), ValueError, "tensor holds -1 to 3"),
    (lambda: F.one_hot(ml.tensor(np.empty(0, np.int64))), ValueError, "num_classes expected"),
])
def test_errors_say_what_was_given_and_what_is_expected(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("options", [{"scale_grad_by_freq": True}, {"scale_grad_by_freq": True, "padding_idx": 1},
                                     {"max_norm": 1.0}, {"max_norm": 1.5, "norm_type": 1.0}])
def test_options_are_pytorchs(options):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    ours, theirs = (package.Embedding(6, 4, **options) for package in (nn, torch.nn))
    ours.load_state_dict(theirs.state_dict())
    places = np.array([[1, 2, 2, 0], [5, 2, 1, 5]])
    y, y2 = ours(ml.tensor(places)), theirs(torch.tensor(places))
    g = random.standard_normal(y.shape).astype("f")
    y.backward(ml.tensor(g))
    y2.backward(torch.tensor(g))
    for a, b in ((y, y2), (ours.weight, theirs.weight), (ours.weight.grad, theirs.weight.grad)):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("options", [{}, {"padding_idx": 2}, {"include_last_offset": True}, {"max_norm": 1.0},
                                     {"weights": True}, {"matrix": True}, {"matrix": True, "padding_idx": 0},
                                     {"matrix": True, "weights": True}])
def test_embedding_bag_is_pytorchs(mode, options):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    options = dict(options)
    matrix, weighted = options.pop("matrix", False), options.pop("weights", False)
    if weighted and mode != "sum":
        with pytest.raises(ValueError, match="per_sample_weights"):
            nn.EmbeddingBag(6, 4, mode=mode)(ml.tensor([[1]]), per_sample_weights=ml.tensor([[1.0]]))
        return
    ours, theirs = (package.EmbeddingBag(6, 4, mode=mode, **options) for package in (nn, torch.nn))
    ours.load_state_dict(theirs.state_dict())
    places = np.array([1, 2, 2, 0, 5, 4, 1, 5, 3, 2, 0, 0])
    places = places.reshape(3, 4) if matrix else places
    offsets = None if matrix else np.array([0, 3, 3, 7, 12] if "include_last_offset" in options else [0, 3, 3, 7])
    factors = random.standard_normal(places.shape).astype("f") if weighted else None
    (a, a2), (o, o2), (f, f2) = ((None, None) if v is None else (ml.tensor(v), torch.tensor(v))
                                 for v in (places, offsets, factors))
    if weighted:
        f, f2 = f.requires_grad_(), f2.requires_grad_()
    y, y2 = ours(a, o, f), theirs(a2, o2, f2)
    g = random.standard_normal(y.shape).astype("f")
    y.backward(ml.tensor(g))
    y2.backward(torch.tensor(g))
    more = [(f.grad, f2.grad)] if weighted else []
    for x, x2 in ((y, y2), (ours.weight, theirs.weight), (ours.weight.grad, theirs.weight.grad), *more):
        np.testing.assert_allclose(x.detach().numpy(), x2.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_embedding_bag_alone():
    layer = nn.EmbeddingBag.from_pretrained(ml.tensor([[1.0, 2], [3, 5], [-1, 0]]), mode="sum")
    assert not layer.weight.requires_grad and repr(layer).startswith("EmbeddingBag(3, 2")
    assert layer(ml.tensor([[0, 1], [2, 2]])).tolist() == [[4, 7], [-2, 0]]
    assert layer(ml.tensor([0, 1, 2]), ml.tensor([0, 3, 3])).tolist() == [[3, 7], [0, 0], [0, 0]]
    empty = F.embedding_bag(ml.tensor(np.zeros((2, 0), "i8")), layer.weight, mode="max")
    assert empty.tolist() == [[0, 0], [0, 0]]
    for call, message in [(lambda: layer(ml.tensor([0, 1])), "offsets, or"),
                          (lambda: nn.EmbeddingBag(3, 2, mode="median"), "mode="),
                          (lambda: layer(ml.tensor([0, 1]), ml.tensor([1, 2])), "rising from 0")]:
        with pytest.raises(ValueError, match=message):
            call()
