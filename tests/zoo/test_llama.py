"""The Llama: rotations, shared key heads, its cache, and that it learns."""
import numpy as np
import pytest

import minidl as ml
from minidl import nn, optim
from minidl.autograd import gradcheck, gradgradcheck
from minidl.ops.attention import rotate
from minidl.zoo import Llama

SMALL = {"vocab_size": 11, "block_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "hidden_size": 16, "intermediate_size": 24}
random = np.random.default_rng(0)


def made(**options):
    ml.manual_seed(0)
    return Llama(**{**SMALL, **options})


def test_rotations_are_those_of_complex_numbers():
    x, angles = random.standard_normal((2, 5, 3, 8)), random.standard_normal((5, 1, 4))
    turned = (x[..., :4] + 1j * x[..., 4:]) * np.exp(1j * angles)
    y = rotate(ml.tensor(x), ml.tensor(angles)).numpy()
    np.testing.assert_allclose(y, np.concatenate([turned.real, turned.imag], -1), rtol=1e-12)
    inputs = [ml.Tensor(x[:1, :2, :1], requires_grad=True)]
    assert gradcheck(lambda x: rotate(x, ml.tensor(angles[:2])), inputs)
    assert gradgradcheck(lambda x: rotate(x, ml.tensor(angles[:2])), inputs)


def test_scores_depend_on_distances_only():
    angles = ml.tensor(made(block_size=20).angles.astype("f8"))
    q, k = (ml.tensor(np.tile(random.standard_normal((1, 1, 1, 4)), (1, 20, 1, 1))) for _ in range(2))
    scores = (rotate(q, angles)[0, :, 0] @ rotate(k, angles)[0, :, 0].mT).numpy()
    np.testing.assert_allclose(scores[1:, 1:], scores[:-1, :-1], atol=1e-6)


def test_a_block_is_its_formula():
    model, x = made(), random.standard_normal((2, 6, 16)).astype("f")
    p = {name: v.detach().numpy() for name, v in model.layers[0].state_dict().items()}

    def normed(x, weight):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * weight

    def heads(x, name):
        z = (x @ p[f"self_attn.{name}_proj.weight"].T).reshape(2, 6, -1, 4)
        if name != "v":
            z = (z[..., :2] + 1j * z[..., 2:]) * np.exp(1j * model.angles[:6])
            z = np.concatenate([z.real, z.imag], -1)
        z = z.transpose(0, 2, 1, 3)
        return z if name == "q" else z.repeat(2, axis=1)
    h = normed(x, p["input_layernorm.weight"])
    s = np.where(np.tri(6, dtype=bool), heads(h, "q") @ heads(h, "k").swapaxes(2, 3) / 2, -np.inf)
    s = np.exp(s - s.max(-1, keepdims=True))
    y = (s / s.sum(-1, keepdims=True)) @ heads(h, "v")
    y = x + y.transpose(0, 2, 1, 3).reshape(2, 6, 16) @ p["self_attn.o_proj.weight"].T
    h = normed(y, p["post_attention_layernorm.weight"])
    gate = h @ p["mlp.gate_proj.weight"].T
    y = y + (gate / (1 + np.exp(-gate)) * (h @ p["mlp.up_proj.weight"].T)) @ p["mlp.down_proj.weight"].T
    ours = model.layers[0](ml.tensor(x), ml.tensor(model.angles[:6]))
    np.testing.assert_allclose(ours.detach().numpy(), y, rtol=1e-4, atol=1e-5)


def test_it_learns_a_sequence_and_continues_it():
    model, line = made(), ml.tensor(np.array([[3, 1, 4, 1, 5, 9, 2, 6, 5]]))
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        logits, loss = model(line[:, :-1], line[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert logits.shape == (1, 8, 11) and loss.item() < 0.1
    np.testing.assert_array_equal(model.eval().generate(line[:, :3], 6, temperature=0).numpy(), line.numpy())


def test_the_cache_gives_what_reading_all_again_gives():
    model, x = made().eval(), ml.tensor(random.integers(0, 11, (2, 3)))
    text, slow = model.generate(x, 9, temperature=0).numpy(), x.numpy()
    for _ in range(9):
        logits = model(ml.tensor(slow[:, -8:]))[0].detach().numpy()
        slow = np.concatenate([slow, logits[:, -1].argmax(-1)[:, None]], 1)
    np.testing.assert_array_equal(text, slow)


def test_names_and_what_does_not_fit():
    names = set(made().state_dict())
    assert {"embed_tokens.weight", "layers.1.self_attn.k_proj.weight", "layers.0.mlp.gate_proj.weight", "norm.weight",
            "layers.0.post_attention_layernorm.weight", "lm_head.weight"} <= names
    assert isinstance(made().norm, nn.RMSNorm)
    with pytest.raises(ValueError, match="num_key_value_heads=3"):
        made(num_key_value_heads=3)
    with pytest.raises(ValueError, match="9 tokens: at most block_size=8"):
        made()(ml.zeros((1, 9), dtype="int64"))
