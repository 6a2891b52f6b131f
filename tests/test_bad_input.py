"""What a newcomer gets wrong: each a clear error that names the argument, the value and what was expected."""
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import minidl
from minidl import callbacks, kernels, layers, models, nn, optim
from minidl.nn import functional as F
from minidl.train import NonFiniteLoss

RNG = np.random.default_rng(0)
X, Y = RNG.random((12, 8, 8, 1)), RNG.integers(0, 3, 12)


def tensor(*shape, dtype=np.float32):
    return minidl.tensor(RNG.standard_normal(shape).astype(dtype))


def labels(*values):
    return minidl.tensor(np.array(values))


@pytest.fixture
def model():
    made = models.Sequential([layers.Conv2D(4, 3, activation="relu", input_shape=(8, 8, 1), name="conv"), layers.Flatten(),
                              layers.Dense(3, activation="softmax", name="head")])
    made.compile({"name": "sgd", "learning_rate": 0.1}, "sparse_categorical_crossentropy", ["accuracy"])
    return made


TENSORS = [
    (lambda: tensor(32, 64) @ tensor(128, 10), ValueError, r"matmul: \(32, 64\) @ \(128, 10\): inner sizes 64 and 128 differ"),
    (lambda: tensor(3, 3) @ minidl.tensor(2.0), ValueError, r"matmul: \(3, 3\) @ \(\): one axis or more"),
    (lambda: tensor(3, 3) @ "a", TypeError, "matmul: a ndarray and a str: tensors expected"),
    (lambda: tensor(3, 2) + tensor(4, 2), ValueError, r"shapes \(3,2\) \(4,2\)"),
    (lambda: tensor(3, 4).reshape(5, 3), ValueError, r"size 12 into shape \(5,3\)"),
    (lambda: tensor(3, 4).sum(axes=1), TypeError, "sum: unknown argument 'axes'"),
    (lambda: minidl.tensor([[1, 2], [3]]), ValueError, "tensor: lists of different lengths: a rectangular array"),
    (lambda: minidl.tensor("abc"), TypeError, "numbers expected"),
    (lambda: minidl.tensor([1.0], device="cuda"), ValueError, "device='cuda': 'cpu' expected"),
    (lambda: minidl.tensor([1, 2], requires_grad=True), TypeError, "int64: only real floating-point tensors"),
    (lambda: minidl.tensor([1j], requires_grad=True), TypeError, "complex64: only real floating-point tensors"),
    (lambda: minidl.tensor([1.0], requires_grad=True).astype("complex64").sin(), TypeError, "sin: .*complex"),
    (lambda: minidl.tensor([1.0], requires_grad=True).astype("complex64").backward(), RuntimeError, "complex64: give"),
    (lambda: (minidl.tensor([1.0, 2.0], requires_grad=True) * 2).backward(), RuntimeError, r"backward: shape \(2,\)"),
    (lambda: tensor(3).sum().backward(), RuntimeError, "does not require a gradient"),
    (lambda: tensor(3).item(), ValueError, r"item: shape \(3,\): exactly one element expected"),
]
NETWORKS = [
    (lambda: nn.Linear(4, 2)(tensor(5, 3)), ValueError, r"linear: x \(5, 3\), weight \(2, 4\)"),
    (lambda: nn.Linear(4, 2)(tensor(5, 4, dtype=np.float64)), TypeError,
     r"linear: input is float64, weight is float32: .*x\.astype\('float32'\), or the module, module\.to\('float64'\)"),
    (lambda: nn.Linear(4, 2)(minidl.tensor(np.ones((5, 4), int))), TypeError,
     r"linear: input is int64, weight is float32: one dtype expected: convert the input, x\.astype\('float32'\)$"),
    (lambda: nn.Linear(4, 2)(None), TypeError, "linear: a NoneType and a ndarray: tensors expected"),
    (lambda: nn.Linear(-1, 2), ValueError, "Linear: in_features=-1: a whole number of at least 0"),
    (lambda: nn.Linear(3, 2.5), ValueError, "Linear: out_features=2.5: a whole number"),
    (lambda: nn.Conv2d(1, 4, 3)(tensor(5, 28, 28, 1)), ValueError,
     r"conv2d: input \(5, 28, 28, 1\) has 28 channels, .*is the input channels-last\?.*x\.transpose\(0, 3, 1, 2\)"),
    (lambda: nn.Conv2d(1, 4, 3)(tensor(28, 28)), ValueError, r"conv2d: input \(28, 28\), .*\(N, C, H, W\)"),
    (lambda: nn.Conv2d(1, 4, 5)(tensor(5, 1, 3, 3)), ValueError, r"input \(3, 3\) .* smaller than the window \(5, 5\)"),
    (lambda: nn.Conv2d(1, 4, 3)(minidl.zeros((5, 1, 8, 8), dtype=minidl.uint8)), TypeError, "input is uint8, weight is"),
    (lambda: nn.Conv2d(1, 4, 3)("an image"), TypeError, "conv2d: a str"),
    (lambda: nn.Conv2d(1, 4, 0), ValueError, "Conv2d: kernel_size=0: a whole number of at least 1"),
    (lambda: nn.Conv2d(1, -4, 3), ValueError, "Conv2d: out_channels=-4"),
    (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "Conv2d: groups=2: a divisor of in_channels=3"),
    (lambda: nn.MaxPool2d(5)(tensor(1, 1, 3, 3)), ValueError, "kernel_size=5 on an image of 3x3"),
    (lambda: nn.BatchNorm2d(4)(tensor(2, 3, 5, 5)), ValueError, r"input \(2, 3, 5, 5\) has 3 channels at axis 1: 4 expected"),
    (lambda: nn.Dropout(1.5), ValueError, "Dropout: p=1.5"),
    (lambda: nn.Linear(4, 2).load_state_dict({"weight": tensor(2, 5), "bias": tensor(2)}), RuntimeError,
     r"nothing was loaded into Linear:\n.*weight: float32\(2, 5\) given, float32\(2, 4\) expected"),
    (lambda: F.cross_entropy(tensor(4, 3), labels(0, 1, 2, 3)), ValueError, r"target\[3\] = 3: 0 <= target < 3 expected"),
    (lambda: F.cross_entropy(tensor(4, 3), labels(0, 1, 2, -1)), ValueError, r"target\[3\] = -1: 0 <= target < 3 expected"),
    (lambda: F.cross_entropy(tensor(4, 3), labels(0, 1, 2)), ValueError, r"target \(3,\): target \(4,\) expected"),
    (lambda: F.cross_entropy(tensor(4, 3), labels(0.0, 1.0, 2.0, 1.0)), TypeError, "target is float64.*integer labels"),
    (lambda: F.cross_entropy(tensor(4, 3), minidl.tensor(np.eye(4, 3, dtype=int))), ValueError, r"target\.argmax\(1\) turns"),
    (lambda: F.cross_entropy(tensor(4), labels(0, 1, 2, 1)), ValueError, r"target \(\) expected$"),
    (lambda: F.cross_entropy(tensor(4, 3), labels(0, 1, 2, 1), reduction="avg"), ValueError, "reduction='avg': one of 'mean'"),
    (lambda: F.nll_loss(tensor(4, 3), labels(0, 1, 2, 3)), ValueError, r"nll_loss: target\[3\] = 3"),
    (lambda: F.binary_cross_entropy(tensor(9) * 5, tensor(9)), ValueError, "use binary_cross_entropy_with_logits"),
]
OPTIONS = [
    (lambda: optim.SGD([tensor(2)], lr=-0.1), ValueError, "SGD: lr=-0.1: at least 0 expected"),
    (lambda: optim.Adam([tensor(2)], lr=float("nan")), ValueError, "Adam: lr=nan"),
    (lambda: optim.Adam([tensor(2)], lr="0.1"), TypeError, "Adam: lr='0.1': a number expected"),
    (lambda: optim.Adam([tensor(2)], betas=(1.0, 0.9)), ValueError, r"Adam: betas=\(1.0, 0.9\)"),
    (lambda: optim.SGD([], lr=0.1), ValueError, "SGD: params is empty"),
    (lambda: optim.SGD(nn.Linear(2, 2), lr=0.1), TypeError, r"SGD: params is a Linear: .*model\.parameters\(\) gives one"),
    (lambda: layers.Dense(3, activation="rleu"), ValueError, "Dense: activation='rleu': did you mean 'relu'?"),
    (lambda: layers.Dense(3, activatoin="relu"), TypeError, "unknown argument 'activatoin': did you mean 'activation'?"),
    (lambda: layers.Dense(3, kernel_initializer="glorot_unifrm"), ValueError, "did you mean 'glorot_uniform'?"),
    (lambda: layers.Dense(-3), ValueError, "Dense: units=-3: a whole number of at least 1"),
    (lambda: layers.Conv2D(3, 3, padding="sam"), ValueError, "Conv2D: padding='sam': did you mean 'same'?"),
    (lambda: layers.Dense(3, input_shape=5), TypeError, "Dense: input_shape=5: a tuple of sizes"),
    (lambda: models.Sequential([layers.Flatten]), TypeError, r"a layer expected \(with brackets: Flatten\(\)\)"),
    (lambda: models.Sequential(["Dense"]), TypeError, "a str: a layer expected"),
    (lambda: models.Sequential([layers.Dense(1)]).fit(X, Y), RuntimeError, "is not compiled"),
    (lambda: kernels.set_backend("nativ"), ValueError, "set_backend: 'nativ': one of reference"),
    (lambda: kernels.get("conv2"), KeyError, "no kernel 'conv2'"),
    (lambda: minidl.set_num_threads(0), ValueError, "set_num_threads: n=0"),
]


@pytest.mark.parametrize("call, kind, message", [*TENSORS, *NETWORKS, *OPTIONS], ids=lambda x: x if isinstance(x, str) else "")
def test_the_error_names_what_is_wrong(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_shapes_that_would_broadcast_in_a_loss_warn():
    with pytest.warns(UserWarning, match=r"mse_loss: input \(4, 3\), target \(3,\)"):
        F.mse_loss(tensor(4, 3), tensor(3))


@pytest.mark.parametrize("options, kind, message", [
    ({"y": Y[:-1]}, ValueError, "x has 12 samples and y has 11"),
    ({"y": Y + 3}, ValueError, r"y: class numbers from 3 to 5: .*output \(None, 3\) has 3 classes, so 0 to 2 expected"),
    ({"y": Y - 1}, ValueError, "y: class numbers from -1 to 1"),
    ({"y": Y + 0.5}, ValueError, "y: dtype float64 .*whole numbers"),
    ({"y": np.eye(3)[Y]}, ValueError, "for one-hot rows there is loss='categorical_crossentropy'"),
    ({"y": None}, ValueError, "y is missing"),
    ({"x": X[..., 0]}, ValueError, r"x: shape \(12, 8, 8\): \(None, 8, 8, 1\) expected .*x\[\.\.\., None\] adds"),
    ({"x": X.transpose(0, 3, 1, 2)}, ValueError, r"channels-last here: x\.transpose\(0, 2, 3, 1\)"),
    ({"x": X.astype(str)}, TypeError, "x: dtype <U.*: numbers expected"),
    ({"x": [[1, 2], [3]]}, ValueError, "x: lists of different lengths"),
    ({"x": X[:0], "y": Y[:0]}, ValueError, "a data set that is not empty"),
    ({"batch_size": 0}, ValueError, "batch_size=0: an integer of at least 1"),
    ({"batch_size": -4}, ValueError, "batch_size=-4"),
    ({"batch_size": 2.5}, ValueError, "batch_size=2.5"),
    ({"epochs": -1}, ValueError, "fit: epochs=-1: a whole number of at least 0"),
    ({"epochs": "3"}, ValueError, "fit: epochs='3'"),
    ({"initial_epoch": 0.5}, ValueError, "fit: initial_epoch=0.5"),
    ({"validation_split": 1.5}, ValueError, "validation_split=1.5: a fraction between 0 and 1"),
    ({"validation_split": -0.5}, ValueError, "validation_split=-0.5"),
    ({"validation_data": X}, ValueError, r"validation_data: .*\(x, y\)"),
    ({"validation_data": (X, Y + 9)}, ValueError, "class numbers from 9"),
    ({"validation_data": (X[:, :4], Y)}, ValueError, r"x: shape \(12, 4, 8, 1\)"),
    ({"sample_weight": np.ones(3)}, ValueError, r"sample_weight: shape \(3,\): \(12,\) expected"),
    ({"class_weight": [1, 2, 3]}, TypeError, "class_weight: a list: a dict"),
    ({"class_weight": {0: "a"}}, ValueError, "class_weight: 0: 'a': a number"),
    ({"callbacks": ["early stopping"]}, TypeError, "callbacks: 'early stopping': a Callback"),
    ({"callbacks": callbacks.EarlyStopping}, TypeError, r"callbacks: the class EarlyStopping, without \(\)"),
    ({"verbose": 7}, ValueError, "verbose=7: 0, 1, 2 or 'auto' expected"),
    ({"x": np.where(X > 0.9, np.nan, X)}, NonFiniteLoss, "epoch 1, step 1, .*inputs of this batch hold NaN"),
], ids=lambda x: next(iter(x)) if isinstance(x, dict) else "")
def test_fit_refuses_before_it_changes_the_model(model, options, kind, message):
    before = model.get_weights()
    with pytest.raises(kind, match=message):
        model.fit(**{"x": X, "y": Y, "verbose": 0, **options})
    assert all((a == b).all() for a, b in zip(before, model.get_weights()))
    model.fit(X, Y, verbose=0)  # and it can be trained as if nothing had happened


def test_a_loss_that_becomes_nan_is_said_at_once():
    model = models.Sequential([layers.Dense(1, input_shape=(2,))])
    model.compile({"name": "sgd", "learning_rate": 1e6}, "mse")
    message = r"the loss is (inf|nan) in epoch \d, step \d, at learning rate 1e\+06.*lower the"
    with np.errstate(over="ignore"), pytest.raises(NonFiniteLoss, match=message):
        model.fit(RNG.random((64, 2)), RNG.random(64), epochs=9, verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())


@pytest.mark.parametrize("call, kind, message", [
    (lambda m: m.predict(X[:, :5]), ValueError, r"x: shape \(12, 5, 8, 1\): \(None, 8, 8, 1\) expected by"),
    (lambda m: m.predict(X[0]), ValueError, r"x\[None\] makes a batch of one sample"),
    (lambda m: m.predict(X, batch_size=0), ValueError, "predict: batch_size=0"),
    (lambda m: m.predict(None), TypeError, "x: dtype object: numbers expected"),
    (lambda m: m.evaluate(X, Y, batch_size=0, verbose=0), ValueError, "batch_size=0: a whole number of at least 1"),
    (lambda m: m.evaluate(X, Y[1:], verbose=0), ValueError, "x has 12 samples and y has 11"),
    (lambda m: m.get_layer("had"), ValueError, "no layer 'had': did you mean 'head'?"),
    (lambda m: m.compile("adm", "mse"), ValueError, "optimizer='adm': did you mean 'adam'?"),
    (lambda m: m.compile({"name": "adam", "learning_rat": 0.1}, "mse"), TypeError,
     "'Adam' has no option 'learning_rat': did you mean 'learning_rate'?"),
    (lambda m: m.compile({"name": "adam", "learning_rate": -0.1}, "mse"), ValueError, "Adam: lr=-0.1: at least 0"),
    (lambda m: m.compile("adam", "sparse_categorical_crossentropi"), ValueError, "mean 'sparse_categorical_crossentropy'"),
    (lambda m: m.compile("adam", "mse", ["acuracy"]), ValueError, "'acuracy' is unknown: did you mean 'accuracy'?"),
])
def test_models_refuse_and_stay_as_they_were(model, call, kind, message):
    expected = model.predict(X)
    optimizer = model.optimizer
    with pytest.raises(kind, match=message):
        call(model)
    np.testing.assert_array_equal(model.predict(X), expected)
    assert model.optimizer is optimizer


def write(path, kind):
    """A file of a foreign kind, as other programs write it."""
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("data.pkl", b"x" * 100)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"weight": list(range(99))}))
    else:
        path.write_bytes({"PNG": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "JPEG": b"\xff\xd8\xff\xe0\0\x10JFIF\0\1", "HDF5":
                          b"\x89HDF\r\n\x1a\n" + bytes(99), "npy": b"\x93NUMPY\x01\0v\0{'descr'", "empty": b""}[kind])


@pytest.mark.parametrize("load", [minidl.load, models.load_model])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "zip", "pickle", "HDF5", "npy", "empty"])
def test_foreign_files(tmp_path, load, kind):
    write(tmp_path / "file", kind)
    with pytest.raises(ValueError, match=rf"load: .*file: .*{kind}"):
        load(tmp_path / "file")


@pytest.mark.parametrize("load", [minidl.load, models.load_model])
def test_files_that_are_cut_short_or_missing(tmp_path, load, model):
    path = tmp_path / "model"
    model.save(path)
    whole = path.read_bytes()
    for end in (4, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match="truncated"):
            load(path)
    with pytest.raises(FileNotFoundError, match="no-such-file"):
        load(tmp_path / "no-such-file")
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        load(tmp_path)
    with pytest.raises(TypeError, match="NoneType"):
        load(None)


def test_a_file_of_weights_is_no_model(tmp_path, model):
    model.save_weights(tmp_path / "weights")
    with pytest.raises(ValueError, match="no checkpoint of minidl"):
        models.load_model(tmp_path / "weights")
    other = models.Sequential([layers.Dense(2, input_shape=(3,), name="other")])
    before = other.get_weights()
    with pytest.raises(ValueError, match="missing other/kernel, other/bias; unknown conv/kernel"):
        other.load_weights(tmp_path / "weights")
    assert all((a == b).all() for a, b in zip(before, other.get_weights()))


def test_places_that_cannot_be_written_to(tmp_path, model):
    with pytest.raises(FileNotFoundError, match=r"no such folder: .*missing"):
        model.save(tmp_path / "missing" / "model")
    with pytest.raises(IsADirectoryError, match="this is a folder"):
        model.save(tmp_path)
    with pytest.raises(TypeError, match=r"state_dict is a Linear: .*model\.state_dict\(\) gives one"):
        minidl.save(nn.Linear(2, 2), tmp_path / "weights")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("code, name", [
    ("minidl.Tenser", "Tensor"), ("minidl.nn.Conv2D", "Conv2d"), ("minidl.layers.Conv2d", "Conv2D"),
    ("minidl.optim.Adm", "Adam"), ("minidl.callbacks.EarlyStoping", "EarlyStopping"),
    ("minidl.models.Sequental", "Sequential")])
def test_names_that_are_nearly_right(code, name):
    done = subprocess.run([sys.executable, "-c", f"import minidl\n{code}"], capture_output=True, text=True)
    assert f"Did you mean: '{name}'?" in done.stderr
