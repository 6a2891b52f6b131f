"""linear_cross_entropy beside cross_entropy of the logits that it does not keep, and beside PyTorch's."""
import numpy as np
import pytest

import minidl as m
from minidl import nn, zoo
from minidl.autograd import gradcheck, gradgradcheck
from minidl.nn import functional as F
from minidl.ops import linear_loss

random = np.random.default_rng(0)
ROWS, CHANNELS, CLASSES = 23, 8, 50


def arrays(dtype, bias=True):
    x, w, b = random.normal(size=(ROWS, CHANNELS)), random.normal(size=(CLASSES, CHANNELS)), random.normal(size=CLASSES)
    tensors = [m.tensor(a.astype(dtype), requires_grad=True) for a in ((x, w, b) if bias else (x, w))]
    target = random.integers(0, CLASSES, ROWS)
    target[[2, 7]] = -100
    return tensors, m.tensor(target)


@pytest.fixture(params=[1 << 26, 4 * CLASSES, 1], ids=["at once", "four rows", "row by row"])
def chunks(request, monkeypatch):
    monkeypatch.setattr(linear_loss, "CHUNK", request.param)


@pytest.mark.parametrize("dtype, error", [("float32", 2e-6), ("float64", 1e-13)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("options", [{}, {"reduction": "sum"}, {"label_smoothing": 0.1, "ignore_index": 3}, {"weight": True},
                                     {"reduction": "none"}])
def test_value_and_gradients_are_those_of_the_two_steps(chunks, dtype, error, bias, options):
    tensors, target = arrays(dtype, bias)
    x, w, b = (*tensors, None)[:3]
    if options.get("ignore_index"):
        target = m.where(target == -100, 3, target)
    if "weight" in options:
        options = {"weight": m.tensor(random.uniform(0.5, 2, CLASSES).astype(dtype))}
    results = []
    for loss in (F.cross_entropy(F.linear(x, w, b), target, **options),
                 F.linear_cross_entropy(x, w, target, linear_bias=b, **options)):
        (2 * loss).sum().backward()
        results.append([loss.detach().numpy(), *(t.grad.numpy() for t in tensors)])
        for t in tensors:
            t.grad = None
    for wanted, got in zip(*results):
        assert got.dtype == wanted.dtype and np.abs(got - wanted).max() <= error * np.abs(wanted).max()


def test_only_wanted_gradients_are_kept_and_higher_ones_are_those_of_the_definition(chunks):
    (x, w, b), target = arrays("float64")
    assert not F.linear_cross_entropy(x.detach(), w.detach(), target).requires_grad
    F.linear_cross_entropy(x.detach(), w, target).backward()
    assert x.grad is None and w.grad is not None
    with m.no_grad():
        assert not F.linear_cross_entropy(x, w, target).requires_grad
    some, labels = slice(0, 5), m.tensor(np.arange(5))

    def loss(x, w, b):
        return F.linear_cross_entropy(x[some], w, labels, linear_bias=b, label_smoothing=0.2)
    assert gradcheck(loss, (x, w, b)) and gradgradcheck(loss, (x, w, b))


def test_other_targets_and_axes_and_no_labels_at_all():
    (x, w, b), target = arrays("float64")
    one = F.linear_cross_entropy(x[0], w, target[0], linear_bias=b)
    assert np.allclose(one.item(), F.cross_entropy(F.linear(x[0], w, b), target[0]).item())
    wide, labels = w.reshape(10, 5, CHANNELS), m.tensor(random.integers(0, 10, (ROWS, 5)))
    wanted = F.cross_entropy(F.linear(x, w).reshape(ROWS, 10, 5), labels)
    assert np.allclose(F.linear_cross_entropy(x, wide, labels).item(), wanted.item())
    loss = F.linear_cross_entropy(x, w, m.tensor(np.full(ROWS, -100)))
    loss.backward()
    assert np.isnan(loss.item()) and not x.grad.numpy().any()
    assert F.linear_cross_entropy(x[:0], w, target[:0], reduction="sum").item() == 0
    with pytest.raises(ValueError, match=r"linear_cross_entropy: target\[4\] = 50: 0 <= target < 50"):
        F.linear_cross_entropy(x, w, m.tensor(np.where(np.arange(ROWS) == 4, 50, 0)))
    with pytest.raises(ValueError, match="linear_cross_entropy: linear_bias"):
        F.linear_cross_entropy(x, w, target, linear_bias=b[:4])


def test_it_is_pytorchs():
    torch = pytest.importorskip("torch", reason="compares with PyTorch, an optional peer")
    if not hasattr(torch.nn.functional, "linear_cross_entropy"):
        pytest.skip("this PyTorch has no linear_cross_entropy")
    ours = nn.LinearCrossEntropyLoss(CHANNELS, 10, out_features=(5,), bias=True, label_smoothing=0.1, ignore_index=4)
    theirs = torch.nn.LinearCrossEntropyLoss(CHANNELS, 10, out_features=(5,), bias=True, label_smoothing=0.1, ignore_index=4)
    theirs.load_state_dict({k: torch.from_numpy(v.numpy()) for k, v in ours.state_dict().items()})
    x, target = random.normal(size=(ROWS, CHANNELS)).astype("f4"), random.integers(0, 10, (ROWS, 5))
    loss, wanted = ours(m.tensor(x), m.tensor(target)), theirs(torch.from_numpy(x), torch.from_numpy(target))
    loss.backward()
    wanted.backward()
    assert np.allclose(loss.item(), wanted.item())
    for name, p in theirs.named_parameters():
        assert np.allclose(dict(ours.named_parameters())[name].grad.numpy(), p.grad.numpy(), atol=1e-6)


@pytest.mark.parametrize("model", [lambda: zoo.GPT(64, 8, 1, 2, 16), lambda: zoo.Llama(64, 8, 1, 2, None, 16, 32)])
def test_a_language_model_without_logits_has_the_same_loss_and_gradients(model):
    net, idx, targets = model(), m.tensor(random.integers(0, 64, (3, 8))), m.tensor(random.integers(0, 64, (3, 8)))
    results = []
    for need_logits in (True, False):
        logits, loss = net(idx, targets, need_logits=need_logits)
        assert (logits is not None) == need_logits
        loss.backward()
        results.append([loss.detach().numpy(), *(p.grad.numpy() for p in net.parameters())])
        net.zero_grad()
    for wanted, got in zip(*results):
        assert np.allclose(wanted, got, rtol=1e-4, atol=1e-6)
