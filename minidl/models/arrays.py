"""What `fit`, `evaluate` and `predict` are given, as arrays that fit the model: checked and converted once, not per step."""
import numpy as np

from .. import random
from ..data import DataLoader, TensorDataset
from .losses import checked_targets


class Batches(DataLoader):
    """Batches of several inputs: ([inputs], target) or ([inputs], target, weight)."""

    def __init__(self, dataset, n_inputs, **options):
        super().__init__(dataset, **options)
        self.n_inputs = n_inputs

    def __iter__(self):
        for parts in super().__iter__():
            yield [parts[:self.n_inputs], *parts[self.n_inputs:]]


def is_loader(x):
    """Whether x gives batches itself: a DataLoader or the like."""
    return hasattr(x, "__iter__") and not hasattr(x, "dtype") and not isinstance(x, (list, tuple, dict))


def loader(inputs, rest, batch_size, shuffle=False):
    """Batches of arrays. The order comes from minidl's random generator, so that `minidl.manual_seed` fixes it."""
    options = {"batch_size": batch_size}
    if shuffle:
        options.update(shuffle=True, seed=int(random.default_generator.numpy.integers(2 ** 53)))
    else:
        options["seed"] = 0
    dataset = TensorDataset(*inputs, *rest)
    return DataLoader(dataset, **options) if len(inputs) == 1 else Batches(dataset, len(inputs), **options)


def plain(x, what):
    """x as a NumPy array of numbers."""
    try:
        array = x.detach().numpy() if hasattr(x, "backward") else np.asarray(x)
    except ValueError as error:
        raise ValueError(f"{what}: lists of different lengths: a rectangular array expected") from error
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{what}: dtype {array.dtype}: numbers expected")
    return array


def checked_inputs(model, x):
    """x as a list of float32 arrays, one for each input of the model, which is built for their shapes where it is not yet.

    Raises ValueError where a shape does not fit the model.
    """
    several = isinstance(x, (list, tuple)) and (model.several or any(hasattr(part, "shape") for part in x))
    if isinstance(x, dict):
        names = [symbol.layer.name for symbol in model.inputs]
        if set(x) != set(names):
            raise ValueError(f"x: a dict of {', '.join(map(repr, x))}: {', '.join(map(repr, names))} expected")
        x, several = [x[name] for name in names], True
    inputs = [plain(part, "x").astype(np.float32, copy=False) for part in (x if several else [x])]
    if not model.built:
        shapes = [(None, *part.shape[1:]) for part in inputs]
        model.build(shapes if len(shapes) > 1 else shapes[0])
    if len(inputs) != len(model.inputs):
        raise ValueError(f"x: {len(inputs)} arrays: {len(model.inputs)} expected, one for each input of {model.name}")
    for array, symbol in zip(inputs, model.inputs):
        shape = symbol.shape
        if array.shape[1:] == shape[1:]:
            continue
        if array.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape[1:], array.shape[1:])):
            hint = ""
            if array.ndim == len(shape) - 1:
                hint = ": x[..., None] adds the channel axis" if array.shape[1:] == shape[1:-1] else \
                    ": x[None] makes a batch of one sample" if array.shape == shape[1:] else ""
            elif len(shape) == 4 and array.ndim == 4 and array.shape[1] == shape[3]:
                hint = ": images are channels-last here: x.transpose(0, 2, 3, 1)"
            elif len(shape) == 2 and array.ndim > 2:
                hint = ": x.reshape(len(x), -1), or a Flatten layer"
            raise ValueError(f"x: shape {array.shape}: {shape} expected by {symbol.layer.name!r} of {model.name}{hint}")
    if len(inputs) > 1 and len({len(array) for array in inputs}) > 1:
        raise ValueError(f"x: arrays of {', '.join(str(len(a)) for a in inputs)} samples: as many in each expected")
    return inputs


def checked_samples(model, loss, x, y, sample_weight=None, what=""):
    """(inputs, [targets] or [targets, weights]) as arrays that fit the model and its loss.

    Raises ValueError for lengths, shapes, dtypes and class numbers that do not fit.
    """
    if y is None:
        raise ValueError(f"{what}y is missing: targets expected, one for each sample of x")
    inputs = checked_inputs(model, x)
    targets = checked_targets(loss, y, model.output_shape)
    if len(targets) != len(inputs[0]):
        raise ValueError(f"{what}x has {len(inputs[0])} samples and y has {len(targets)}: as many expected")
    if sample_weight is None:
        return inputs, [targets]
    weights = plain(sample_weight, "sample_weight").astype(np.float32)
    if weights.shape != targets.shape[:1]:
        raise ValueError(f"{what}sample_weight: shape {weights.shape}: ({len(targets)},) expected, one for each sample")
    return inputs, [targets, weights]


def weighted_by_class(loss, rest, class_weight):
    """[targets, weights] of [targets] or [targets, weights], each weight times that of the sample's class.

    class_weight: class number -> weight, 1 for classes that are not named; None leaves `rest` as it is.
    Raises TypeError for anything else, ValueError for targets that are not one class for each sample.
    """
    if class_weight is None:
        return rest
    targets = rest[0]
    if loss.targets == "one_hot":
        classes = targets.reshape(len(targets), -1).argmax(axis=1)
    else:
        classes = targets.reshape(len(targets), -1)
        if classes.shape[1] != 1 or (classes != classes.astype(np.int64)).any():
            raise ValueError("class_weight: targets that are one class for each sample expected")
        classes = classes[:, 0].astype(np.int64)
    if not hasattr(class_weight, "items"):
        raise TypeError(f"class_weight: a {type(class_weight).__name__}: a dict from class number to weight expected")
    weights = np.ones(len(targets), np.float32)
    for number, weight in class_weight.items():
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)):
            raise TypeError(f"class_weight: the key {number!r}: a class number expected")
        if number < 0 or not isinstance(weight, (int, float, np.number)):
            raise ValueError(f"class_weight: {number!r}: {weight!r}: a number for a class number of at least 0 expected")
        weights[classes == number] = weight
    return [targets, weights * rest[1] if len(rest) == 2 else weights]


def split(inputs, rest, fraction):
    """The first samples, and the last `fraction` of them, as Keras splits: before any shuffling."""
    if not 0 < fraction < 1:
        raise ValueError(f"validation_split={fraction!r}: a fraction between 0 and 1 expected")
    size = len(inputs[0])
    at = int(size * (1 - fraction))
    if at == 0 or at == size:
        raise ValueError(f"validation_split={fraction!r} of {size} samples leaves {at} to train with and {size - at} to "
                         "validate: at least one each expected")
    return ([a[:at] for a in inputs], [a[:at] for a in rest]), ([a[at:] for a in inputs], [a[at:] for a in rest])
