"""Networks of `minidl.zoo` in Keras on TensorFlow, each step a `tf.function`: the fastest of Keras's idioms.

See `benchmarks/peers/keras_worker.py` for how it compares with the others.
"""
import keras
import tensorflow as tf
from keras import layers


def cnn(w):
    """The model and its weights."""
    model = keras.Sequential([
        keras.Input((28, 28, 1)),
        layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"), layers.Permute((3, 1, 2)), layers.Flatten(),
        layers.Dense(64, activation="relu"), layers.Dense(10)])
    return model, [w[f"{layer}.{kind}"] for layer in (0, 3, 6, 9, 11) for kind in ("weight", "bias")]


def rnn(w):
    vocabulary, size = w["embedding.weight"].shape
    count = len([key for key in w if "weight_hh" in key])
    model = keras.Sequential([
        layers.Embedding(vocabulary, size),
        *(layers.LSTM(w[f"lstm.weight_hh_l{i}"].shape[1], return_sequences=True) for i in range(count)),
        layers.Dense(vocabulary)])
    model.build((None, None))
    lstm = [(w[f"lstm.weight_ih_l{i}"], w[f"lstm.weight_hh_l{i}"], w[f"lstm.bias_ih_l{i}"] + w[f"lstm.bias_hh_l{i}"])
            for i in range(count)]
    return model, [w["embedding.weight"].T, *(a for each in lstm for a in each), w["head.weight"], w["head.bias"]]


def call(job, rate, xla=False):
    """What `minidl.bench.networks` calls: a step of training, or a prediction. None for a network that is not here."""
    make = {"cnn": cnn, "rnn": rnn}.get(job.network.file)
    if make is None:
        return None
    model, weights = make({key: value.numpy() for key, value in job.state.items()})
    model.set_weights([a.transpose(2, 3, 1, 0) if a.ndim == 4 else a.T for a in weights])
    x = tf.constant(job.x.transpose(0, 2, 3, 1) if job.x.ndim == 4 else job.x)
    y = tf.constant(job.y)
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
