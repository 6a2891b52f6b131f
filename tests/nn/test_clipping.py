"""Norms of gradients and clipping, as PyTorch's."""
import numpy as np
import pytest

import minidl as ml
from minidl import nn
from minidl.nn import utils

torch = pytest.importorskip("torch", reason="PyTorch is the peer these functions are compared with")
random = np.random.default_rng(0)


def parameters(size=1.0):
    """Parameters with gradients, one without, in both libraries."""
    ours, theirs = [], []
    for shape in [(3, 4), (5,), (), (300, 70), (2, 3, 4, 5)]:
        g = (random.standard_normal(shape) * size).astype("f")
        ours.append(nn.Parameter(ml.zeros(shape)))
        theirs.append(torch.nn.Parameter(torch.zeros(shape)))
        ours[-1].grad, theirs[-1].grad = ml.tensor(g), torch.tensor(g)
    return [*ours, nn.Parameter(ml.zeros(3))], [*theirs, torch.nn.Parameter(torch.zeros(3))]


def same_gradients(ours, theirs):
    for p, q in zip(ours[:-1], theirs[:-1]):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=2e-6, atol=1e-12)


@pytest.mark.parametrize("order", [2, 1.0, "inf", float("inf"), 3, 0.5])
@pytest.mark.parametrize("max_norm", [0.1, 1e9])
def test_clip_grad_norm(order, max_norm):
    ours, theirs = parameters()
    # PyTorch's sums of roots are off by 1e-5 in float32.
    theirs = [torch.nn.Parameter(p.detach().double()) for p in theirs]
    for p, q in zip(theirs, ours):
        p.grad = None if q.grad is None else torch.tensor(q.grad.numpy(), dtype=torch.float64)
    total = utils.clip_grad_norm_(ours, max_norm, order, foreach=False)
    wanted = torch.nn.utils.clip_grad_norm_(theirs, max_norm, order)
    np.testing.assert_allclose(total.item(), wanted.item(), rtol=2e-6)
    assert total.shape == () and total.dtype == ml.float32
    same_gradients(ours, theirs)


def test_order_zero_counts_values():
    ours, _ = parameters()
    ours[0].grad[0] = 0
    assert utils.get_total_norm([p.grad for p in ours[:-1]], 0).item() == sum(p.grad.size for p in ours[:-1]) - 4


def test_what_is_not_finite():
    ours, theirs = parameters(float("nan"))
    with pytest.raises(RuntimeError, match="non-finite"):
        utils.clip_grad_norm_(ours, 1.0, error_if_nonfinite=True)
    utils.clip_grad_norm_(ours, 1.0)
    torch.nn.utils.clip_grad_norm_(theirs, 1.0)
    same_gradients(ours, theirs)


def test_parts_and_values():
    ours, theirs = parameters()
    total = utils.get_total_norm([p.grad for p in ours[:-1]])
    wanted = torch.nn.utils.get_total_norm([p.grad for p in theirs[:-1]])
    np.testing.assert_allclose(total.item(), wanted.item(), rtol=2e-6)
    utils.clip_grads_with_norm_(ours, 0.5, total)
    torch.nn.utils.clip_grads_with_norm_(theirs, 0.5, wanted)
    same_gradients(ours, theirs)
    utils.clip_grad_value_(ours, 0.001)
    torch.nn.utils.clip_grad_value_(theirs, 0.001)
    same_gradients(ours, theirs)
    assert utils.get_total_norm([]).item() == 0 and utils.clip_grad_norm_(ours[-1], 1.0).item() == 0
    utils.clip_grad_value_(ours[-1], 1.0)
    utils.clip_grad_value_(ours[0], 1e-9)
    assert np.abs(ours[0].grad.numpy()).max() == np.float32(1e-9)
