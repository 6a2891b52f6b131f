"""Networks of `minidl.zoo` as JAX has them: functions of a dictionary of weights under our names, each step jitted as a whole.

Images lie as N, H, W, C and weights of convolutions as kh, kw, I, O, the faster layout on a CPU, and pooling is a maximum over
blocks where blocks do, whose gradient is faster than that of `lax.reduce_window`.
"""
from functools import partial

import jax
import numpy as np
from jax import lax, nn
from jax import numpy as jnp

from minidl import zoo
from minidl.bench.mobilenet_layers import layers_of_blocks

BETAS, EPSILON, DECAY = (0.9, 0.999), 1e-8, 0.01  # of AdamW
MOMENTUM, BATCH_NORM_EPSILON, LAYER_NORM_EPSILON = 0.1, 1e-5, 1e-5


def convolution(x, w, stride=1, padding=0):
    return lax.conv_general_dilated(x, w, (stride, stride), [(padding, padding)] * 2,
                                    dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=x.shape[3] // w.shape[2])


def linear(w, name, x):
    return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0)


def halved(x):
    """The maxima of 2x2 blocks."""
    n, h, width, c = x.shape
    return x[:, :h // 2 * 2, :width // 2 * 2].reshape(n, h // 2, 2, width // 2, 2, c).max((2, 4))


def cnn(w, x, new):
    for layer in "0", "3", "6":
        x = nn.relu(convolution(x, w[f"{layer}.weight"]) + w[f"{layer}.bias"])
        x = x if layer == "6" else halved(x)
    x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
    return linear(w, "11", nn.relu(linear(w, "9", x)))


def batch_norm(w, name, x, new):
    """Writes the running moments into `new` in training, where it is a dictionary."""
    if new is None:
        mean, var = w[f"{name}.running_mean"], w[f"{name}.running_var"]
    else:
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        count = x.size // x.shape[-1]
        for key, moment in ("running_mean", mean), ("running_var", var * count / (count - 1)):
            new[f"{name}.{key}"] = (1 - MOMENTUM) * w[f"{name}.{key}"] + MOMENTUM * moment
    return (x - mean) * (lax.rsqrt(var + BATCH_NORM_EPSILON) * w[f"{name}.weight"]) + w[f"{name}.bias"]


def resnet(w, x, new):
    """Of basic blocks."""
    def normed(x, layer, norm, stride):
        weight = w[f"{layer}.weight"]
        return batch_norm(w, norm, convolution(x, weight, stride, weight.shape[0] // 2), new)

    large = w["conv1.weight"].shape[0] == 7
    x = nn.relu(normed(x, "conv1", "bn1", 2 if large else 1))
    if large:
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), [(0, 0), (1, 1), (1, 1), (0, 0)])
    for name in sorted({key[:8] for key in w if key.startswith("layer")}):  # layer1.0, layer1.1, layer2.0, ...
        stride = 2 if f"{name}.downsample.0.weight" in w else 1
        y = nn.relu(normed(x, f"{name}.conv1", f"{name}.bn1", stride))
        y = normed(y, f"{name}.conv2", f"{name}.bn2", 1)
        x = nn.relu(y + (x if stride == 1 else normed(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)))
    return linear(w, "fc", x.mean((1, 2)))


def mobilenet(w, x, new):
    for block in layers_of_blocks(w):
        y = x
        for layer, norm, stride, bends in block:
            weight = w[f"{layer}.weight"]
            y = batch_norm(w, norm, convolution(y, weight, stride, weight.shape[0] // 2), new)
            y = nn.relu6(y) if bends else y
        x = x + y if x.shape == y.shape else y
    return linear(w, "classifier.1", x.mean((1, 2)))


def layer_norm(w, name, x):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(var + LAYER_NORM_EPSILON) * w[f"{name}.weight"] + w[f"{name}.bias"]


def gpt(w, index, new, heads):
    x = w["wte.weight"][index] + w["wpe.weight"][:index.shape[1]]
    b, t, c = x.shape
    for i in range(len([key for key in w if key.endswith("ln_1.weight")])):
        block = f"blocks.{i}"
        q, k, v = jnp.split(linear(w, f"{block}.attn.qkv", layer_norm(w, f"{block}.ln_1", x)), 3, axis=-1)
        y = nn.dot_product_attention(*(a.reshape(b, t, heads, c // heads) for a in (q, k, v)), is_causal=True)
        x = x + linear(w, f"{block}.attn.proj", y.reshape(b, t, c))
        y = nn.gelu(linear(w, f"{block}.mlp.0", layer_norm(w, f"{block}.ln_2", x)), approximate=False)
        x = x + linear(w, f"{block}.mlp.2", y)
    return layer_norm(w, "ln_f", x) @ w["wte.weight"].T


def rnn(w, index, new):
    x = w["embedding.weight"][index].transpose(1, 0, 2)  # the steps first
    for layer in range(len([key for key in w if "weight_hh" in key])):
        w_ih, w_hh, b_ih, b_hh = (w[f"lstm.{key}_l{layer}"] for key in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))

        def step(state, z, w_hh=w_hh):
            h, c = state
            i, f, g, o = jnp.split(z + h @ w_hh.T, 4, axis=-1)
            c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
            h = nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h
        zeros = jnp.zeros((x.shape[1], w_hh.shape[1]))
        _, x = lax.scan(step, (zeros, zeros), x @ w_ih.T + b_ih + b_hh)
    return linear(w, "head", x.transpose(1, 0, 2))


def loss(trained, moments, x, y, forward):
    """The mean cross entropy, and the running moments after it."""
    new = {}
    log_probabilities = nn.log_softmax(forward(trained | moments, x, new))
    return -jnp.take_along_axis(log_probabilities, y[..., None], -1).mean(), new


def sgd(trained, gradients, state, rate):
    return {key: w - rate * gradients[key] for key, w in trained.items()}, state


def adamw(trained, gradients, state, rate):
    first, second, step = state
    step = step + 1
    first = {key: BETAS[0] * first[key] + (1 - BETAS[0]) * g for key, g in gradients.items()}
    second = {key: BETAS[1] * second[key] + (1 - BETAS[1]) * g * g for key, g in gradients.items()}
    size, root = rate / (1 - BETAS[0] ** step), jnp.sqrt(1 - BETAS[1] ** step)
    trained = {key: (1 - rate * DECAY) * w - size * first[key] / (jnp.sqrt(second[key]) / root + EPSILON)
               for key, w in trained.items()}
    return trained, (first, second, step)


def call(job, rate):
    """What `minidl.bench.networks` calls: a step of training, or a prediction."""
    forward = {"cnn": cnn, "resnet": resnet, "mobilenet": mobilenet, "rnn": rnn, "gpt": gpt}[job.network.file]
    if forward is gpt:
        forward = partial(gpt, heads=job.network.make(zoo.gpt).blocks[0].attn.n_head)
    weights = {key: value.numpy() for key, value in job.state.items() if key != "lm_head.weight"}  # which is wte.weight
    weights = {key: jnp.asarray(w.transpose(2, 3, 1, 0) if w.ndim == 4 else w) for key, w in weights.items()
               if "num_batches" not in key}
    x = jnp.asarray(job.x.transpose(0, 2, 3, 1) if job.x.ndim == 4 else job.x.astype(np.int32))
    y = jnp.asarray(job.y.astype(np.int32))
    if not job.training:
        predict = jax.jit(lambda weights, x: forward(weights, x, None))
        return lambda: jax.block_until_ready(predict(weights, x))
    moments = {key: w for key, w in weights.items() if "running" in key}
    trained = {key: w for key, w in weights.items() if key not in moments}
    update = adamw if job.network.optimizer == "AdamW" else sgd

    def step(state, x, y):
        trained, moments, memory = state
        (value, moments), gradients = jax.value_and_grad(loss, has_aux=True)(trained, moments, x, y, forward)
        trained, memory = update(trained, gradients, memory, rate)
        return (trained, moments, memory), value
    step = jax.jit(step, donate_argnums=0)
    zeros = [jax.tree.map(jnp.zeros_like, trained) for _ in range(2)]
    state = trained, moments, (*zeros, jnp.float32(0))

    def run():
        nonlocal state
        state, value = step(state, x, y)
        return jax.block_until_ready(value)
    return run
