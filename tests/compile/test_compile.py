"""minidl.compile gives what the model gives, whatever the shapes, kinds and threads; and says so where it cannot."""
import threading

import numpy as np
import pytest

import minidl as ml
import minidl.nn.functional as F
from minidl import kernels, nn
from tests.nn.layer_cases import LAYERS

random = np.random.default_rng(0)


def normal(*shape, dtype="float32"):
    return random.standard_normal(shape).astype(dtype)


def eager(model, *inputs):
    before = [m.training for m in model.modules()]
    model.eval()
    with ml.no_grad():
        result = model(*[ml.tensor(x) for x in inputs])
    for module, training in zip(model.modules(), before):
        module.training = training
    return result.numpy()


def cnn():
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3), nn.BatchNorm2d(12), nn.ReLU(),
                         nn.Dropout(0.5), nn.Flatten(), nn.Linear(12 * 64, 10), nn.Softmax(-1))


def warmed(model, shape):
    """The model with batch norms that have seen data."""
    model.train()
    with ml.no_grad():
        for _ in range(3):
            model(ml.tensor(normal(*shape) + 1))
    return model


@pytest.mark.parametrize("backend", kernels.backends())
@pytest.mark.parametrize("name, args, options, shape", LAYERS)
def test_every_layer_gives_what_it_gives_uncompiled(name, args, options, shape, backend):
    if backend == "cuda":
        pytest.skip("arrays of NumPy")
    module, x = getattr(nn, name)(*args, **options), normal(*shape)
    with kernels.backend(backend):
        compiled = ml.compile(module, normal(*shape))
        np.testing.assert_allclose(compiled(x), eager(module, x), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_network(dtype):
    model = warmed(cnn(), (4, 1, 22, 22)).to(dtype)
    x = normal(5, 1, 22, 22, dtype=dtype)
    compiled = ml.compile(model, x)
    y = compiled(x)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, eager(model, x), rtol=1e-5, atol=1e-6)


def test_other_shapes_layouts_and_dtypes_are_prepared_at_their_first_call():
    model = cnn()
    compiled = ml.compile(model, normal(1, 1, 22, 22))
    for n in (1, 3, 1, 2, 3, *range(1, 12)):
        x = normal(n, 1, 22, 22)
        np.testing.assert_allclose(compiled(x), eager(model, x), rtol=1e-5, atol=1e-6)
    x = normal(2, 22, 22, 3).transpose(0, 3, 1, 2)[:, 1:2]
    np.testing.assert_allclose(compiled(x), eager(model, np.ascontiguousarray(x)), rtol=1e-5, atol=1e-6)
    assert "8 shapes" in repr(compiled)
    with pytest.raises(ValueError, match="linear"):
        compiled(normal(1, 1, 20, 20))
    with pytest.raises(TypeError, match="conv2d"):
        compiled(normal(1, 1, 22, 22, dtype="float64"))


def test_kinds_and_structures():
    def model(pair, extra):
        return {"sum": pair[0] + pair[1], "parts": (pair[0] * extra["k"], 3, None), "constant": ml.ones(2)}

    a, b, k = normal(3, 4), normal(3, 4), normal(4)
    compiled = ml.compile(model, (a, b), {"k": k})
    y = compiled((a, b), {"k": k})
    assert type(y["sum"]) is np.ndarray
    assert y["parts"][1:] == (3, None)
    np.testing.assert_array_equal(y["parts"][0], a * k)
    y = compiled((ml.tensor(a), b), {"k": k})
    assert isinstance(y["sum"], ml.Tensor) and isinstance(y["constant"], ml.Tensor)
    assert not y["sum"].requires_grad
    np.testing.assert_array_equal(y["sum"].numpy(), a + b)
    np.testing.assert_array_equal(ml.compile(lambda x, n: x.sum(axis=n), a, 0)(a, 1), a.sum(axis=1))
    with pytest.raises(TypeError, match="as input"):
        ml.compile(nn.ReLU(), object())


def test_results_are_new_memory_each_time():
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
    x = normal(2, 2, 3)
    for function in (model, lambda x: x, lambda x: x[:, :1], lambda x: x.reshape(-1), lambda x: ml.relu(x)[0],
                     lambda x: ml.ones(3)):
        compiled = ml.compile(function, x)
        first = compiled(x)
        copy = first.copy()
        second = compiled(x + 1)
        assert not np.shares_memory(first, second) and not np.shares_memory(first, x)
        np.testing.assert_array_equal(first, copy)
        first[...] = 7  # and nobody else sees it
        np.testing.assert_array_equal(compiled(x), copy)


def test_weights_are_those_at_the_time_of_compiling():
    model, x = nn.Linear(4, 3), normal(2, 4)
    compiled = ml.compile(model, x)
    before = compiled(x)
    with ml.no_grad():
        model.weight.zero_()
    np.testing.assert_array_equal(compiled(x), before)
    assert not np.array_equal(ml.compile(model, x)(x), before)


def test_several_threads():
    model = cnn()
    inputs = [normal(2, 1, 22, 22) for _ in range(8)]
    compiled = ml.compile(model, inputs[0])
    expected, wrong = [compiled(x) for x in inputs], []

    def work(i):
        for _ in range(30):
            if not np.array_equal(compiled(inputs[i]), expected[i]):
                wrong.append(i)
    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


@pytest.mark.parametrize("use, what", [
    (lambda x: x * 2 if x.sum() > 0 else x, "bool"), (lambda x: x * x.max().item(), "item"),
    (lambda x: x * float(x.max()), "float"), (lambda x: x * int(x[0, 0]), "int"),
    (lambda x: ml.tensor(x.numpy()), "NumPy"), (lambda x: x[x > 0], "mask"), (lambda x: x.tolist(), "tolist"),
    (lambda x: ml.nonzero(x), "nonzero"),
    (lambda x: x.__setitem__(0, 1), "in place"), (lambda x: ml.tensor(np.zeros(2)).copy_(x.sum()), "NumPy array"),
    (lambda x: F.dropout(x, 0.5, True), "random"),
])
def test_what_cannot_be_prepared_is_an_error_that_says_what_happened(use, what):
    with pytest.raises((RuntimeError, TypeError), match=what):
        ml.compile(use, normal(2, 3))


def test_modes_and_hooks():
    model = cnn()
    model[6].eval()
    calls = []
    model[0].register_forward_hook(lambda module, args, y: calls.append(1) or y * 2)
    modes = [m.training for m in model.modules()]
    x = normal(2, 1, 22, 22)
    compiled = ml.compile(model, x)
    assert [m.training for m in model.modules()] == modes
    assert calls == [1]
    np.testing.assert_allclose(compiled(x), eager(model, x), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError):
        ml.compile(model, normal(2, 3, 22, 22))
    assert [m.training for m in model.modules()] == modes
    assert kernels._dispatch.tracer is None


def test_an_embedding_checks_its_rows_at_every_call():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 2))
    compiled = ml.compile(model, np.array([[0, 1, 4]]))
    x = np.array([[4, 3, 0]])
    np.testing.assert_allclose(compiled(x), eager(model, x), rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match=r"index\[0, 1\] = 5"):
        compiled(np.array([[0, 5, 1]]))


def test_writes_within_the_model():
    def model(x):
        y = ml.zeros_like(x)
        y[:, 1:] = x[:, :-1]
        y += 1
        y[0] = 3
        return ml.cat([y, x], 1), ml.pad(x, 1), ml.stack([x, y]), ml.tril(x), ml.where(x > 0, x, y)

    x = normal(3, 4)
    for y, expected in zip(ml.compile(model, normal(3, 4))(x), model(ml.tensor(x))):
        np.testing.assert_allclose(y, expected.numpy(), rtol=1e-6)


def test_describe_lists_the_steps():
    compiled = ml.compile(cnn(), normal(2, 1, 22, 22))
    text = compiled.describe()
    for part in ("conv2d", "softmax", "2x1x22x22", "arena", "output", "bytes", "steps"):
        assert part in text
    assert "dropout" not in text and "4x1x22x22" in compiled.describe(normal(4, 1, 22, 22))


def test_transformer_and_attention():
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2)
    x = normal(2, 5, 16)
    np.testing.assert_allclose(ml.compile(model, normal(2, 5, 16))(x), eager(model, x), rtol=1e-5, atol=1e-5)
