"""Initial values: their statistics, bounds and errors; and the functions on all parameters of nn.utils."""
import numpy as np
import pytest

import minidl as ml
from minidl import nn
from minidl.nn import init


@pytest.fixture(autouse=True)
def seeded():
    ml.manual_seed(0)


def filled(function, *shape, **kwargs):
    tensor = ml.empty(*shape)
    assert function(tensor, **kwargs) is tensor
    return tensor.numpy()


def test_bounds_and_deviations():
    shape = (60, 40, 5, 5)  # fan_in 1000, fan_out 1500
    uniform = {init.xavier_uniform_: (6 / 2500) ** 0.5, init.glorot_uniform_: (6 / 2500) ** 0.5,
               init.kaiming_uniform_: (6 / 1000) ** 0.5}
    for function, bound in uniform.items():
        w = filled(function, *shape)
        assert 0.99 * bound < np.abs(w).max() <= bound and w.std() == pytest.approx(bound / 3**0.5, rel=0.02)
    w = filled(init.kaiming_normal_, *shape, mode="fan_out", nonlinearity="relu")
    assert w.std() == pytest.approx((2 / 1500) ** 0.5, rel=0.02) and abs(w.mean()) < 1e-3
    assert filled(init.xavier_normal_, *shape, gain=2).std() == pytest.approx(2 * (2 / 2500) ** 0.5, rel=0.02)
    w = filled(init.normal_, 50_000, mean=3.0, std=0.5)
    assert w.mean() == pytest.approx(3, abs=0.02) and w.std() == pytest.approx(0.5, rel=0.02)
    w = filled(init.uniform_, 50_000, a=-1, b=3)
    assert w.min() >= -1 and w.max() < 3 and w.mean() == pytest.approx(1, abs=0.03)
    w = filled(init.trunc_normal_, 50_000, std=1.0, a=-0.5, b=2.0)
    assert w.min() >= -0.5 and w.max() <= 2 and w.mean() == pytest.approx(0.452, abs=0.02)  # by integration


def test_constants_and_matrices():
    assert (filled(init.constant_, 3, 2, val=2.5) == 2.5).all()
    assert not filled(init.zeros_, 3).any() and filled(init.ones_, 3).all()
    np.testing.assert_array_equal(filled(init.eye_, 2, 3), np.eye(2, 3))
    for shape in [(6, 4), (4, 6), (4, 2, 3), (5, 5)]:
        w = filled(init.orthogonal_, *shape, gain=2).reshape(shape[0], -1) / 2
        product = w.T @ w if w.shape[0] > w.shape[1] else w @ w.T
        np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-6)


@pytest.mark.parametrize("shape, groups", [((3, 5, 4), 1), ((6, 2, 3, 2), 3), ((4, 2, 1, 3, 5), 2), ((0, 2, 3), 1)])
def test_dirac_is_pytorchs(shape, groups):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    np.testing.assert_array_equal(filled(init.dirac_, *shape, groups=groups),
                                  torch.nn.init.dirac_(torch.empty(shape), groups).numpy())


def test_dirac_keeps_the_input_and_sparse_has_zeros():
    x = np.random.default_rng(0).standard_normal((2, 4, 5, 6)).astype(np.float32)
    weight = init.dirac_(ml.empty(4, 2, 3, 3), 2)
    np.testing.assert_array_equal(nn.functional.conv2d(ml.tensor(x), weight, padding=1, groups=2).numpy(), x)
    w = filled(init.sparse_, 1000, 40, sparsity=0.2501, std=0.1)
    assert ((w == 0).sum(0) == 251).all() and w[w != 0].std() == pytest.approx(0.1, rel=0.02)
    assert (w == 0).any(1).sum() > 50 and not (w == 0).all(1).any()  # other rows in each column
    for wrong in (lambda: init.dirac_(ml.empty(3, 3)), lambda: init.dirac_(ml.empty(4, 2, 3), 3),
                  lambda: init.sparse_(ml.empty(3, 3, 3), 0.5)):
        with pytest.raises(ValueError, match="expected"):
            wrong()


def test_gains_are_pytorchs():
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    for name in ("linear", "conv2d", "sigmoid", "tanh", "relu", "selu", "leaky_relu"):
        assert init.calculate_gain(name) == torch.nn.init.calculate_gain(name)
    assert init.calculate_gain("leaky_relu", 0.3) == torch.nn.init.calculate_gain("leaky_relu", 0.3)


def test_layers_start_as_pytorchs():
    for layer, fan_in in [(nn.Linear(400, 300), 400), (nn.Conv2d(32, 64, 5, groups=2), 16 * 25)]:
        bound = fan_in**-0.5
        for p in layer.parameters():
            values = p.detach().numpy()
            assert np.abs(values).max() <= bound and values.std() == pytest.approx(bound / 3**0.5, rel=0.2)
    before = layer.weight.detach().numpy().copy()
    layer.reset_parameters()
    assert not np.array_equal(before, layer.weight.detach().numpy())
    norm = nn.BatchNorm2d(3)
    norm(ml.randn(4, 3, 2, 2))
    init.zeros_(norm.weight)
    norm.reset_parameters()
    assert norm.weight.detach().numpy().all() and not norm.running_mean.numpy().any() and norm.num_batches_tracked == 0
    assert (norm.running_var.numpy() == 1).all()
    nn.BatchNorm1d(2, affine=False, track_running_stats=False).reset_parameters()


def test_the_same_seed_gives_the_same_values_in_any_layout():
    ml.manual_seed(5)
    a = nn.Conv2d(3, 4, 2).weight.detach().numpy()
    ml.manual_seed(5)
    b = init.kaiming_uniform_(ml.empty(4, 3, 2, 2), a=5**0.5).numpy()
    np.testing.assert_array_equal(a, b)
    generator = ml.random.Generator(1)
    c = init.normal_(ml.empty(3), generator=generator).numpy()
    np.testing.assert_array_equal(c, init.normal_(ml.empty(3), generator=generator.manual_seed(1)).numpy())


@pytest.mark.parametrize("call, message", [
    (lambda: init.xavier_uniform_(ml.empty(3)), r"\(3,\)"),
    (lambda: init.eye_(ml.empty(3)), r"\(3,\)"),
    (lambda: init.orthogonal_(ml.empty(3)), r"\(3,\)"),
    (lambda: init.kaiming_normal_(ml.empty(3, 3), mode="in"), "mode='in'"),
    (lambda: init.calculate_gain("swish"), "nonlinearity='swish'"),
    (lambda: init.trunc_normal_(ml.empty(3), a=5.0, b=6.0), "near the mean"),
    (lambda: nn.Conv2d(3, 4, 3, groups=2), "groups=2"),
    (lambda: nn.Conv2d(3, 4, 3, padding_mode="mirror"), "padding_mode='mirror'"),
    (lambda: nn.Conv2d(3, 4, (3, 3, 3)), "kernel_size"),
    (lambda: nn.Dropout(1.5), "p=1.5"),
    (lambda: nn.Hardtanh(1, -1), "min_val=1"),
    (lambda: nn.BatchNorm2d(3)(ml.ones(2, 3)), "4 axes"),
    (lambda: nn.BatchNorm2d(3)(ml.ones(2, 4, 4, 3)), "4 channels at axis 1: 3 expected"),
    (lambda: nn.Linear(3, 4)(ml.ones(2, 5)), r"x \(2, 5\), weight \(4, 3\)"),
    (lambda: nn.Conv2d(1, 32, 3)(np.ones((32, 28, 28, 1), np.float32)), "channels-last"),
])
def test_errors_say_what_was_given_and_what_is_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ---- nn.utils ----
def gradients():
    parameters = [nn.Parameter(ml.zeros(3, 2)), nn.Parameter(ml.zeros(4)), nn.Parameter(ml.zeros(5))]
    parameters[0].grad, parameters[1].grad = ml.randn(3, 2) * 5, ml.randn(4) * 5
    return parameters, np.concatenate([p.grad.numpy().ravel() for p in parameters[:2]]).copy()


@pytest.mark.parametrize("order", [2.0, 1.0, 3.0, float("inf")])
def test_the_norm_of_all_gradients_is_clipped(order):
    parameters, flat = gradients()
    norm = np.linalg.norm(flat, order)
    total = nn.utils.clip_grad_norm_(parameters, 1.5, order)
    assert total.item() == pytest.approx(norm, rel=1e-5)
    clipped = np.concatenate([p.grad.numpy().ravel() for p in parameters[:2]])
    np.testing.assert_allclose(clipped, flat * 1.5 / norm, rtol=1e-5)
    nn.utils.clip_grad_norm_(iter(parameters), 100.0, order)  # short enough as it is
    np.testing.assert_array_equal(clipped, np.concatenate([p.grad.numpy().ravel() for p in parameters[:2]]))


def test_norms_at_the_edge():
    parameters, _ = gradients()
    assert nn.utils.clip_grad_norm_(parameters[2], 1.0).item() == 0
    parameters[0].grad[0, 0] = float("inf")
    with pytest.raises(RuntimeError, match="non-finite, inf"):
        nn.utils.clip_grad_norm_(parameters, 1.0, error_if_nonfinite=True)


def test_gradients_are_clipped_one_by_one():
    parameters, flat = gradients()
    nn.utils.clip_grad_value_(parameters, 2.0)
    np.testing.assert_array_equal(np.concatenate([p.grad.numpy().ravel() for p in parameters[:2]]), flat.clip(-2, 2))


def test_parameters_as_a_vector():
    net = nn.Sequential(nn.Conv2d(2, 3, 2), nn.Linear(3, 2))
    vector = nn.utils.parameters_to_vector(net.parameters())
    assert vector.shape == (3 * 2 * 4 + 3 + 6 + 2,)
    vector.sum().backward()
    assert net[0].weight.grad.numpy().all()
    before = {k: v.numpy().copy() for k, v in net.state_dict().items()}
    nn.utils.vector_to_parameters(vector.detach() * 2, net.parameters())
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name] * 2)
    with pytest.raises(ValueError, match=r"\(35,\) expected"):
        nn.utils.vector_to_parameters(ml.ones(3), net.parameters())
