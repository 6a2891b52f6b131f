"""Attention, norms of rows and embeddings on random shapes and memory layouts give what PyTorch gives in float64, and its
gradients."""
import numpy as np
import pytest
from fuzzing import Draw, error, fuzz, heads

from minidl import kernels

torch = pytest.importorskip("torch")
F = torch.nn.functional


def leaf(x):
    """The values in PyTorch, in float64, to be differentiated by."""
    return None if x is None else there(x).requires_grad_()


def there(x, dtype="f8"):
    return torch.from_numpy(np.array(x, dtype, order="C"))


def close(got, wanted, tolerance):
    wanted = [w.detach().numpy().astype("f4") for w in wanted]
    assert error([np.asarray(g, "f4") for g in got], wanted, True) <= tolerance


def gradients(y, g, *by):
    """The gradients of the sum of g y by each that is there."""
    return torch.autograd.grad(y, [x for x in by if x is not None], there(g))


@fuzz(60)
def test_attention(data):
    draw = Draw(data)
    q, k, v, how = heads(draw)
    mask, causal = how.pop("mask", None), how.pop("causal")
    added = torch.zeros(q.shape[2], k.shape[2], dtype=torch.float64)
    if mask is not None:
        added = added + there(np.where(mask, 0, -np.inf) if mask.dtype == bool else mask)
    if causal:
        added = added.masked_fill(~torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(), -torch.inf)
    leaves = [leaf(x) for x in (q, k, v)]
    wanted = F.scaled_dot_product_attention(*leaves, attn_mask=added, enable_gqa=True, **how)
    y, lse = kernels.attention(q, k, v, mask, causal, **how)
    close([y], [wanted], 8e-6)
    g = draw.normal(*y.shape)
    got = kernels.attention_backward(g, q, k, v, draw.exact(y), draw.exact(lse), mask, causal, **how)
    close(got, gradients(wanted, g, *leaves), 5e-5)


@fuzz(40)
def test_row_norms(data):
    draw = Draw(data)
    shape, eps = draw.choice((0, 3), (2, 9), (3, 7), (5, 33), (65, 16), (130, 64), (2, 1000)), draw.choice(1e-5, 0.1)
    x, g = draw.normal(*shape), draw.normal(*shape)
    weight, bias = draw.normal(shape[1]), draw.choice(None, draw.normal(shape[1]))
    leaves = [leaf(a) for a in (x, weight, bias)]
    wanted = F.layer_norm(leaves[0], shape[1:], *leaves[1:], eps)
    y, mean, rstd = kernels.layer_norm(x, weight, bias, eps)
    close([y], [wanted], 4e-6)
    got = kernels.layer_norm_backward(g, x, draw.exact(mean), draw.exact(rstd), weight)
    close(got[:2 + (bias is not None)], gradients(wanted, g, *leaves), 2e-5)
    wanted = F.rms_norm(leaves[0], shape[1:], leaves[1], eps)
    y, rstd = kernels.rms_norm(x, weight, eps)
    close([y], [wanted], 4e-6)
    close(kernels.rms_norm_backward(g, x, draw.exact(rstd), weight), gradients(wanted, g, *leaves[:2]), 2e-5)


@fuzz(40)
def test_embedding(data):
    draw = Draw(data)
    rows, n, shape = draw.choice(1, 3, 70), draw.choice(1, 5, 16, 33, 200), draw.choice((), (0,), (5,), (3, 4), (70, 9))
    index = draw.array(draw.random.integers(0, rows, shape).astype(draw.choice("i8", "i8", "i4", "u1")))
    weight, g = draw.normal(rows, n), draw.normal(*shape, n)
    table = leaf(weight)
    wanted = F.embedding(there(index, "i8"), table)
    close([kernels.embedding(weight, index)], [wanted], 0)
    close([kernels.embedding_backward(g, index, rows)], gradients(wanted, g, table), 8e-6)
