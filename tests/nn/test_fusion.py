"""Neighbours in a Sequential that run as one kernel."""
import numpy as np
import pytest

import minidl as ml
from minidl import kernels, nn


class Recorder:
    """Names of the kernels that a block calls."""

    def __init__(self, monkeypatch):
        self.names = []

        def watch(kernel, args, kwargs, out):
            self.names.append(kernel.name)
            return NotImplemented
        monkeypatch.setattr(kernels._dispatch, "tracer", watch)

    def during(self, function, *args):
        self.names.clear()
        return function(*args), list(self.names)


@pytest.mark.parametrize("layer, x", [(nn.Linear(6, 9), ml.randn(5, 6)), (nn.Conv2d(2, 4, 3), ml.randn(2, 2, 6, 6)),
                                      (nn.Conv2d(2, 4, 3), ml.randn(2, 6, 6))])
def test_a_relu_after_a_layer_runs_in_its_kernel(layer, x, monkeypatch):
    net, recorder = nn.Sequential(layer, nn.ReLU()), Recorder(monkeypatch)
    own = "matmul" if isinstance(layer, nn.Linear) else "conv2d"
    y, names = recorder.during(net, x)
    assert names == [own]
    y.sum().backward()
    fused = layer.weight.grad.numpy()
    layer.weight.grad = None
    handle = net[1].register_forward_hook(lambda m, args, y: None)
    y2, names = recorder.during(net, x)
    assert names == [own, "relu"]
    y2.sum().backward()
    np.testing.assert_allclose(y.detach().numpy(), y2.detach().numpy(), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(fused, layer.weight.grad.numpy(), rtol=1e-5, atol=1e-6)
    handle.remove()
    layer.weight.grad = None
    with layer.register_forward_hook(lambda m, args, y: None):
        assert recorder.during(net, x)[1] == [own, "relu"]
    assert recorder.during(net, x)[1] == [own]


def test_a_pooling_takes_the_relu_before_it(monkeypatch):
    net, recorder = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()), Recorder(monkeypatch)
    x = ml.randn(3, 2, 8, 8)
    y, names = recorder.during(net, x)
    assert names == ["conv2d_max_pool2d"]
    y.sum().backward()
    gradients = [p.grad.numpy() for p in net.parameters()]
    net.zero_grad()
    net[1].register_forward_hook(lambda m, args, y: None)
    y2, names = recorder.during(net, x)
    assert names == ["conv2d", "relu", "max_pool2d"]
    y2.sum().backward()
    np.testing.assert_allclose(y.detach().numpy(), y2.detach().numpy(), rtol=1e-6, atol=1e-6)
    for g, p in zip(gradients, net.parameters()):
        np.testing.assert_allclose(g, p.grad.numpy(), rtol=1e-5, atol=1e-5)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2, return_indices=True))
    assert len(net(x)) == 2  # which is in the way of it


def test_a_convolution_takes_the_relu6_behind_it(monkeypatch):
    torch = pytest.importorskip("torch")
    net, recorder = nn.Sequential(nn.Conv2d(3, 20, 3), nn.ReLU6(), nn.MaxPool2d(2)), Recorder(monkeypatch)
    theirs = torch.nn.Sequential(torch.nn.Conv2d(3, 20, 3), torch.nn.ReLU6(), torch.nn.MaxPool2d(2))
    theirs.load_state_dict({k: torch.from_numpy(v.numpy().copy()) for k, v in net.state_dict().items()})
    x = ml.randn(2, 3, 10, 9) * 8
    y, names = recorder.during(net, x)
    assert names == ["conv2d", "max_pool2d"]
    wanted = theirs(torch.from_numpy(x.numpy()))
    np.testing.assert_allclose(y.detach().numpy(), wanted.detach().numpy(), rtol=1e-5, atol=1e-5)
    y.square().sum().backward()
    wanted.square().sum().backward()
    for mine, other in zip(net.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-4, atol=1e-2)


def test_a_batch_norm_takes_the_relu6_behind_it(monkeypatch):
    torch = pytest.importorskip("torch")
    net, recorder = nn.Sequential(nn.BatchNorm2d(20), nn.ReLU6()), Recorder(monkeypatch)
    theirs = torch.nn.Sequential(torch.nn.BatchNorm2d(20), torch.nn.ReLU6())
    for each in net, theirs:  # so that many results are above 6
        each[0].weight.data[...] = 7.0
    x = ml.randn(3, 20, 5, 6)
    other = torch.from_numpy(x.numpy().copy()).requires_grad_()
    x.requires_grad = True
    y, names = recorder.during(net, x)
    assert names == ["batch_norm_train"]
    wanted = theirs(other)
    np.testing.assert_allclose(y.detach().numpy(), wanted.detach().numpy(), rtol=1e-5, atol=1e-5)
    (y ** 3).sum().backward()
    (wanted ** 3).sum().backward()
    for mine, its in zip((x, *net.parameters()), (other, *theirs.parameters()), strict=True):
        np.testing.assert_allclose(mine.grad.numpy(), its.grad.numpy(), rtol=1e-4, atol=1e-2)
    y, wanted = net.eval()(x), theirs.eval()(other)
    np.testing.assert_allclose(y.detach().numpy(), wanted.detach().numpy(), rtol=1e-5, atol=1e-5)


def test_a_layer_with_a_forward_of_its_own_is_not_fused():
    class Doubled(nn.Linear):
        def forward(self, x):
            return super().forward(x) * -2

    layer = Doubled(3, 3)
    assert nn.Linear.fused_activations and not Doubled.fused_activations
    x = ml.randn(2, 3)
    np.testing.assert_allclose(nn.Sequential(layer, nn.ReLU())(x).detach().numpy(), np.maximum(layer(x).detach().numpy(), 0))
