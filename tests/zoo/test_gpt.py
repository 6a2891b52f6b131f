"""The GPT: shapes, that it learns, that its cache changes nothing, and each sequence's independence of what follows."""
import numpy as np
import pytest

import minidl as ml
from minidl import optim
from minidl.zoo import GPT
from minidl.zoo.cache import KeyValueCache, sample

SMALL = {"vocab_size": 11, "block_size": 8, "n_layer": 2, "n_head": 2, "n_embd": 8}


def made(**options):
    ml.manual_seed(0)
    return GPT(**{**SMALL, **options})


def tokens(*shape, seed=0):
    return ml.tensor(np.random.default_rng(seed).integers(0, 11, shape))


def test_shapes_parameters_and_the_first_loss():
    model = made()
    logits, loss = model(tokens(3, 8), tokens(3, 8, seed=1))
    assert logits.shape == (3, 8, 11) and loss.shape == ()
    assert abs(loss.item() - np.log(11)) < 0.1
    loss.backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in model.parameters())
    assert model.lm_head.weight is model.wte.weight
    assert made(tie_weights=False).count_parameters() == model.count_parameters() + 11 * 8
    assert GPT().count_parameters() == 10_770_816
    assert model(tokens(3, 5))[1] is None


def test_it_learns_a_sequence_and_continues_it():
    model, line = made(n_embd=16), ml.tensor(np.array([[3, 1, 4, 1, 5, 9, 2, 6, 5]]))
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        _, loss = model(line[:, :-1], line[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    np.testing.assert_array_equal(model.eval().generate(line[:, :3], 6, temperature=0).numpy(), line.numpy())


def test_later_tokens_change_nothing_before_them():
    model, x = made().eval(), tokens(1, 8).numpy()
    other = np.concatenate([x[:, :5], (x[:, 5:] + 1) % 11], 1)
    a, b = (model(ml.tensor(t))[0].detach().numpy() for t in (x, other))
    np.testing.assert_allclose(a[:, :5], b[:, :5], atol=1e-6)
    assert np.abs(a[:, 5:] - b[:, 5:]).max() > 1e-4


def test_the_cache_gives_what_reading_all_again_gives():
    model, x = made().eval(), tokens(2, 3)
    text = model.generate(x, 12, temperature=0).numpy()
    slow = x.numpy()
    for _ in range(12):
        logits = model(ml.tensor(slow[:, -8:]))[0].detach().numpy()
        slow = np.concatenate([slow, logits[:, -1].argmax(-1)[:, None]], 1)
    np.testing.assert_array_equal(text, slow)


def test_dropout_is_drawn_in_training_only():
    model, x = made(dropout=0.5), tokens(2, 8)
    a, b = (model(x)[0].detach().numpy() for _ in range(2))
    assert np.abs(a - b).max() > 1e-3
    model.eval()
    np.testing.assert_array_equal(*(model(x)[0].detach().numpy() for _ in range(2)))


def test_tokens_are_drawn_as_often_as_softmax_says():
    ml.manual_seed(0)
    logits = ml.tensor(np.log(np.tile([[0.5, 0.3, 0.15, 0.05]], (20000, 1))).astype("f"))
    counts = np.bincount(sample(logits).numpy()[:, 0], minlength=4) / 20000
    np.testing.assert_allclose(counts, [0.5, 0.3, 0.15, 0.05], atol=0.02)
    assert set(sample(logits, top_k=2).numpy()[:, 0]) == {0, 1}
    sharp = np.bincount(sample(logits, temperature=0.5).numpy()[:, 0], minlength=4) / 20000
    np.testing.assert_allclose(sharp, np.array([0.25, 0.09, 0.0225, 0.0025]) / 0.365, atol=0.02)
    assert (sample(logits, temperature=0).numpy() == 0).all()


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="9 tokens: at most block_size=8"):
        made()(tokens(1, 9))
    with pytest.raises(ValueError, match="n_embd=8, n_head=3"):
        made(n_head=3)
    with pytest.raises(ValueError, match="temperature=-1"):
        made().generate(tokens(1, 2), 1, temperature=-1)
    with pytest.raises(ValueError, match="3 positions: at most 2"):
        KeyValueCache(2).append(ml.zeros(1, 1, 3, 4), ml.zeros(1, 1, 3, 4))
