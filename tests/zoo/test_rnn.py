"""The recurrent language model learns, and is its twin in PyTorch."""
import numpy as np
import pytest

import minidl
from minidl import optim, zoo
from minidl.bench.twin import twin
from minidl.nn import functional as F


def test_logits_and_gradients_are_those_of_the_same_source_in_pytorch():
    torch = pytest.importorskip("torch")
    ours, theirs = zoo.CharLSTM(11, 7, 9), twin("rnn").CharLSTM(11, 7, 9)
    theirs.load_state_dict({k: torch.from_numpy(v.numpy().copy()) for k, v in ours.state_dict().items()})
    index = np.random.default_rng(0).integers(0, 11, (3, 6))
    got, wanted = ours(minidl.tensor(index)), theirs(torch.from_numpy(index))
    np.testing.assert_allclose(got.detach().numpy(), wanted.detach().numpy(), atol=1e-6)
    got.square().sum().backward()
    wanted.square().sum().backward()
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), atol=1e-5, err_msg=name)


def test_it_learns_a_text_that_repeats():
    minidl.manual_seed(0)
    model, text = zoo.CharLSTM(5, 8, 24), np.arange(60).reshape(3, 20) % 5
    x, y = minidl.tensor(text[:, :-1]), minidl.tensor(text[:, 1:])
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        loss = F.cross_entropy(model(x).reshape(-1, 5), y.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
