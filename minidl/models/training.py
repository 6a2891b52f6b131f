"""Compile, fit, evaluate and predict: what a model is given, handed to the one training loop, minidl.train.Trainer."""
import sys

from .. import nn
from ..autograd import no_grad
from ..autograd.tensor import wrap
from ..train import Trainer
from ..train import metrics as train_metrics
from ..train.callbacks import Callback, ProgressBar
from . import losses
from .arrays import checked_inputs, checked_samples, is_loader, loader, split, weighted_by_class
from .optimizers import Optimizer
from .predictor import Predictor

_EVALUATION_BATCH = 128  # without gradients a batch's size is a matter of memory alone
# What looks only at which class is highest, which softmax does not change.
_RANKING = (train_metrics.SparseCategoricalAccuracy, train_metrics.CategoricalAccuracy, train_metrics.TopK)


class _Face(Callback):
    """Makes the Keras model, not its module, what the other callbacks know as `self.model`."""

    def __init__(self, model):
        self._face = model

    def on_train_begin(self, logs=None):
        for callback in self.trainer.hooks.callbacks:
            callback.model = self._face


class Training:
    """The part of Model that trains."""

    optimizer = loss = None
    given_metrics = ()
    _trainer = _predictor = _evaluator = None

    def compile(self, optimizer, loss=None, metrics=None):
        """Says how the model is trained.

        optimizer: a name ('adam', 'sgd', 'adamw', ...; Keras' defaults), a dict of a name and options
        ({'name': 'adam', 'learning_rate': 1e-4}), or a function from parameters to an optimizer of minidl.optim.
        loss: a name ('sparse_categorical_crossentropy', 'categorical_crossentropy', 'binary_crossentropy', 'mse', 'mae'), a
        loss of minidl.nn, or a function of (y_true, y_pred). metrics: names ('accuracy'), metrics of minidl.train.metrics, or
        functions of (prediction, target) on arrays.

        What `layer.trainable` says counts from here on; an optimizer begins anew. Raises ValueError for unknown names and
        options out of range; the model then is compiled as it was.
        """
        metrics = [] if metrics is None else list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]
        found = [train_metrics.get(metric) for metric in metrics]
        loss = None if loss is None else losses.get(loss)
        optimizer, before = Optimizer(optimizer), dict(vars(self))
        self.optimizer, self.loss, self._metrics, self.given_metrics = optimizer, loss, found, metrics
        self._trainer = None
        if self.built and loss is not None:
            try:
                self._prepare()
            except Exception:
                vars(self).update({"optimizer": None, "loss": None, "_trainer": None, **before})  # compiled as it was
                raise

    def _prepare(self):
        """The Trainer for what `compile` was given; made once the model is built."""
        self._require_loss()
        if not self.built:
            raise ValueError(f"{self.name} is not built: the first layer's input_shape, or model.build(input_shape), expected")
        if self._trainer is not None:
            if self._trainer.model is self.network(self._cut):
                self._thaw()
                return self._trainer
            raise RuntimeError(f"{self.name} has changed since it was compiled: model.compile(...) expected again")
        if len(self.outputs) > 1:
            raise ValueError(f"{self.name}: {len(self.outputs)} outputs: training takes models with one output")
        self._frozen = [(leaf, leaf.trainable) for leaf in self.leaves()]
        self._thaw()
        self._cut, loss, metrics, activations = (), self.loss, self._metrics, [None] * len(self._metrics)
        last = self.last_module()
        if loss.of_logits is not None and isinstance(last, loss.undoes):
            self._cut = loss.undoes
            ranking = (*_RANKING, train_metrics.Accuracy) if isinstance(last, nn.Softmax) else _RANKING
            undone = nn.Softmax(-1) if loss.undoes is nn.Softmax else loss.undoes()  # classes are last here
            activations = [None if type(m) in ranking else undone for m in metrics]
            loss = losses.Loss(loss.name, loss.of_logits, loss.targets)
        metrics = [_Metric(m, a) for m, a in zip(metrics, activations)]
        module = self.network(self._cut)
        parameters = [p for p in module.parameters() if p.requires_grad]
        optimizer = self.optimizer.bind(parameters) if parameters else None
        self._trainer = Trainer(module, loss, optimizer, metrics)
        return self._trainer

    def _thaw(self):
        """Freezes and thaws the layers as they were at `compile`; another model that shares them may have done otherwise."""
        for leaf, trainable in self._frozen:
            if leaf.learns is not trainable:
                leaf.freeze(trainable)

    def fit(self, x, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None, validation_split=0.0,
            validation_data=None, shuffle=True, class_weight=None, sample_weight=None, initial_epoch=0):
        """Trains for epochs `initial_epoch` to `epochs`, and returns the History (`.history`: name -> a value for each epoch).

        x: array (N, ...), channels-last; a list of arrays, or a dict by the inputs' names, for several inputs; or a DataLoader
        of (inputs, targets) batches, which are taken as they are. y: N targets. batch_size: 32 where None.
        validation_split: the last fraction of the samples is not trained with. validation_data: (x, y), (x, y, sample_weight)
        or a DataLoader. class_weight: {class: weight}. sample_weight: N numbers. verbose: 0 nothing, 1 a bar, 2 lines.

        Raises RuntimeError before `compile`, ValueError for data that does not fit, NonFiniteLoss for a loss that is NaN.
        """
        if is_loader(x):
            if y is not None or validation_split or class_weight is not None or sample_weight is not None:
                raise ValueError("fit: x gives batches itself: y, validation_split and weights are for arrays")
            batches, validation = x, None
        else:
            self._require_loss()
            inputs, rest = checked_samples(self, self.loss, x, y, sample_weight)
            validation = None
            if validation_split and validation_data is None:
                (inputs, rest), held_out = split(inputs, rest, validation_split)
                validation = loader(*held_out, _evaluation_batch(batch_size))
            rest = weighted_by_class(self.loss, rest, class_weight)  # which is for training, not for the validation's loss
            batches = loader(inputs, rest, 32 if batch_size is None else batch_size, shuffle)
        if validation_data is not None:
            validation = self._samples(validation_data, batch_size, "validation_data: ")
        trainer = self._prepare()
        if trainer.optimizer is None:
            raise ValueError(f"fit: {self.name} has no weights to train: a trainable layer, and compile, expected")
        given = list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks] if callbacks is not None else []
        bar = [ProgressBar(verbose)] if not any(isinstance(c, ProgressBar) for c in given) else []
        try:
            self.history = trainer.fit(batches, epochs, validation, initial_epoch, [_Face(self), *given, *bar])
        finally:
            trainer.loader = trainer.validation = None  # the data is the caller's, not the model's to keep
        return self.history

    def evaluate(self, x, y=None, batch_size=None, verbose="auto", sample_weight=None, return_dict=False):
        """The loss, and the metrics where there are any, over all samples: a number, a list, or a dict by name.

        Raises as `fit` does. verbose: 0 prints nothing.
        """
        self._require_loss()
        batches = x if is_loader(x) else self._samples((x, y) if sample_weight is None else (x, y, sample_weight), batch_size)
        trainer = self._prepare()
        if self._evaluator is None or self._evaluator.module is not trainer.model:
            self._evaluator = Predictor(trainer.model)
        logs = trainer.evaluate(batches, self._evaluator.plan(len(batches) if hasattr(batches, "__len__") else 1))
        if verbose in (1, 2, "auto"):
            print("  ".join(f"{name}: {value:.4f}" for name, value in logs.items()))
        return logs if return_dict else _listed(logs)

    def predict(self, x, batch_size=None, verbose="auto"):
        """The outputs for N samples as a NumPy array (N, ...), channels-last; a list of arrays for several outputs.

        batch_size: how many samples run at once; a matter of memory alone. verbose: taken for Keras' sake; nothing is shown.
        """
        if is_loader(x):
            return Trainer(self.network()).predict(x)
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
            raise ValueError(f"predict: batch_size={batch_size!r}: an integer of at least 1 expected")
        inputs, network = checked_inputs(self, x), self.network()
        if self._predictor is None or self._predictor.module is not network:
            self._predictor = Predictor(network)
        return self._predictor(inputs, _EVALUATION_BATCH if batch_size is None else batch_size)

    def train_on_batch(self, x, y=None, sample_weight=None, class_weight=None, return_dict=False):
        """One training step; the loss, and the metrics where there are any, of this batch, before the step."""
        self._require_loss()
        inputs, rest = checked_samples(self, self.loss, x, y, sample_weight)
        rest = weighted_by_class(self.loss, rest, class_weight)
        logs = self._prepare().train_on_batch([inputs if len(inputs) > 1 else inputs[0], *rest])
        return logs if return_dict else _listed(logs)

    def test_on_batch(self, x, y=None, sample_weight=None, return_dict=False):
        """`evaluate` on one batch."""
        return self.evaluate(x, y, len(y) or 1, 0, sample_weight, return_dict)

    def predict_on_batch(self, x):
        """`predict` with all samples at once."""
        return self.predict(x, sys.maxsize)

    @property
    def stop_training(self):
        """Set to True by a callback, it ends the fit under way after the batch or epoch."""
        return self._trainer is not None and self._trainer.stop_training

    @stop_training.setter
    def stop_training(self, value):
        self._prepare().stop_training = bool(value)

    @property
    def metrics_names(self):
        """The names of what `evaluate` gives, in order."""
        return ["loss", *[m.name for m in self._prepare().metrics]]

    def _require_loss(self):
        if self.optimizer is None:
            raise RuntimeError(f"{self.name} is not compiled: model.compile(optimizer, loss) expected first")
        if self.loss is None:
            raise RuntimeError(f"{self.name} was compiled without a loss: model.compile(optimizer, loss) expected")

    def _samples(self, data, batch_size, what=""):
        """Batches for an evaluation, of (x, y), (x, y, sample_weight) or a loader."""
        if is_loader(data):
            return data
        if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
            raise ValueError(f"{what}{type(data).__name__} of {len(data)} parts: (x, y) or (x, y, sample_weight) expected")
        return loader(*checked_samples(self, self.loss, *data, what=what), _evaluation_batch(batch_size))


def _evaluation_batch(batch_size):
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(f"batch_size={batch_size!r}: a whole number of at least 1 expected")
    return _EVALUATION_BATCH if batch_size is None else max(batch_size, _EVALUATION_BATCH)


class _Metric:
    """A metric as Keras' `metrics` count: every sample the same, whatever weight its loss has.

    activation: what the metric needs and training does without; None where it needs none.
    """

    def __init__(self, metric, activation):
        self.metric, self.activation, self.name = metric, activation, metric.name

    def update(self, prediction, target, sample_weight=None):
        if self.activation is not None:
            with no_grad():
                prediction = self.activation(wrap(prediction)).array
        self.metric.update(prediction, target)

    def __getattr__(self, name):
        if name == "metric":  # while it is copied
            raise AttributeError(name)
        return getattr(self.metric, name)


def _listed(logs):
    values = list(logs.values())
    return values[0] if len(values) == 1 else values
