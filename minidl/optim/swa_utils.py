"""Averages of a model's weights over the steps of its training, with PyTorch's names.

    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.999))
    for x, y in loader:
        train(x, y)
        averaged.update_parameters(model)
    update_bn(loader, averaged)
"""
import math
from copy import deepcopy

from ..autograd import no_grad
from ..nn.module import Module
from ..nn.norm import BatchNorm
from ..ops import tensor
from .lr_scheduler import LRScheduler, for_groups


def get_ema_avg_fn(decay=0.999):
    """avg_fn of the exponential moving average: decay average + (1 - decay) value. Raises ValueError outside of [0, 1]."""
    if not 0 <= decay <= 1:
        raise ValueError(f"get_ema_avg_fn: decay={decay}: a number in [0, 1] expected")

    def ema_update(ema_param, current_param, num_averaged):
        return decay * ema_param + (1 - decay) * current_param
    return ema_update


def get_swa_avg_fn():
    """avg_fn of the mean of all steps: average + (value - average) / (num_averaged + 1)."""
    def swa_update(averaged_param, current_param, num_averaged):
        return averaged_param + (current_param - averaged_param) / (num_averaged + 1)
    return swa_update


def get_ema_multi_avg_fn(decay=0.999):
    """get_ema_avg_fn for lists of tensors, which are changed in place."""
    return on_lists(get_ema_avg_fn(decay))


def get_swa_multi_avg_fn():
    """get_swa_avg_fn for lists of tensors, which are changed in place."""
    return on_lists(get_swa_avg_fn())


def on_lists(average):
    """The multi_avg_fn that applies an avg_fn to each pair of tensors."""
    def update(averaged_params, current_params, num_averaged):
        with no_grad():
            for mean, value in zip(averaged_params, current_params, strict=True):
                mean.copy_(average(mean, value, num_averaged).astype(mean.dtype))
    return update


class AveragedModel(Module):
    """A copy of a model, `module`, with the averages of its parameters, and of its buffers if use_buffers; otherwise buffers
    are the model's at the last update.

    avg_fn(average, value, number of values so far) gives a tensor's new average; multi_avg_fn changes the first of two lists
    in place instead; without either the averages are means (Izmailov et al., 2018). Raises ValueError for both.
    """

    def __init__(self, model, device=None, avg_fn=None, multi_avg_fn=None, use_buffers=False):
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise ValueError("AveragedModel: avg_fn and multi_avg_fn given: one of them expected")
        self.module = deepcopy(model)
        if device is not None:
            self.module.to(device)
        self.register_buffer("n_averaged", tensor(0, device=device))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs)

    def update_parameters(self, model):
        """Takes the model's parameters into the averages."""
        means, values = (dict.fromkeys([*part.parameters(), *(part.buffers() if self.use_buffers else ())])
                         for part in (self.module, model))
        means, values = [x.detach() for x in means], [x.detach() for x in values]
        if self.n_averaged.item() == 0:
            copy_all(means, values)
        else:
            update = self.multi_avg_fn or on_lists(self.avg_fn or get_swa_avg_fn())
            for dtype in dict.fromkeys(x.dtype for x in means):
                chosen = [i for i, x in enumerate(means) if x.dtype == dtype]
                update([means[i] for i in chosen], [values[i] for i in chosen], self.n_averaged.item())
        if not self.use_buffers:
            copy_all(self.module.buffers(), model.buffers())
        self.n_averaged.add_(1)


def copy_all(targets, sources):
    """Writes values into as many tensors."""
    with no_grad():
        for target, source in zip(targets, sources, strict=True):
            target.copy_(source)


def update_bn(loader, model, device=None):
    """The batch norms' running statistics of a model anew, as means over the batches of a loader; of a batch that is a tuple
    or list, the first item is the input.
    """
    layers = [module for module in model.modules() if isinstance(module, BatchNorm)]
    if not layers:
        return
    momenta, training = [layer.momentum for layer in layers], model.training
    model.train()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
    with no_grad():
        for batch in loader:
            x = batch[0] if isinstance(batch, (list, tuple)) else batch
            model(x if device is None else x.to(device))
    for layer, momentum in zip(layers, momenta):
        layer.momentum = momentum
    model.train(training)


class SWALR(LRScheduler):
    """From the rate at hand to swa_lr (one, or a list with one for each group) in anneal_epochs steps, then constant.

    anneal_strategy: 'cos' or 'linear'.
    """

    def __init__(self, optimizer, swa_lr, anneal_epochs=10, anneal_strategy="cos", last_epoch=-1):
        for value, group in zip(for_groups(self, optimizer, "swa_lr", swa_lr), optimizer.param_groups):
            group["swa_lr"] = value
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"SWALR: anneal_strategy={anneal_strategy!r}: 'cos' or 'linear' expected")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"SWALR: anneal_epochs={anneal_epochs!r}: an integer of at least 0 expected")
        self.anneal_epochs, self._anneal_strategy = anneal_epochs, anneal_strategy
        super().__init__(optimizer, last_epoch)

    def share(self, t):
        """The weight of swa_lr at step t."""
        t = max(0, min(1, t / max(1, self.anneal_epochs)))
        return t if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * t)) / 2

    def formulas(self, t):
        share = self.share(t)
        return [group["swa_lr"] * share + lr * (1 - share) for group, lr in zip(self.optimizer.param_groups, self.base_lrs)]

    def get_lr(self):
        step = self.last_epoch if self.anneal_epochs else max(1, self.last_epoch)
        before, now = self.share(step - 1), self.share(step)
        rates = []
        for group in self.optimizer.param_groups:
            lr, goal = group["lr"], group["swa_lr"]
            start = goal if before == 1 else (lr - before * goal) / (1 - before)  # what another scheduler set counts too
            rates.append(goal * now + start * (1 - now))
        return rates


__all__ = ["SWALR", "AveragedModel", "get_ema_avg_fn", "get_ema_multi_avg_fn", "get_swa_avg_fn", "get_swa_multi_avg_fn",
           "update_bn"]
