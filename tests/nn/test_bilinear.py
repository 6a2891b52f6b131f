"""Bilinear layers, distances as modules, draws from Gumbel's softmax, resizing's old names: formulas, and PyTorch."""
import numpy as np
import pytest

import minidl as ml
import minidl.nn.functional as F
from minidl import nn
from minidl.autograd import gradcheck, gradgradcheck

random = np.random.default_rng(0)


def tensors(*shapes, dtype="float64"):
    return [ml.tensor(random.standard_normal(s).astype(dtype), requires_grad=True) for s in shapes]


@pytest.mark.parametrize("lead", [(), (6,), (2, 3), (0,)])
def test_bilinear_is_its_formula(lead):
    x1, x2, weight, bias = tensors((*lead, 4), (*lead, 3), (5, 4, 3), (5,))
    expected = np.einsum("...i,oij,...j->...o", *(t.detach().numpy() for t in (x1, weight, x2)))
    np.testing.assert_allclose(F.bilinear(x1, x2, weight).detach().numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(F.bilinear(x1, x2, weight, bias).detach().numpy(), expected + bias.detach().numpy(), rtol=1e-12)
    if lead == (2, 3):
        assert gradcheck(F.bilinear, (x1, x2, weight, bias)) and gradgradcheck(F.bilinear, (x1, x2, weight, bias))


def test_bilinear_says_what_does_not_fit():
    x1, x2, weight = tensors((6, 4), (6, 3), (5, 4, 3))
    for wrong in ((x2, x1, weight), (x1, x2[:2], weight), (x1, x2, weight[0]), (x1[0], x2[0, 0], weight)):
        with pytest.raises(ValueError, match="bilinear: input1"):
            F.bilinear(*wrong)
    with pytest.raises(TypeError, match="one dtype expected"):
        F.bilinear(x1.astype("float32"), x2, weight)
    with pytest.raises(ValueError, match="in1_features=0: a whole number above 0"):
        nn.Bilinear(0, 3, 5)
    with pytest.raises(ValueError, match="in2_features=-1"):
        nn.Bilinear(1, -1, 5)


@pytest.mark.parametrize("bias", [True, False])
def test_bilinear_layer_is_pytorchs(bias):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, an optional peer")
    ours, theirs = nn.Bilinear(16, 3, 50, bias), torch.nn.Bilinear(16, 3, 50, bias)
    assert repr(ours) == repr(theirs)
    assert 0.24 < np.abs(ours.weight.detach().numpy()).max() <= 0.25
    theirs.load_state_dict({k: torch.from_numpy(v.numpy().copy()) for k, v in ours.state_dict().items()})
    arrays = [random.standard_normal((2, 6, n)).astype("float32") for n in (16, 3)]
    xs, ys = [ml.tensor(a, requires_grad=True) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]
    mine, other = ours(*xs), theirs(*ys)
    np.testing.assert_allclose(mine.detach().numpy(), other.detach().numpy(), rtol=1e-5, atol=1e-5)
    mine.square().sum().backward()
    other.square().sum().backward()
    for a, b in zip([*xs, *ours.parameters()], [*ys, *theirs.parameters()], strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-4, atol=1e-4)


def test_distances_as_modules():
    x1, x2 = tensors((4, 7), (4, 7))
    a, b = x1.detach().numpy(), x2.detach().numpy()
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(nn.CosineSimilarity()(x1, x2).detach().numpy(), cosine, rtol=1e-12)
    assert nn.CosineSimilarity(dim=0, eps=1e-6)(x1, x2).shape == (7,)
    distance = nn.PairwiseDistance()(x1, x2)
    np.testing.assert_allclose(distance.detach().numpy(), np.linalg.norm(a - b + 1e-6, axis=1), rtol=1e-12)
    manhattan = nn.PairwiseDistance(1, eps=0, keepdim=True)(x1, x2)
    np.testing.assert_allclose(manhattan.detach().numpy(), np.abs(a - b).sum(1, keepdims=True), rtol=1e-12)
    assert repr(nn.CosineSimilarity()) == "CosineSimilarity()" and repr(nn.PairwiseDistance()) == "PairwiseDistance()"


def test_gumbel_softmax_draws_the_categories():
    ml.manual_seed(0)
    p = np.array([0.1, 0.2, 0.3, 0.4])
    logits = ml.tensor(np.broadcast_to(np.log(p), (20_000, 4)).copy(), requires_grad=True)
    soft = F.gumbel_softmax(logits, tau=0.5)
    np.testing.assert_allclose(soft.detach().numpy().sum(1), 1, rtol=1e-12)
    hard = F.gumbel_softmax(logits, tau=0.5, hard=True)
    np.testing.assert_allclose(np.sort(hard.detach().numpy(), 1), np.broadcast_to([0, 0, 0, 1.0], (20_000, 4)), atol=1e-12)
    np.testing.assert_allclose(hard.detach().numpy().mean(0), p, atol=0.015)
    weights = ml.tensor(random.standard_normal(logits.shape))
    ml.manual_seed(1)
    (F.gumbel_softmax(logits, 2.0) * weights).sum().backward()
    expected, logits.grad = logits.grad, None
    ml.manual_seed(1)
    (F.gumbel_softmax(logits, 2.0, hard=True) * weights).sum().backward()
    np.testing.assert_allclose(logits.grad.numpy(), expected.numpy(), rtol=1e-12)
    drawn = F.gumbel_softmax(logits[:6].reshape(2, 3, 4), hard=True, dim=1)
    np.testing.assert_allclose(drawn.detach().numpy().sum(1), np.ones((2, 4)), rtol=1e-12)
    with pytest.warns(UserWarning, match="no effect"):
        F.gumbel_softmax(logits, eps=1e-3)


def test_resizing_has_its_old_names():
    (x,) = tensors((2, 3, 4, 5))
    for mine, same in ((F.upsample(x, scale_factor=2), F.interpolate(x, scale_factor=2)),
                       (F.upsample(x, (7, 3), mode="bilinear", align_corners=True), F.upsample_bilinear(x, (7, 3))),
                       (F.upsample_nearest(x, 9), F.interpolate(x, 9))):
        np.testing.assert_array_equal(mine.detach().numpy(), same.detach().numpy())
