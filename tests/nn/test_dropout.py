"""Dropout: its random bits against published ones, its masks, and the formulas of its variants."""
import numpy as np
import pytest
from strict_array import StrictArray

import minidl as ml
from minidl import kernels, nn
from minidl.autograd import checkpoint, gradcheck
from minidl.autograd.tensor import wrap
from minidl.kernels.dropout.reference import philox
from minidl.nn import functional as F


@pytest.mark.parametrize("counter, key, words", [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
])
def test_philox_gives_the_words_that_its_authors_publish(counter, key, words):
    """The test vectors of Random123 1.14.0, tests/kat_vectors."""
    drawn = philox([np.array([int(w, 16)], np.uint64) for w in counter.split()], [int(w, 16) for w in key.split()])
    assert " ".join(f"{int(w[0]):08x}" for w in drawn) == words


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_mask_is_the_same_on_any_number_of_threads(threads):
    x, before = np.ones((300, 1000), np.float32), kernels.get_num_threads()
    try:
        kernels.set_num_threads(threads)
        y = kernels.dropout(x, 0.4, 7)
    finally:
        kernels.set_num_threads(before)
    np.testing.assert_array_equal(y, kernels.dropout(x, 0.4, 7, backend="reference"))


def test_words_are_independent_of_each_other_and_of_the_seed():
    x = np.ones(1 << 20, np.float32)
    masks = np.array([kernels.dropout(x, 0.5, seed) > 0 for seed in (0, 1, 2**32, 2**63)], float) - 0.5
    correlation = np.corrcoef(np.concatenate([masks, np.roll(masks[:1], 1), np.roll(masks[:1], 16), np.roll(masks[:1], 64)]))
    assert np.abs(correlation - np.eye(7)).max() < 0.005
    assert abs(masks.mean()) < 0.001


def test_dropout_keeps_the_mean_and_the_same_seed_drops_the_same():
    x = ml.ones(200, 300, requires_grad=True)
    ml.manual_seed(1)
    y = F.dropout(x, 0.25)
    kept = y.detach().numpy() != 0
    assert abs(kept.mean() - 0.75) < 0.01
    np.testing.assert_allclose(y.detach().numpy()[kept], 1 / 0.75, rtol=1e-6)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.detach().numpy())
    ml.manual_seed(1)
    np.testing.assert_array_equal(F.dropout(x, 0.25).detach().numpy(), y.detach().numpy())
    assert not np.array_equal(F.dropout(x, 0.25).detach().numpy(), y.detach().numpy())
    assert F.dropout(x, 0.25, training=False) is x
    assert F.dropout(x, 0.0) is x
    assert not F.dropout(x, 1.0).detach().numpy().any()
    images = ml.ones(2, 4, 4, 3).permute(0, 3, 1, 2)
    assert F.dropout(images, 0.5).array.strides == images.array.strides
    ml.manual_seed(2)
    expected = F.dropout(x.detach(), 0.5).numpy()
    ml.manual_seed(2)
    np.testing.assert_array_equal(F.dropout(wrap(StrictArray(x.array)), 0.5).array._array, expected)
    with pytest.raises(ValueError, match=r"p=1\.5"):
        F.dropout(x, 1.5)


def test_dropout2d_drops_whole_channels():
    y = F.dropout2d(ml.ones(50, 8, 3, 3), 0.5).numpy()
    assert set(np.unique(y)) == {0.0, 2.0}
    assert (y == y[:, :, :1, :1]).all()
    y = F.dropout2d(ml.ones(64, 3, 3), 0.5).numpy()  # (N, C, L), as in PyTorch
    assert set(np.unique(y)) == {0.0, 2.0} and (y == y[:, :, :1]).all() and (y != y[:, :1]).any()
    layer = nn.Dropout2d(0.5)
    assert (layer(ml.ones(50, 8, 3, 3)).numpy() == 0).any() and layer.eval()(ml.ones(2, 8, 3, 3)).numpy().all()
    with pytest.raises(ValueError, match=r"\(4,\)"):
        F.dropout2d(ml.ones(4))


@pytest.mark.parametrize("layer, shape, same", [(nn.Dropout1d(0.5), (30, 8, 5), (30, 8, 1)),
                                                (nn.Dropout1d(0.5), (80, 5), (80, 1)),
                                                (nn.Dropout3d(0.5), (30, 8, 2, 3, 4), (30, 8, 1, 1, 1)),
                                                (nn.Dropout3d(0.5), (80, 2, 3, 4), (80, 1, 1, 1)),
                                                (nn.FeatureAlphaDropout(0.5), (30, 8, 2, 3), (30, 8, 1, 1))])
def test_layers_drop_whole_channels(layer, shape, same):
    y = layer(ml.ones(shape)).numpy()
    first = y[tuple(slice(0, n) for n in same)]
    assert len(np.unique(y)) == 2 and (y == first).all()
    x = ml.ones(shape)
    assert layer.eval()(x) is x


def test_dropout1d_and_3d_refuse_other_shapes():
    with pytest.raises(ValueError, match="dropout1d"):
        F.dropout1d(ml.ones(2, 2, 2, 2))
    with pytest.raises(ValueError, match="dropout3d"):
        F.dropout3d(ml.ones(2))


def test_alpha_dropout_keeps_mean_and_variance_and_its_two_values_are_pytorchs():
    torch = pytest.importorskip("torch", reason="PyTorch says what the values are")
    x = ml.randn(400, 500)
    y = nn.AlphaDropout(0.3)(x).numpy()
    assert abs(y.mean()) < 0.02 and abs(y.var() - 1) < 0.02
    ours = np.unique(F.alpha_dropout(ml.full((1000,), 2.0), 0.3, training=True).numpy())
    wanted = np.unique(torch.nn.functional.alpha_dropout(torch.full((1000,), 2.0), 0.3, training=True).numpy())
    np.testing.assert_allclose(ours, wanted, rtol=1e-6)
    assert F.alpha_dropout(x) is x and not F.alpha_dropout(x, 1.0, training=True).numpy().any()


@pytest.mark.parametrize("function", [F.dropout, lambda x: F.dropout2d(x, 0.4), lambda x: F.alpha_dropout(x, 0.4, True)])
def test_derivatives_with_a_mask_that_stays(function):
    x = ml.tensor(np.random.default_rng(0).normal(size=(3, 4, 2)), requires_grad=True)

    def same_mask(x):
        ml.manual_seed(3)
        return function(x)
    assert gradcheck(same_mask, [x])
    assert gradcheck(lambda x: ml.grad((same_mask(x) ** 3).sum(), [x], create_graph=True)[0], [x], atol=1e-4)


def test_the_gradient_has_the_mask_of_the_forward_pass_in_any_layout():
    images = ml.ones(2, 4, 4, 3).permute(0, 3, 1, 2).detach().requires_grad_()
    y = F.dropout(images, 0.5)
    g = ml.ones(2, 3, 4, 4)
    y.backward(g)
    np.testing.assert_array_equal(images.grad.numpy(), y.detach().numpy())


def test_a_checkpoint_draws_the_same_mask_again():
    x = ml.ones(50, 40, requires_grad=True)
    y = checkpoint(lambda x: F.dropout(x * 1.0, 0.5), x)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.detach().numpy())
