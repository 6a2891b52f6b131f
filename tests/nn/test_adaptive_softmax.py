"""AdaptiveLogSoftmaxWithLoss: against PyTorch, and derivatives."""
import numpy as np
import pytest

import minidl as ml
from minidl import nn
from minidl.autograd import gradcheck

random = np.random.default_rng(0)


@pytest.mark.parametrize("options", [{}, {"div_value": 2.0, "head_bias": True}])
def test_it_is_pytorchs(options):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(64, 30, [5, 12, 20], **options).double()
    ours = nn.AdaptiveLogSoftmaxWithLoss(64, 30, [5, 12, 20], **options).double()
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    x, target = random.standard_normal((9, 64)), np.array([0, 29, 4, 5, 11, 19, 2, 25, 5])
    for targets in (target, target[:3] * 0, target[1:2]):  # clusters without a target too
        some = x[:len(targets)]
        a, b = theirs(torch.tensor(some), torch.tensor(targets)), ours(ml.tensor(some), ml.tensor(targets))
        np.testing.assert_allclose(b.output.detach().numpy(), a.output.detach().numpy(), rtol=1e-9)
        theirs.zero_grad()
        ours.zero_grad()
        a.loss.backward()
        b.loss.backward()
        for p, q in zip(theirs.parameters(), ours.parameters(), strict=True):
            np.testing.assert_allclose(0 if q.grad is None else q.grad.numpy(), 0 if p.grad is None else p.grad.numpy(),
                                       rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(ours.log_prob(ml.tensor(x)).detach().numpy(), theirs.log_prob(torch.tensor(x)).detach().numpy())
    np.testing.assert_array_equal(ours.predict(ml.tensor(x)).numpy(), theirs.predict(torch.tensor(x)).numpy())


def test_probabilities_sum_to_one_and_output_reads_them():
    layer = nn.AdaptiveLogSoftmaxWithLoss(8, 12, [3, 7], div_value=2.0).double()
    x, target = ml.tensor(random.standard_normal((12, 8))), ml.arange(12)
    every = layer.log_prob(input=x).detach().numpy()
    np.testing.assert_allclose(np.exp(every).sum(1), 1)
    output, loss = layer(input=x, target=target)
    np.testing.assert_allclose(output.detach().numpy(), np.diagonal(every))
    assert loss.item() == pytest.approx(-np.diagonal(every).mean())
    alone = layer(x[4], target[4])
    assert alone.output.shape == () and alone.output.item() == pytest.approx(every[4, 4])
    x.requires_grad_()
    assert gradcheck(lambda x: layer(x, target), [x])


@pytest.mark.parametrize("cutoffs", [[], [0, 3], [5, 4], [4, 10], [2.5]])
def test_cutoffs_must_rise(cutoffs):
    with pytest.raises(ValueError, match="whole numbers that rise"):
        nn.AdaptiveLogSoftmaxWithLoss(8, 10, cutoffs)


def test_what_does_not_fit_is_named():
    layer = nn.AdaptiveLogSoftmaxWithLoss(8, 10, [4])
    with pytest.raises(ValueError, match=r"target \(3,\): \(N, 8\) and \(N,\)"):
        layer(ml.ones((2, 8)), ml.tensor([1, 2, 3]))
    with pytest.raises(ValueError, match="target holds 1 to 10: classes from 0 to below 10"):
        layer(ml.ones((2, 8)), ml.tensor([1, 10]))
