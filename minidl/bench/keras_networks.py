"""Networks of `minidl.zoo` in Keras on TensorFlow, each step a `tf.function`: the fastest of Keras's idioms.

See `benchmarks/peers/keras_worker.py` for how it compares with the others.
"""
import keras
import tensorflow as tf
from keras import layers

from minidl import zoo
from minidl.bench.mobilenet_layers import layers_of_blocks


def made(layer, weights, *inputs, **options):
    """The layer's output, after it took the weights."""
    output = layer(*inputs, **options)
    layer.set_weights(weights)
    return output


def convolution(w, name, x, stride=1, activation=None):
    """Of the padding that keeps the size: Keras's own would be shifted by a stride. One filter a channel: depthwise."""
    weight = w[f"{name}.weight"].transpose(2, 3, 1, 0)
    size, bias = weight.shape[0], f"{name}.bias" in w
    given = [weight, w[f"{name}.bias"]] if bias else [weight]
    padding = "valid" if bias or stride > 1 else "same"
    options = {"strides": stride, "padding": padding, "activation": activation, "use_bias": bias}
    if stride > 1 and size > 1:
        x = layers.ZeroPadding2D(size // 2)(x)
    if weight.shape[2] == 1 and x.shape[-1] > 1:
        return made(layers.DepthwiseConv2D(size, **options), [weight.swapaxes(2, 3)], x)
    return made(layers.Conv2D(weight.shape[3], size, **options), given, x)


def dense(w, name, x, activation=None):
    weight = w[f"{name}.weight"]
    return made(layers.Dense(len(weight), activation), [weight.T, w[f"{name}.bias"]], x)


def batch_norm(w, name, x):
    kinds = "weight", "bias", "running_mean", "running_var"
    return made(layers.BatchNormalization(momentum=0.9, epsilon=1e-5), [w[f"{name}.{kind}"] for kind in kinds], x)


def layer_norm(w, name, x):
    return made(layers.LayerNormalization(epsilon=1e-5), [w[f"{name}.weight"], w[f"{name}.bias"]], x)


def cnn(w, x, job):
    for layer in "0", "3", "6":
        x = convolution(w, layer, x, activation="relu")
        x = x if layer == "6" else layers.MaxPooling2D()(x)
    x = layers.Flatten()(layers.Permute((3, 1, 2))(x))
    return dense(w, "11", dense(w, "9", x, "relu"))


def resnet(w, x, job):
    """Of basic blocks."""
    def normed(x, layer, norm, stride=1):
        return batch_norm(w, norm, convolution(w, layer, x, stride))

    large = w["conv1.weight"].shape[-1] == 7
    x = layers.ReLU()(normed(x, "conv1", "bn1", 2 if large else 1))
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x)) if large else x  # zeros change no maximum of a ReLU's values
    for name in sorted({key[:8] for key in w if key.startswith("layer")}):  # layer1.0, layer1.1, layer2.0, ...
        stride = 2 if f"{name}.downsample.0.weight" in w else 1
        y = layers.ReLU()(normed(x, f"{name}.conv1", f"{name}.bn1", stride))
        y = normed(y, f"{name}.conv2", f"{name}.bn2")
        x = x if stride == 1 else normed(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
        x = layers.ReLU()(layers.Add()([y, x]))
    return dense(w, "fc", layers.GlobalAveragePooling2D()(x))


def mobilenet(w, x, job):
    for block in layers_of_blocks(w):
        y = x
        for layer, norm, stride, bends in block:
            y = batch_norm(w, norm, convolution(w, layer, y, stride))
            y = layers.ReLU(6)(y) if bends else y
        x = layers.Add()([x, y]) if x.shape == y.shape else y
    return dense(w, "classifier.1", layers.GlobalAveragePooling2D()(x))


class Positions(layers.Layer):
    """Adds a vector for each position."""

    def build(self, shape):
        self.table = self.add_weight(shape=shape[1:], name="table")

    def call(self, x):
        return x + self.table


def gpt(w, index, job):
    heads = job.network.make(zoo.gpt).blocks[0].attn.n_head
    size = w["wte.weight"].shape[1]
    table = layers.ReversibleEmbedding(*w["wte.weight"].shape)
    x = made(Positions(), [w["wpe.weight"][:index.shape[1]]], made(table, [w["wte.weight"]], index))
    for i in range(len([key for key in w if key.endswith("ln_1.weight")])):
        block = f"blocks.{i}"
        y = layer_norm(w, f"{block}.ln_1", x)
        inward = [a for kind in range(3) for a in (
            w[f"{block}.attn.qkv.weight"].reshape(3, heads, -1, size)[kind].transpose(2, 0, 1),
            w[f"{block}.attn.qkv.bias"].reshape(3, heads, -1)[kind])]
        outward = [w[f"{block}.attn.proj.weight"].T.reshape(heads, -1, size), w[f"{block}.attn.proj.bias"]]
        x = x + made(layers.MultiHeadAttention(heads, size // heads), inward + outward, y, y, use_causal_mask=True)
        y = dense(w, f"{block}.mlp.0", layer_norm(w, f"{block}.ln_2", x), "gelu")
        x = x + dense(w, f"{block}.mlp.2", y)
    return table(layer_norm(w, "ln_f", x), reverse=True)


def rnn(w, index, job):
    weight = w["embedding.weight"]
    x = made(layers.Embedding(*weight.shape), [weight], index)
    for layer in range(len([key for key in w if "weight_hh" in key])):
        w_ih, w_hh, b_ih, b_hh = (w[f"lstm.{key}_l{layer}"] for key in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        x = made(layers.LSTM(w_hh.shape[1], return_sequences=True), [w_ih.T, w_hh.T, b_ih + b_hh], x)
    return dense(w, "head", x)


NETWORKS = {"cnn": cnn, "resnet": resnet, "mobilenet": mobilenet, "gpt": gpt, "rnn": rnn}


def call(job, rate, xla=False):
    """What `minidl.bench.networks` calls: a step of training, or a prediction."""
    x = tf.constant(job.x.transpose(0, 2, 3, 1) if job.x.ndim == 4 else job.x)
    y = tf.constant(job.y)
    given = keras.Input(x.shape[1:], dtype=x.dtype.name)
    weights = {key: value.numpy() for key, value in job.state.items()}
    model = keras.Model(given, NETWORKS[job.network.file](weights, given, job))
    if not job.training:
        predict = tf.function(lambda x: model(x, training=False), jit_compile=xla)
        return lambda: predict(x).numpy()
    options = {"weight_decay": 0.01, "epsilon": 1e-8} if job.network.optimizer == "AdamW" else {}
    optimizer = getattr(keras.optimizers, job.network.optimizer)(rate, **options)
    optimizer.build(model.trainable_variables)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function(jit_compile=xla)
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = cross_entropy(y, model(x, training=True))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss
    return lambda: step(x, y).numpy()
