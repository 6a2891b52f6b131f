"""Trainer: the one training loop. Everything that is not the loop is a callback."""
import copy
import inspect
import math
from functools import partial
from itertools import islice

import numpy as np

from ..autograd import Tensor, no_grad
from ..autograd.tensor import wrap
from ..optim.lr_scheduler import ReduceLROnPlateau
from . import checkpoint
from .callback import CallbackList
from .callbacks import History
from .metrics import Mean
from .metrics import get as get_metric


class NonFiniteLoss(FloatingPointError):
    """The loss is NaN or infinite; the weights are those before the batch."""


class Trainer:
    """Trains, evaluates and applies a model.

    model: a module; called with the inputs of a batch (a list or tuple of them as separate arguments).
    loss: loss(output, target) -> a tensor with one element. For sample weights it takes `sample_weight` too, or has a
    `reduction`, as the losses of `nn` do: the loss is then the mean of weight times the sample's loss.
    optimizer: of `minidl.optim`; None where only `evaluate` and `predict` are called.
    metrics: names, metrics or functions of (prediction, target). callbacks: Callback objects.
    scheduler: of `lr_scheduler`; stepped after every epoch (ReduceLROnPlateau with the validation's loss, where there is one),
    or every batch with scheduler_interval="step". clip_grad_norm: largest norm of all gradients together.

    Batches are (inputs, targets) or (inputs, targets, sample weights), as arrays or tensors.
    """

    def __init__(self, model, loss=None, optimizer=None, metrics=(), callbacks=(), scheduler=None, clip_grad_norm=None,
                 scheduler_interval="epoch"):
        if scheduler_interval not in ("epoch", "step"):
            raise ValueError(f"Trainer: scheduler_interval={scheduler_interval!r}: 'epoch' or 'step' expected")
        if clip_grad_norm is not None and not clip_grad_norm > 0:
            raise ValueError(f"Trainer: clip_grad_norm={clip_grad_norm}: a number above 0, or None, expected")
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.metrics = make_metrics(metrics)
        self.callbacks = list(callbacks)
        self.scheduler, self.scheduler_interval = scheduler, scheduler_interval
        self.clip_grad_norm = clip_grad_norm
        self.stop_training = False
        self.skipped = False     # this fit had ended before a restart of the script
        self.epoch = 0           # the epoch under way; at its end already the next
        self.batch = 0           # batches of it that are done
        self.batch_images = 0    # samples in the last batch
        self.history = History()
        self.hooks = None        # the callbacks of the fit under way
        self.loader = self.validation = None
        self._loss_mean = Mean("loss")
        self._weighted_loss = None
        self._restored = False
        self._pending = None     # a checkpoint that the next fit goes on from

    # ---- training ----
    def fit(self, loader, epochs=1, validation=None, initial_epoch=0, callbacks=()):
        """Trains from `initial_epoch` up to `epochs` epochs and returns the History.

        loader: batches, anew at each `iter()`. validation: batches to evaluate after every epoch. callbacks: more of them, for
        this call. Raises NonFiniteLoss for a loss that is NaN or infinite, ValueError for a loader without batches and for
        numbers of epochs below 0.
        """
        if self.optimizer is None or self.loss is None:
            raise ValueError("fit: loss or optimizer missing: Trainer(model, loss, optimizer) expected")
        for name, value in (("epochs", epochs), ("initial_epoch", initial_epoch)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
                raise ValueError(f"fit: {name}={value!r}: a whole number of at least 0 expected")
        self.loader, self.validation = loader, validation
        self.epoch, self.batch, self.stop_training, self.skipped = initial_epoch, 0, False, False
        self.history = History()
        steps = len(loader) if hasattr(loader, "__len__") else None
        self.hooks = CallbackList([*self.callbacks, *callbacks, self.history], self, {"epochs": epochs, "steps": steps})
        pending, self._pending, self._restored = self._pending, None, False
        self.hooks.on_train_begin({})
        if pending is not None and not self._restored:  # a BackupAndRestore's is the later one
            self.load_state_dict(pending)
        logs = {}
        with mode(self.model, training=True):
            while self.epoch < epochs and not self.stop_training:
                logs = self._train_epoch()
        self.hooks.on_train_end(logs)
        return self.history

    def train_on_batch(self, batch):
        """One step outside `fit`, without callbacks: the logs of this batch, before the step. Raises as `fit` does."""
        if self.optimizer is None or self.loss is None:
            raise ValueError("train_on_batch: loss or optimizer missing: Trainer(model, loss, optimizer) expected")
        self.hooks = None
        self._reset()
        with mode(self.model, training=True):
            self._train_batch(batch)
        return self._logs()

    def _train_epoch(self):
        epoch, hooks = self.epoch, self.hooks
        if self.batch == 0:
            self._reset()
        hooks.on_epoch_begin(epoch, {})
        for batch in self._remaining():
            number = self.batch
            if hooks.on_train_batch_begin:
                hooks.on_train_batch_begin(number, {})
            self._train_batch(batch)
            self.batch = number + 1
            if hooks.on_train_batch_end:
                hooks.on_train_batch_end(number, self._logs())
            if self.stop_training:
                break
        if self.batch == 0:
            raise ValueError(f"fit: the loader gave no batch in epoch {epoch + 1}: a data set that is not empty, and a loader "
                             "that can be iterated anew (no generator), expected")
        logs = self._logs()
        if self.validation is not None:
            logs.update({f"val_{name}": value for name, value in self._evaluate(self.validation, hooks, self.model).items()})
        if self.scheduler is not None:
            logs["learning_rate"] = self.lr
            if isinstance(self.scheduler, ReduceLROnPlateau):
                self.scheduler.step(logs.get("val_loss", logs["loss"]))
            elif self.scheduler_interval == "epoch":
                self.scheduler.step()
        self.epoch, self.batch = epoch + 1, 0
        hooks.on_epoch_end(epoch, logs)
        return logs

    def _train_batch(self, batch):
        inputs, target, weight = unpack(batch)
        self.optimizer.zero_grad()
        output = applied(self.model, inputs)
        loss = self._compute_loss(output, target, weight)
        value = loss.item()
        if math.isfinite(value):
            loss.backward()
            if self.clip_grad_norm is not None:
                from ..nn.utils import clip_grad_norm_
                clip_grad_norm_(self.model.parameters(), self.clip_grad_norm)
            self.optimizer.step()
            if self.scheduler is not None and self.scheduler_interval == "step":
                self.scheduler.step()
        elif self.hooks is None or not self.hooks.handles_nan:
            raise NonFiniteLoss(self._explain(value, inputs, target))
        self._note(self._loss_mean, self.metrics, value, output, target, weight)

    def _remaining(self):
        """The batches of this epoch that are still to come: all, or the rest after a restart."""
        if self.batch and not hasattr(self.loader, "load_state_dict"):
            return islice(self.loader, self.batch, None)
        return self.loader

    def skip(self, history):
        """For a callback at the beginning of `fit`: this fit had ended before, with this history, and is not repeated."""
        self.history.load_state_dict(history)
        self.stop_training = self.skipped = self._restored = True

    @property
    def lr(self):
        """The learning rate of the optimizer's first group; assigning sets it for all groups."""
        return self.optimizer.param_groups[0]["lr"]

    @lr.setter
    def lr(self, value):
        for group in self.optimizer.param_groups:
            group["lr"] = value

    # ---- evaluation ----
    def evaluate(self, loader, forward=None):
        """{"loss": ..., metric: ...} over all batches, in evaluation mode, without touching weights or training metrics.

        forward: what computes the outputs of a batch in the model's place, such as `minidl.compile(model, ...)`.
        """
        if self.loss is None:
            raise ValueError("evaluate: loss missing: Trainer(model, loss) expected")
        return self._evaluate(loader, CallbackList(self.callbacks, self), forward or self.model)

    def _evaluate(self, loader, hooks, forward):
        measures = copy.deepcopy([self._loss_mean, *self.metrics])
        for measure in measures:
            measure.reset()
        hooks.on_test_begin({})
        number = -1
        with mode(self.model, training=False), no_grad():
            for number, batch in enumerate(loader):
                if hooks.on_test_batch_begin:
                    hooks.on_test_batch_begin(number, {})
                inputs, target, weight = unpack(batch)
                output = applied(forward, inputs)
                loss = self._compute_loss(output, target, weight)
                self._note(measures[0], measures[1:], loss.item(), output, target, weight)
                if hooks.on_test_batch_end:
                    hooks.on_test_batch_end(number, {m.name: m.result() for m in measures})
        if number < 0:
            raise ValueError("evaluate: the loader gave no batch: a data set that is not empty expected")
        logs = {m.name: m.result() for m in measures}
        hooks.on_test_end(logs)
        return logs

    def predict(self, x, batch_size=32):
        """The model's outputs for an array or tensor of inputs, or a loader (of inputs, or of batches that begin with them).

        Returns a NumPy array (N, ...), or a list of them for a model with several outputs.
        """
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"predict: batch_size={batch_size!r}: an integer of at least 1 expected")
        if isinstance(x, Tensor) or hasattr(x, "dtype"):
            batches = (x[i:i + batch_size] for i in range(0, max(len(x), 1), batch_size))
        else:
            batches = (b[0] if isinstance(b, (tuple, list)) else b for b in x)
        with mode(self.model, training=False), no_grad():
            outputs = [to_numpy(applied(self.model, to_tensor(batch))) for batch in batches]
        if not outputs:
            raise ValueError("predict: the loader gave no batch: a data set that is not empty expected")
        if isinstance(outputs[0], list):
            return [np.concatenate(part) for part in zip(*outputs)]
        return np.concatenate(outputs)

    # ---- checkpoints ----
    def state_dict(self):
        """Everything a run needs to go on bit for bit, as a tree for `checkpoint.save_tree`."""
        return {"model": dict(self.model.state_dict()), "optimizer": _state(self.optimizer),
                "scheduler": _state(self.scheduler), "epoch": self.epoch, "batch": self.batch,
                "stop_training": self.stop_training, "loss": self._loss_mean.state_dict(),
                "metrics": [m.state_dict() for m in self.metrics], "callbacks": self.hooks.state_dict() if self.hooks else [],
                "loader": _state(self.loader), "validation": _state(self.validation), "random": checkpoint.random_state()}

    def load_state_dict(self, state):
        """Takes over `state_dict()`: within `fit` (a callback's on_train_begin) it then goes on from there.

        Raises ValueError, or what the model raises, where the state is of another model, optimizer or data set.
        """
        if len(state["metrics"]) != len(self.metrics):
            raise ValueError(f"Trainer.load_state_dict: {len(state['metrics'])} metrics: {len(self.metrics)} expected")
        self.model.load_state_dict(state["model"])
        for part in ("optimizer", "scheduler", "loader", "validation"):
            own = getattr(self, part)
            if state[part] is not None and hasattr(own, "load_state_dict"):
                own.load_state_dict(state[part])
        for measure, saved in zip([self._loss_mean, *self.metrics], [state["loss"], *state["metrics"]]):
            measure.load_state_dict(saved)
        self.epoch, self.batch, self.stop_training = state["epoch"], state["batch"], state["stop_training"]
        if self.hooks:
            self.hooks.load_state_dict(state["callbacks"])
        checkpoint.set_random_state(state["random"])
        self._restored = True

    def save_checkpoint(self, path):
        """Writes `state_dict()` to a file, atomically."""
        checkpoint.save_tree({"fit": 0, "ended": [], "trainer": self.state_dict()}, path)

    def load_checkpoint(self, path):
        """Takes over a file of `save_checkpoint`, or of BackupAndRestore; the next `fit` goes on from there, with the very
        next batch. Raises ValueError as `load_state_dict` does, and for any other file."""
        state = checkpoint.load_tree(path)["trainer"]
        self.load_state_dict(state)
        self._pending = state

    # ---- parts of a step ----
    def _compute_loss(self, output, target, weight):
        if weight is None:
            loss = self.loss(output, target)
        else:
            if self._weighted_loss is None:
                self._weighted_loss = weighted(self.loss)
            loss = self._weighted_loss(output, target, weight)
        if loss.array.size != 1:
            raise ValueError(f"loss: shape {loss.shape}: one number expected (reduction='mean')")
        return loss

    def _note(self, mean, measures, loss, output, target, weight):
        """Adds a batch to the mean of the loss and to the metrics."""
        first = target
        while isinstance(first, (list, tuple)):
            first = first[0]
        self.batch_images = count = first.array.shape[0] if first.array.ndim else 1
        mean.total += loss * count
        mean.count += count
        if measures:
            prediction, expected = to_numpy(output), to_numpy(target)
            weights = () if weight is None else (to_numpy(weight),)
            for measure in measures:
                measure.update(prediction, expected, *weights)

    def _logs(self):
        logs = {"loss": self._loss_mean.result()}
        for measure in self.metrics:
            logs[measure.name] = measure.result()
        return logs

    def _reset(self):
        for measure in (self._loss_mean, *self.metrics):
            measure.reset()

    def _explain(self, value, inputs, target):
        where = f"fit: the loss is {value} in epoch {self.epoch + 1}, step {self.batch + 1}, at learning rate {self.lr:g}"
        for name, part in (("inputs", inputs), ("targets", target)):
            for x in part.values() if isinstance(part, dict) else part if isinstance(part, (list, tuple)) else [part]:
                if x.array.dtype.kind == "f" and not np.isfinite(x.array).all():
                    return f"{where}: the {name} of this batch hold NaN or infinity: clean the data"
        return (f"{where}: a finite number expected: lower the learning rate, give clip_grad_norm=1.0, scale the inputs, or "
                "look for log(0) and x/0 in the loss (detect_anomaly() finds it). The weights are those before this step")


class mode:
    """`with mode(model, training=True)`: training or evaluation mode for the block; then every module is back in its own."""

    def __init__(self, model, training):
        self.training, self.changed = training, []
        self._find(model)

    def _find(self, module):
        if module.training is not self.training:
            self.changed.append(module)
        for child in module._modules.values():
            if child is not None:
                self._find(child)

    def __enter__(self):
        for module in self.changed:  # past Module's __setattr__: this is no parameter, module or buffer to register
            object.__setattr__(module, "training", self.training)

    def __exit__(self, *exception):
        for module in self.changed:
            object.__setattr__(module, "training", not self.training)


def make_metrics(given):
    """Metric objects with different names."""
    made = [get_metric(m) for m in given]
    names = [m.name for m in made]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"Trainer: two metrics are called {name!r}: different names expected")
    return made


def unpack(batch):
    """(inputs, targets, sample weights or None) as tensors."""
    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
        what = f"{len(batch)} parts" if isinstance(batch, (tuple, list)) else f"a {type(batch).__name__}"
        raise TypeError(f"batch: {what}: (inputs, targets) or (inputs, targets, sample weights) expected")
    return to_tensor(batch[0]), to_tensor(batch[1]), to_tensor(batch[2]) if len(batch) == 3 else None


def applied(function, inputs):
    """function(inputs), of a list or tuple as separate arguments, of a dict as keywords."""
    if isinstance(inputs, (list, tuple)):
        return function(*inputs)
    return function(**inputs) if isinstance(inputs, dict) else function(inputs)


def to_tensor(x):
    """Arrays as tensors, without a copy; also within lists, tuples and dicts."""
    if isinstance(x, Tensor):
        return x
    if isinstance(x, np.ndarray):
        return wrap(x)
    if isinstance(x, (list, tuple)):
        return [to_tensor(part) for part in x]
    if isinstance(x, dict):
        return {key: to_tensor(part) for key, part in x.items()}
    return Tensor(x)


def to_numpy(x):
    """Tensors as NumPy arrays, without the tape; also within lists and tuples."""
    if isinstance(x, (list, tuple)):
        return [to_numpy(part) for part in x]
    return x.array if isinstance(x.array, np.ndarray) else x.detach().numpy()


def weighted(loss):
    """loss(output, target, weight): the mean over samples of weight times the sample's loss."""
    parameters = inspect.signature(getattr(loss, "forward", loss)).parameters
    if "sample_weight" in parameters:
        return lambda output, target, weight: loss(output, target, sample_weight=weight)
    if hasattr(loss, "reduction"):
        each = copy.copy(loss)
        each.reduction = "none"
    elif "reduction" in parameters:
        each = partial(loss, reduction="none")
    else:
        raise TypeError("loss: batches have sample weights, and the loss takes neither sample_weight nor reduction: one of "
                        "them expected")

    def mean(output, target, weight):
        values = each(output, target)
        shape = weight.shape + (1,) * (values.ndim - weight.ndim)
        return (values * weight.reshape(shape).astype(values.dtype)).mean()
    return mean


def _state(part):
    return part.state_dict() if hasattr(part, "state_dict") else None
