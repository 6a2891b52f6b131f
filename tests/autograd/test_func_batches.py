"""vmap, Jacobians of structures and models as functions: the same script through torch.func."""
import numpy as np
import pytest

import minidl as m
from minidl import func, nn

random = np.random.default_rng(0)
X, V, W = random.standard_normal((5, 3)), random.standard_normal(3), random.standard_normal((3, 2))


def flat(tree):
    if isinstance(tree, dict):
        return [x for key in sorted(tree) for x in flat(tree[key])]
    return [x for part in tree for x in flat(part)] if isinstance(tree, (tuple, list)) else [np.asarray(tree.detach())]


def same(ours, theirs):
    ours, theirs = flat(ours), flat(theirs)
    assert [x.shape for x in ours] == [x.shape for x in theirs]
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


SCRIPTS = {
    "two batches": lambda f, x, v, w: f.vmap(lambda a, b: (a * b).sum())(x, x * 2),
    "shared": lambda f, x, v, w: f.vmap(lambda a, b: a @ b, in_dims=(0, None))(x, w),
    "other axes": lambda f, x, v, w: f.vmap(lambda a: (a * 2, a.sum()), in_dims=-1, out_dims=(1, 0))(x),
    "structures": lambda f, x, v, w: f.vmap(lambda d, y: {"s": d["a"] * y, "t": d["b"]}, in_dims=({"a": 0, "b": None}, None),
                                            out_dims=0)({"a": x, "b": w}, v),
    "nested": lambda f, x, v, w: f.vmap(f.vmap(lambda a, b: a * b, in_dims=(0, None)), in_dims=(None, 0))(v, v),
    "of gradients": lambda f, x, v, w: f.vmap(f.grad(lambda a, b: (a * b).sum().sin()), in_dims=(None, 0))(v, x),
    "by name": lambda f, x, v, w: f.vmap(lambda a, b: a * b, chunk_size=2)(x, b=x),
    "of Jacobians": lambda f, x, v, w: f.vmap(f.jacrev(lambda a: a.sin()))(x),
    "jacrev": lambda f, x, v, w: f.jacrev(lambda a, b: (a.sin() * b.sum(), a.sum()), argnums=(0, 1))(v, x),
    "jacrev, a dict": lambda f, x, v, w: f.jacrev(lambda p: p["a"] * p["b"])({"a": v, "b": v * 2}),
    "jacrev, aux": lambda f, x, v, w: f.jacrev(lambda a: (a ** 2, a + 1), has_aux=True)(v),
    "jacfwd": lambda f, x, v, w: f.jacfwd(lambda a, b: a @ b, argnums=1)(x, w),
    "hessian": lambda f, x, v, w: f.hessian(lambda a, b: (a ** 2 * b).sum(), argnums=(0, 1))(v, v * 3),
    "hessian of a vector": lambda f, x, v, w: f.hessian(lambda a: a ** 3)(v),
    "grad_and_value": lambda f, x, v, w: f.grad_and_value(lambda a: ((a ** 3).sum(), a * 2), has_aux=True)(v),
    "linearize": lambda f, x, v, w: [(y, push(v), push(2 * v)) for y, push in [f.linearize(lambda a: a.sin(), v)]],
    "vjp, aux": lambda f, x, v, w: [(y, pull(v), aux) for y, pull, aux in [f.vjp(lambda a: (a ** 2, a * 3), v, has_aux=True)]],
    "jvp, aux": lambda f, x, v, w: f.jvp(lambda a: (a ** 2, a + 1), (v,), (v,), has_aux=True),
}


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning", "ignore:Attempted to insert:UserWarning")
@pytest.mark.parametrize("name", SCRIPTS)
def test_it_is_torch_func(name):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    same(SCRIPTS[name](func, *map(m.tensor, (X, V, W))), SCRIPTS[name](torch.func, *map(torch.tensor, (X, V, W))))


def test_a_batch_has_gradients():
    x = m.tensor(X, requires_grad=True)
    func.vmap(lambda a: (a ** 2).sum())(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * X)


def test_random_numbers_in_a_batch():
    x = m.tensor(X)
    with pytest.raises(RuntimeError, match="random numbers"):
        func.vmap(lambda a: m.randn(3))(x)
    alike = func.vmap(lambda a: m.randn(3), randomness="same")(x).numpy()
    apart = func.vmap(lambda a: m.randn(3), randomness="different")(x).numpy()
    assert (alike == alike[0]).all() and len(np.unique(apart)) == 15


def test_batches_that_do_not_fit():
    x, v = m.tensor(X), m.tensor(V)
    for call, what in ((lambda: func.vmap(lambda a, b: a)(x, v), "lengths"),
                       (lambda: func.vmap(lambda a: a, in_dims=(0, 0))(x), "for 1 arguments"),
                       (lambda: func.vmap(lambda a: a, in_dims=None)(x), "lengths"),
                       (lambda: func.vmap(lambda a: a, in_dims=2)(x), "along axis 2"),
                       (lambda: func.vmap(lambda a: a)(2.0), "along axis 0"),
                       (lambda: func.vmap(lambda a: a, randomness="some")(x), "randomness='some'")):
        with pytest.raises(ValueError, match=what):
            call()


def network(lib):
    net = lib.nn.Sequential(lib.nn.Linear(3, 2), lib.nn.Tanh(), lib.nn.Linear(2, 1)).double()
    for i, p in enumerate(net.parameters()):
        p.data = lib.tensor(np.random.default_rng(i).standard_normal(tuple(p.shape)))
    return net


def models(lib):
    """Another state for a call, gradients for each example, and an ensemble."""
    f, x, net = lib.func, lib.tensor(X), network(lib)
    parameters = {name: p.detach() for name, p in net.named_parameters()}

    def loss(parameters, x, y):
        return ((f.functional_call(net, parameters, (x[None],)) - y) ** 2).mean()
    nets = [network(lib) for _ in range(3)]
    for each in nets[1:]:
        each[0].weight.data.mul_(2)
    stacked, buffers = f.stack_module_state(nets)
    assert all(p.requires_grad for p in stacked.values()) and not buffers
    return (f.functional_call(net, {name: 2 * p for name, p in parameters.items()}, x), net(x),
            f.vmap(f.grad(loss), in_dims=(None, 0, 0))(parameters, x, x[:, :1]),
            f.vmap(lambda p, x: f.functional_call(nets[0], p, x), in_dims=(0, None))(stacked, x))


def test_models_as_functions():
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    same(models(m), models(torch))


def test_a_model_has_its_own_tensors_again():
    norm = nn.BatchNorm1d(3).double()
    running = norm.running_mean
    given = {"running_mean": m.zeros(3, dtype=m.float64), "weight": m.full(3, 2.0, dtype=m.float64)}
    y = func.functional_call(norm, given, m.tensor(X))
    np.testing.assert_allclose(y.detach().numpy(), 2 * norm(m.tensor(X)).detach().numpy())
    assert norm.running_mean is running and given["running_mean"].any()
    with pytest.raises(RuntimeError, match="strict"):
        func.functional_call(norm, {}, m.tensor(X), strict=True)
    with pytest.raises(KeyError, match="twice"):
        func.functional_call(norm, (given, given), m.tensor(X))
    with pytest.raises(ValueError, match="one class"):
        func.stack_module_state([nn.Linear(1, 1), nn.ReLU()])


def test_tied_weights_are_replaced_together():
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)).double()
    net[1].weight = net[0].weight
    x = m.tensor(X)
    twice = func.functional_call(net, {"0.weight": 2 * m.eye(3, dtype=m.float64)}, x)
    np.testing.assert_allclose(twice.detach().numpy(), 4 * X)
    apart = {"0.weight": 2 * m.eye(3, dtype=m.float64), "1.weight": 3 * m.eye(3, dtype=m.float64)}
    np.testing.assert_allclose(func.functional_call(net, apart, x, tie_weights=False).detach().numpy(), 6 * X)
