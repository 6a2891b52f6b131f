"""Operations written one after the other run as one kernel, and nobody can tell by anything but the time."""
import copy
import os
import threading

import numpy as np
import pytest

import minidl as ml
from minidl import kernels, nn, optim
from minidl.autograd import waiting
from minidl.autograd.tensor import now
from minidl.autograd.waiting import Waiting

F = nn.functional

pytestmark = pytest.mark.skipif(kernels.core is None, reason="built without a compiler: there are no kernels to join")


def normal(*shape, seed=0, grad=False):
    x = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    return ml.tensor(x, requires_grad=grad)


def noted(kernel, names):
    def run(*args, **kwargs):
        names.append(kernel.name)
        return kernel(*args, **kwargs)
    return run


@pytest.fixture
def calls(monkeypatch):
    """The names of the kernels that ran."""
    names = []
    for name in ("conv2d", "conv2d_max_pool2d", "matmul", "batch_norm_train", "relu", "max_pool2d", "add"):
        monkeypatch.setattr(kernels, name, noted(getattr(kernels, name), names))
    return names


class Net(nn.Module):
    """A network as people write it, with what each line keeps under a name."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, groups=2)
        self.norm, self.out = nn.BatchNorm2d(8), nn.Linear(8 * 7 * 7, 16)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        y = self.conv2(x)
        y = self.norm(y)
        x = F.relu(y + x)
        x = F.max_pool2d(F.relu6(self.conv3(x)), 2)
        x = F.relu(F.max_pool2d(x * 2, 2)).flatten(1) if x.shape[2] > 7 else x.flatten(1)
        return F.relu(self.out(x))


def trained(net, x, steps=3):
    optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (net(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, [p.numpy().copy() for p in net.state_dict().values()]


def test_training_is_the_same(monkeypatch):
    ml.manual_seed(0)
    net, x = Net(), normal(8, 3, 34, 34)
    other = copy.deepcopy(net)
    losses, weights = trained(net, x)
    monkeypatch.setattr(waiting, "get_backend", lambda: "none that waits")
    expected, theirs = trained(other, x)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    for a, b in zip(weights, theirs):
        np.testing.assert_allclose(a, b, atol=2e-6)


def test_what_has_no_name_is_one_kernel(calls):
    x, w, b = normal(2, 3, 40, 40), normal(8, 3, 3, 3, seed=1, grad=True), normal(8, seed=2)
    y = F.max_pool2d(F.relu(F.conv2d(x, w, b)), 2)
    assert type(y) is Waiting and y.shape == (2, 8, 19, 19) and y.ndim == 4 and calls == []
    value = y.detach().numpy()
    assert type(y) is ml.Tensor and calls == ["conv2d_max_pool2d"] and y._node.name == "conv2d_max_pool2d_taps"
    expected = F.max_pool2d(F.relu(F.conv2d(x, w, b).clone()).clone(), 2)
    np.testing.assert_allclose(value, expected.detach().numpy(), atol=1e-5)


def test_one_name_used_again_keeps_nothing(calls):
    x, w = normal(2, 3, 40, 40), normal(8, 3, 3, 3, seed=1)
    x = F.conv2d(x, w)
    x = F.relu(x)
    x = F.max_pool2d(x, 2)
    x.numpy()
    assert calls == ["conv2d_max_pool2d"]


def test_what_has_a_name_is_computed(calls):
    x, w = normal(2, 3, 40, 40), normal(8, 3, 3, 3, seed=1, grad=True)
    before = F.conv2d(x, w)
    after = F.relu(before)
    pooled = F.max_pool2d(after, 2)
    pooled.sum().backward()
    assert calls[:3] == ["conv2d", "relu", "max_pool2d"]
    np.testing.assert_array_equal(after.detach().numpy(), np.maximum(before.detach().numpy(), 0))
    calls.clear()
    after = F.relu(F.conv2d(x, w))
    pooled = F.max_pool2d(after, 2)  # as a network with skip connections has it
    assert (pooled.sum() + after.sum()).item() and calls[:2] == ["conv2d", "max_pool2d"]
    g, = ml.autograd.grad(F.max_pool2d(after, 2).sum(), after)
    assert g.sum().item() == pooled.size


def test_a_residual_block_is_two_products_and_two_norms(calls):
    ml.manual_seed(0)
    block = ml.zoo.resnet.BasicBlock(8, 8)
    x = normal(2, 8, 16, 16, grad=True)
    y = block(x)
    value = y.detach().numpy()
    assert [c for c in calls if c != "add"] == ["conv2d", "batch_norm_train"] * 2  # the sums are of the batches counted
    assert y._node.name == "batch_norm_train"
    norm = block.bn2
    np.testing.assert_allclose(norm.running_mean.numpy() != 0, True)
    block2 = copy.deepcopy(block)
    for bn in (block2.bn1, block2.bn2):
        bn.reset_running_stats()
    a = F.relu(block2.bn1(block2.conv1(x).clone()).clone()).clone()
    b = F.relu((block2.bn2(block2.conv2(a).clone()).clone() + x).clone())
    np.testing.assert_allclose(value, b.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(block2.bn2.running_var.numpy(), norm.running_var.numpy(), rtol=1e-5)


def test_what_was_asked_for_is_computed(calls):
    x, w = normal(2, 3, 40, 40), normal(8, 3, 3, 3, seed=1)
    for _ in range(3):
        F.relu(F.conv2d(x, w))
    x.numpy()
    assert calls == ["conv2d"] * 3 and now.chain is None


CHANGES = {
    "in place": lambda x, w, b: w.__imul__(0),
    "an element": lambda x, w, b: x.__setitem__(slice(None), 0),
    "through numpy()": lambda x, w, b: w.numpy().fill(0),
    "through a view": lambda x, w, b: w.detach()[0].numpy().fill(0),
    "the array": lambda x, w, b: b.array.fill(9),
    "another array": lambda x, w, b: setattr(b, "array", np.full(8, 9, np.float32)),
    "data": lambda x, w, b: setattr(w, "data", ml.zeros((8, 3, 3, 3))),
    "initial values": lambda x, w, b: nn.init.zeros_(w),
    "dlpack": lambda x, w, b: np.from_dlpack(x).fill(0),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_changes_come_after(change):
    x, w, b = normal(2, 3, 40, 40), normal(8, 3, 3, 3, seed=1), normal(8, seed=2)
    expected = F.conv2d(x, w, b).numpy()
    y = F.conv2d(x, w, b)
    assert type(y) is Waiting
    change(x, w, b)
    np.testing.assert_array_equal(y.numpy(), expected)


SHARED = {
    "input": lambda a: (F.conv2d(ml.asarray(a[0]), ml.tensor(a[1])), a[0]),
    "input of few channels": lambda a: (F.conv2d(a[0], ml.tensor(a[4])), a[0]),
    "part of an array": lambda a: (F.conv2d(ml.asarray(a[0][:2]), ml.tensor(a[1])), a[0]),
    "weight": lambda a: (F.conv2d(ml.tensor(a[0]), ml.asarray(a[1])), a[1]),
    "plain arrays": lambda a: (F.conv2d(a[0], ml.tensor(a[1])), a[0]),
    "weight of a product": lambda a: (F.linear(ml.tensor(a[0]), ml.asarray(a[2])), a[2]),
    "scale of a norm": lambda a: (F.batch_norm(ml.tensor(a[0]), None, None, ml.asarray(a[3]), training=True), a[3]),
}


@pytest.mark.parametrize("make", SHARED.values(), ids=SHARED.keys())
def test_memory_that_others_reach_does_not_wait(make):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s).astype(np.float32) for s in ((4, 3, 40, 40), (8, 3, 3, 3), (16, 40), (3,), (32, 3, 3, 3))]
    expected = make([a.copy() for a in arrays])[0].numpy()
    y, memory = make(arrays)
    memory.fill(np.nan)
    np.testing.assert_array_equal(y.numpy(), expected)


def test_a_batch_of_images_is_copied(calls):
    images, w, b = np.random.default_rng(0).standard_normal((2, 3, 40, 40)).astype(np.float32), normal(32, 3, 3, 3), normal(32)
    for x in images, ml.asarray(images):
        expected = F.max_pool2d(F.relu(F.conv2d(x, w, b).clone()).clone(), 2).numpy()
        calls.clear()
        y = F.max_pool2d(F.relu(F.conv2d(x, w, b)), 2)
        assert type(y) is Waiting
        before = images.copy()
        images.fill(np.nan)
        np.testing.assert_allclose(y.numpy(), expected, atol=1e-5)
        assert calls == ["conv2d_max_pool2d"]
        images[...] = before


def test_running_statistics_that_others_reach_are_there_at_once():
    mean = np.zeros(3, np.float32)
    y = F.batch_norm(normal(4, 3, 40, 40) + 1, ml.asarray(mean), ml.ones(3), training=True)
    assert abs(mean - 0.1).max() < 0.01 and y.shape == (4, 3, 40, 40)


def test_the_tape_of_the_call_counts():
    x, w = normal(2, 3, 40, 40), normal(8, 3, 3, 3, seed=1, grad=True)
    with ml.no_grad():
        y = F.conv2d(x, w)
    assert not F.relu(y).requires_grad and not y.requires_grad
    y = F.conv2d(x, w)
    with ml.no_grad():
        z = F.relu(y)
    assert y.requires_grad and not z.requires_grad
    y = F.conv2d(x, w)
    w.requires_grad_(False)
    assert y.requires_grad
    y = F.conv2d(x, w)
    w.requires_grad_(True)
    assert not y.requires_grad


def test_hooks_and_kept_gradients():
    x, w = normal(2, 3, 40, 40), normal(8, 3, 3, 3, seed=1, grad=True)
    seen = []
    y = F.relu(F.conv2d(x, w))
    y.retain_grad()
    y.register_hook(lambda g: seen.append(g.shape))
    F.max_pool2d(y, 2).sum().backward()
    assert seen == [(2, 8, 38, 38)] and y.grad.shape == (2, 8, 38, 38)


def test_errors_come_at_the_call():
    x, w = normal(2, 3, 40, 40), normal(8, 3, 3, 3, seed=1)
    with pytest.raises(ValueError, match="channels"):
        F.conv2d(x, normal(8, 4, 3, 3))
    with pytest.raises(ValueError, match="bias"):
        F.conv2d(x, w, normal(7))
    with pytest.raises(TypeError, match="float64"):
        F.conv2d(x, w.astype(ml.float64))
    with pytest.raises(ValueError):
        F.linear(x, normal(8, 41))
    with pytest.raises(ValueError):
        F.linear(x, normal(8, 40), normal(7))
    with pytest.raises(ValueError):
        F.batch_norm(x, None, None, normal(4), training=True)
    with pytest.raises(ValueError):
        F.max_pool2d(F.conv2d(x, w), 2, stride=0)
    with pytest.raises(ValueError):
        F.conv2d(x, w) + normal(3)
    with pytest.raises(ValueError, match="window"):
        F.max_pool2d(F.conv2d(normal(4, 3, 3, 400), w), 2)
    F.conv2d(x, w)
    with pytest.raises(TypeError):
        ml.ops.activation.relu()


def test_a_kernel_that_fails_is_tried_again(monkeypatch):
    x, w = normal(2, 3, 40, 40), normal(8, 3, 3, 3, seed=1)
    y = F.conv2d(x, w)
    kernel = kernels.conv2d

    def fails(*args):
        raise MemoryError("once")
    monkeypatch.setattr(kernels, "conv2d", fails)
    with pytest.raises(MemoryError, match="once"):
        y.numpy()
    monkeypatch.setattr(kernels, "conv2d", kernel)
    np.testing.assert_array_equal(y.numpy(), F.conv2d(x, w).numpy())
    assert now.chain is None


def in_threads(function, count):
    threads = [threading.Thread(target=function) for _ in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def test_threads_settle_each_others_chains():
    x, w = normal(2, 3, 40, 40), normal(8, 3, 3, 3, seed=1)
    expected = F.max_pool2d(F.relu(F.conv2d(x, w)), 2).numpy()
    wrong = []

    def run():
        for _ in range(200):
            y = F.conv2d(x, w)
            y = F.relu(y)
            y = F.max_pool2d(y, 2)
            if not np.array_equal(y.numpy(), expected):
                wrong.append(y.numpy())
    in_threads(run, 4)
    assert wrong == []


def test_threads_share_what_waits():
    x, w = normal(8, 32, 40, 40), normal(64, 32, 3, 3, seed=1)
    expected = F.relu(F.conv2d(x, w)).numpy()
    wrong, start = [], threading.Barrier(4)

    def run(y):
        start.wait()
        if not np.array_equal(F.relu(y).numpy(), expected):
            wrong.append(y)
    for _ in range(20):
        y = F.conv2d(x, w)
        in_threads(lambda y=y: run(y), 4)
    assert wrong == []


def test_another_thread_changes_what_waits():
    x, w = normal(2, 3, 40, 40), normal(8, 3, 3, 3, seed=1)
    expected = F.conv2d(x, w).numpy()
    y = F.conv2d(x, w)
    in_threads(w.zero_, 1)
    np.testing.assert_array_equal(y.numpy(), expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_fork():
    x, w = normal(2, 3, 40, 40), normal(8, 3, 3, 3, seed=1)
    expected = F.conv2d(x, w).numpy()
    y = F.conv2d(x, w)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(y.numpy(), expected) else 1)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(y.numpy(), expected)


@pytest.mark.parametrize("look", [
    copy.copy, copy.deepcopy, repr, len, hash, list, np.asarray, lambda y: y[0], lambda y: y + 1, lambda y: y.mT,
    lambda y: ml.concat([y, y]), lambda y: ml.stack((y, y)), lambda y: y.sum().item(), lambda y: y.__class__,
    lambda y: y.reshape(-1), lambda y: ml.compile(nn.ReLU(), y)(y), ml.func.grad(lambda z: z.sum()),
])
def test_every_look_is_at_a_tensor(look):
    x, w = normal(2, 3, 40, 40), normal(8, 3, 3, 3, seed=1)
    expected = F.conv2d(x, w).numpy()
    y = F.conv2d(x, w)
    assert isinstance(y, ml.Tensor)
    look(y)
    np.testing.assert_array_equal(y.numpy(), expected)
    assert type(y) is ml.Tensor


def test_backward_of_what_waits():
    w = normal(6, 40, seed=1, grad=True)
    x = normal(256, 40)
    y = F.linear(x, w)
    y.backward(ml.ones((256, 6)))
    np.testing.assert_allclose(w.grad.numpy(), np.broadcast_to(x.numpy().sum(0), (6, 40)), atol=1e-4)


def test_anomalies_are_looked_for_at_once():
    x, w = normal(2, 3, 40, 40), normal(8, 3, 3, 3, seed=1, grad=True)
    with ml.autograd.detect_anomaly():
        assert type(F.conv2d(x, w)) is ml.Tensor


def program(seed):
    """Random operations on names that are given again, changes in place and views: the values, then the gradients."""
    r = np.random.default_rng(seed)
    named = {"x": normal(4, 4, 24, 24, seed=seed), "y": normal(4, 4, 24, 24, seed=seed + 1)}
    weights = [normal(4, 4, 3, 3, seed=i, grad=True) for i in range(2)]
    bias, scale, mean, var = normal(4, grad=True), normal(4, seed=2, grad=True), ml.zeros(4), ml.ones(4)
    shared = []

    def convolution(x, y):
        return F.conv2d(x, weights[r.integers(2)], bias if r.random() < 0.5 else None, padding=1)

    def change(x, y):
        with ml.no_grad():
            weights[0].mul_(0.9)

    def share(x, y):
        shared.append(weights[1].detach().numpy())

    def change_shared(x, y):
        for memory in shared:
            memory *= 0.99

    def without_tape(x, y):
        with ml.no_grad():
            return convolution(x, y)
    steps = [convolution] * 3 + [lambda x, y: F.relu(x)] * 2 + [
        change, share, change_shared, without_tape, lambda x, y: F.relu6(x), lambda x, y: F.max_pool2d(x, 2),
        lambda x, y: F.batch_norm(x, mean, var, scale, bias, training=True), lambda x, y: x[:, :, ::-1],
        lambda x, y: x + y if x.shape == y.shape else None, lambda x, y: F.max_pool2d(F.relu(convolution(x, y)), 2),
        lambda x, y: F.relu(F.batch_norm(convolution(x, y), mean, var, training=True) + x)]
    for _ in range(r.integers(4, 20)):
        x, y = (named[name] for name in r.choice(sorted(named), 2))
        result = steps[r.integers(len(steps))](x, y) if x.shape[2] > 5 else None
        if result is not None:
            named["xyz"[r.integers(3)]] = result
    values = [x.detach().numpy().copy() for _, x in sorted(named.items())] + [mean.numpy(), var.numpy()]
    try:
        sum((x * x).mean() for _, x in sorted(named.items()) if x.requires_grad).backward()
    except (AttributeError, RuntimeError) as error:  # nothing requires a gradient, or what it needs has changed
        return values, type(error)
    return values, [None if p.grad is None else p.grad.numpy() for p in (*weights, bias, scale)]


@pytest.mark.parametrize("seed", range(40))
def test_random_programs(seed, monkeypatch):
    values, gradients = program(seed)
    monkeypatch.setattr(waiting, "get_backend", lambda: "none that waits")
    expected, theirs = program(seed)
    for a, b in zip(values, expected):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=3e-5 * abs(b).max())
    assert type(gradients) is type(theirs) and (type(theirs) is list or gradients is theirs)
    for a, b in zip(gradients, theirs) if type(theirs) is list else ():
        assert (a is None) == (b is None)
        if b is not None:
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=3e-5 * abs(b).max())
