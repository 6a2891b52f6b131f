"""What minidl.compile makes of a model's steps: fewer ones, with the same values."""
import numpy as np
import pytest

import minidl as ml
import minidl.nn.functional as F
from minidl import nn, zoo
from minidl.plan.passes import arena
from minidl.plan.step import Buffer, Ref, Step
from tests.compile.test_compile import eager, normal, warmed


def names(compiled):
    """What the steps are called, with what they have taken over."""
    lines = compiled.describe().split("\n")[1:-1]
    return [line[6:].split("  ")[0].strip() for line in lines]


def check(model, x, tolerance=1e-5):
    compiled = ml.compile(model, x)
    expected = eager(model, x) if isinstance(model, nn.Module) else model(ml.tensor(x)).detach().numpy()
    np.testing.assert_allclose(compiled(x), expected, rtol=tolerance, atol=tolerance)
    return names(compiled)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"affine": False}, {"bias": False}])
@pytest.mark.parametrize("before, after, shape", [
    (lambda: nn.Conv2d(3, 6, 3, groups=3), lambda **o: nn.BatchNorm2d(6, **o), (2, 3, 8, 7)),
    (lambda: nn.Conv2d(4, 6, 3, padding=1, bias=False), lambda **o: nn.BatchNorm2d(6, 1e-3, **o), (2, 4, 5, 6)),
    (lambda: nn.Linear(5, 6), lambda **o: nn.BatchNorm1d(6, **o), (4, 5)),
    (lambda: nn.Linear(5, 6, bias=False), lambda **o: nn.BatchNorm1d(6, **o), (4, 5)),
])
def test_a_batch_norm_goes_into_what_is_before_it(before, after, shape, options, dtype):
    model = warmed(nn.Sequential(before(), after(**options), nn.ReLU()), shape)
    (name,) = check(model.to(dtype), normal(*shape, dtype=dtype))
    assert name in ("conv2d + batch_norm + relu", "matmul + batch_norm + relu")


def test_what_stands_alone_stays():
    assert check(warmed(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1)), (2, 3, 4, 4)), normal(2, 3, 4, 4)) == [
        "batch_norm", "conv2d"]

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            y = self.conv(x)
            return y.sum() + self.norm(y) + F.relu(y)  # y is read by others too

    assert "conv2d" in check(warmed(Twice(), (2, 3, 4, 4)), normal(2, 3, 4, 4))


def test_an_activation_between_is_a_border():
    model = warmed(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)), (2, 3, 6, 6))
    assert check(model, normal(2, 3, 6, 6)) == ["conv2d", "batch_norm"]
    linear = nn.Linear(4, 5)
    assert check(lambda x: F.relu(linear(x).reshape(2, 3, 5)), normal(6, 4)) == ["matmul + relu"]
    assert len(check(lambda x: F.relu(linear(x)[:, 1:]), normal(6, 4))) == 2


def test_biases_and_flattening_of_products():
    weight, bias = ml.tensor(normal(4, 5)), ml.tensor(normal(5))
    assert check(lambda x: F.relu(x @ weight + bias), normal(3, 4)) == ["matmul + add + relu"]
    assert check(lambda x: bias + x @ weight, normal(2, 3, 4)) == ["matmul + add"]
    model = nn.Sequential(nn.Conv2d(3, 7, 3), nn.Flatten(), nn.Linear(7 * 12, 5))
    for n in (1, 3):
        assert check(model, normal(n, 3, 5, 6)) == ["conv2d", "matmul + flatten"]


def test_a_relu6_goes_into_the_convolution():
    conv, x = nn.Conv2d(3, 8, 3), 9 * normal(2, 3, 11, 12)
    assert check(lambda x: F.relu6(conv(x)), x) == ["conv2d + hardtanh"]
    assert check(lambda x: F.hardtanh(conv(x)), x) == ["conv2d", "hardtanh"]
    assert check(lambda x: F.max_pool2d(F.relu6(conv(x)), 2), x) == ["conv2d + hardtanh", "max_pool2d"]


def test_pooling_goes_into_the_convolution():
    conv, x = nn.Conv2d(3, 8, 3), normal(2, 3, 11, 12)
    assert check(lambda x: F.max_pool2d(F.relu(conv(x)), 2), x) == ["conv2d_max_pool2d + relu"]
    assert check(lambda x: F.max_pool2d(conv(x), 3, 2), x) == ["conv2d_max_pool2d"]
    assert check(lambda x: F.max_pool2d(F.relu(conv(x)), 3, 2, 1), x) == ["conv2d + relu", "max_pool2d"]
    assert check(lambda x: F.max_pool2d(conv(x), 2, ceil_mode=True), normal(2, 3, 11, 11)) == ["conv2d", "max_pool2d"]
    y = ml.compile(lambda x: F.max_pool2d(F.relu(conv(x)) - 1, 2, return_indices=True), x)(x)[0]
    expected = F.max_pool2d(F.relu(conv(ml.tensor(x))) - 1, 2, return_indices=True)
    np.testing.assert_allclose(y, expected[0].detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(ml.compile(lambda x: F.max_pool2d(F.relu(conv(x)), 2, return_indices=True)[1], x)(x),
                                  F.max_pool2d(F.relu(conv(ml.tensor(x))), 2, return_indices=True)[1].numpy())


def test_a_residual_goes_into_the_convolution():
    class Block(nn.Module):
        def __init__(self, after):
            super().__init__()
            self.a, self.b, self.after = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1), after

        def forward(self, x):
            y = self.b(F.relu(self.a(x)))
            return F.relu(self.a(x) + y if self.after else y + F.relu(x))

    for after in (True, False):
        assert ("conv2d + add + relu" in check(Block(after), normal(2, 4, 8, 9))) is after  # x lies in another layout


def test_sums_with_themselves_and_others():
    linear = nn.Linear(4, 4)

    def twice(x):
        y = linear(x)
        return y + y

    check(twice, normal(3, 4))
    check(lambda x: F.relu(linear(x) + x), normal(3, 4))
    check(lambda x: F.relu(linear(x) + linear(F.relu(x))), normal(3, 4))
    check(lambda x: linear(x) + x[:1], normal(3, 4))


@pytest.mark.parametrize("make, shape", [
    (zoo.resnet18, (1, 3, 33, 40)), (zoo.MobileNetV2, (2, 3, 32, 32)),
], ids=["resnet18", "mobilenet"])
def test_networks_for_images(make, shape):
    model = warmed(make(), (2, *shape[1:]))
    found = check(model, normal(*shape), 1e-4)
    assert "batch_norm" not in found
    assert sum("batch_norm" in name for name in found) == sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())


def test_gpt():
    model, x = zoo.GPT(n_layer=2, n_head=2, n_embd=16, block_size=12), np.arange(24).reshape(2, 12) % 65
    compiled = ml.compile(model, x)
    other = (x * 7 + 3) % 65
    expected = model.eval()(ml.tensor(other))
    expected = expected[0] if isinstance(expected, tuple) else expected
    result = compiled(other)
    result = result[0] if isinstance(result, tuple) else result
    np.testing.assert_allclose(result, expected.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_memory_that_lives_at_the_same_time_lies_apart():
    random = np.random.default_rng(0)
    buffers = [Buffer("temporary", None, 0, int(random.integers(1, 1000))) for _ in range(30)]
    refs = [Ref(b, 0, (b.size,), (1,), np.dtype("uint8")) for b in buffers]
    steps = [Step("step", None, [refs[i]], [refs[j] for j in random.integers(0, i, 2)] if i else [], ()) for i in range(30)]
    size = arena(steps)
    last = {b: max(i for i, s in enumerate(steps) if any(r.buffer is b for r in (*s.outs, *s.ins))) for b in buffers}
    for i, a in enumerate(buffers):
        assert a.offset % 64 == 0 and a.offset + a.size <= size
        for b in buffers[i + 1:last[a] + 1]:  # made while a was still wanted
            assert a.offset + a.size <= b.offset or b.offset + b.size <= a.offset
    assert size < sum(b.size for b in buffers)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_elementwise_steps_write_over_what_nothing_else_reads(dtype):
    def chain(x):
        a = x * 2
        b = F.silu(a)
        c = F.sigmoid(b)
        d = b + c  # b is read again
        return F.gelu(d) * x[:, :1], F.elu(c), d

    x = normal(30, 40, dtype=dtype)
    compiled = ml.compile(chain, x)
    for y, expected in zip(compiled(x), chain(ml.tensor(x))):
        np.testing.assert_allclose(y, expected.numpy(), rtol=1e-5, atol=1e-6)
    nested = nn.Sequential(nn.BatchNorm1d(5), nn.SiLU(), nn.Sigmoid(), nn.GELU(), nn.Linear(5, 4))
    x = normal(64, 5)
    np.testing.assert_allclose(ml.compile(nested, x)(x), eager(nested, x), rtol=1e-5, atol=1e-6)
    assert "arena 1280 bytes" in ml.compile(nested, x).describe()


class Block(ml.nn.Module):
    """A residual block, in place or not."""

    def __init__(self, inplace):
        super().__init__()
        self.conv, self.norm, self.inplace = ml.nn.Conv2d(4, 4, 3, padding=1), ml.nn.BatchNorm2d(4), inplace
        self.act = ml.nn.ReLU(inplace=inplace)

    def forward(self, x):
        out = self.act(self.norm(self.conv(x)))
        out = self.norm(self.conv(out))
        if self.inplace:
            out += x
        else:
            out = out + x
        return self.act(out)


def test_changes_in_place_cost_no_steps():
    blocks = [Block(inplace).eval() for inplace in (True, False)]
    blocks[1].load_state_dict(blocks[0].state_dict())
    x = np.random.default_rng(0).standard_normal((2, 4, 8, 8)).astype(np.float32)
    plans = [ml.compile(block, x) for block in blocks]
    assert plans[0].describe() == plans[1].describe()
    np.testing.assert_array_equal(plans[0](x), plans[1](x))


def test_an_input_that_the_model_changes_in_place_stays_as_it_is():
    x = normal(2, 3)
    compiled = ml.compile(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 3)), x)
    before = x.copy()
    compiled(x)
    np.testing.assert_array_equal(x, before)
