"""Prediction by a plan is the model's own, whatever happens to the weights in between."""
import copy

import numpy as np

from minidl import layers, models

rng = np.random.default_rng(0)


def small():
    model = models.Sequential([
        layers.Conv2D(4, 3, activation="relu", input_shape=(8, 8, 2), name="conv"), layers.BatchNormalization(name="norm"),
        layers.Dropout(0.5), layers.Flatten(), layers.Dense(3, activation="softmax", name="dense")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def twin(model):
    """The same weights in a model that has prepared nothing."""
    other = small()
    other.set_weights(model.get_weights())
    return other


x, y = rng.random((20, 8, 8, 2)).astype("float32"), rng.integers(0, 3, 20)


def check(model):
    for _ in range(3):  # layer by layer, then prepared, then by the plan
        np.testing.assert_allclose(model.predict(x), twin(model).predict(x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.predict(x, batch_size=1), twin(model).predict(x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.predict(x, batch_size=7), twin(model).predict(x), rtol=1e-5, atol=1e-6)


def test_changed_weights_are_noticed(tmp_path):
    model = small()
    check(model)
    model.fit(x, y, epochs=1, verbose=0)
    check(model)
    model.train_on_batch(x, y)
    check(model)
    model.set_weights([w + 0.1 for w in model.get_weights()])
    check(model)
    model.layers[0].set_weights([w * 2 for w in model.layers[0].get_weights()])
    check(model)
    other = small()
    other.save_weights(tmp_path / "weights.safetensors")
    model.load_weights(tmp_path / "weights.safetensors")
    check(model)
    np.testing.assert_allclose(model.predict(x), other.predict(x), rtol=1e-5, atol=1e-6)


def test_training_between_predictions_prepares_nothing():
    model = small()
    for _ in range(3):
        model.predict(x)
        assert model._predictor._compiled is None
        model.train_on_batch(x, y)
    assert copy.deepcopy(model).predict(x).shape == (20, 3)


def test_evaluate_uses_plans_and_gives_the_same_numbers():
    model = small()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    for _ in range(2):
        expected = twin(model)
        expected.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        expected = expected.evaluate(x, y, verbose=0)
        for _ in range(3):  # layer by layer, then prepared, then by the plan
            np.testing.assert_allclose(model.evaluate(x, y, verbose=0), expected, rtol=1e-6)
        assert model._evaluator._compiled is not None
        model.train_on_batch(x, y)
        assert model.evaluate(x, y, verbose=0) != expected


def test_added_layers():
    model = small()
    check(model)
    model.add(layers.Dense(2))
    assert model.predict(x).shape == model.predict(x).shape == (20, 2)


def test_several_inputs_and_outputs():
    a, b = layers.Input((4,)), layers.Input((3,))
    hidden = layers.Concatenate()([a, b])
    model = models.Model([a, b], [layers.Dense(2)(hidden), layers.Dense(5)(hidden)])
    inputs = [rng.random((9, 4)).astype("float32"), rng.random((9, 3)).astype("float32")]
    first = model.predict(inputs)
    for size in (None, 9, 2, 1):
        for result, expected in zip(model.predict(inputs, batch_size=size), first):
            np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
