"""Softmax over many classes whose rare ones share clusters (Grave et al., "Efficient softmax approximation", 2017)."""
from typing import NamedTuple

from ..autograd import Tensor
from ..ops import argsort, concat, expand_dims, log_softmax, mean, nonzero, squeeze, take, take_along_axis
from .container import ModuleList, Sequential
from .linear import Linear
from .module import Module


class ASMoutput(NamedTuple):
    """output: each sample's log probability of its target. loss: the mean of their negatives."""
    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """log softmax over n_classes, sorted by frequency, the frequent first, and the loss of targets.

    cutoffs: where the clusters of rarer classes begin. `head` scores the classes before the first cutoff and each cluster as
    a whole; `tail[i]` those within cluster i, from in_features / div_value**(i + 1) features. head_bias: the head has a bias.
    Shapes: input (N, in_features) or (in_features,), target (N,) or () -> (output, loss) with output as target.
    Raises ValueError for cutoffs that do not rise from above 0 to below n_classes, and for shapes that do not fit.
    """

    def __init__(self, in_features, n_classes, cutoffs, div_value=4.0, head_bias=False, device=None, dtype=None):
        super().__init__()
        cutoffs = list(cutoffs)
        if not cutoffs or not all(isinstance(c, int) and a < c for a, c in zip([0, *cutoffs], [*cutoffs, n_classes])):
            raise ValueError(f"AdaptiveLogSoftmaxWithLoss: cutoffs={cutoffs}: whole numbers that rise from above 0 to below "
                             f"n_classes={n_classes} expected")
        self.in_features, self.n_classes, self.cutoffs = in_features, n_classes, [*cutoffs, n_classes]
        self.div_value, self.head_bias = div_value, head_bias
        self.shortlist_size, self.n_clusters = cutoffs[0], len(cutoffs)
        self.head_size = self.shortlist_size + self.n_clusters
        kind = {"device": device, "dtype": dtype}
        self.head = Linear(in_features, self.head_size, head_bias, **kind)
        self.tail = ModuleList()
        for i, (low, high) in enumerate(self.clusters()):
            hidden = int(in_features // div_value ** (i + 1))
            self.tail.append(Sequential(Linear(in_features, hidden, False, **kind), Linear(hidden, high - low, False, **kind)))

    def clusters(self):
        """(first class, one past the last) of each cluster."""
        return list(zip(self.cutoffs, self.cutoffs[1:]))

    def reset_parameters(self):
        """Draws new initial values."""
        for layer in (self.head, *(part for pair in self.tail for part in pair)):
            layer.reset_parameters()

    def forward(self, input, target):
        """(output, loss). Only the clusters that have targets are computed."""
        if input.ndim == 1 and target.ndim == 0:
            output, loss = self.forward(expand_dims(input, 0), expand_dims(target, 0))
            return ASMoutput(squeeze(output, 0), loss)
        if input.ndim != 2 or target.shape != input.shape[:1]:
            raise ValueError(f"AdaptiveLogSoftmaxWithLoss: input {input.shape}, target {target.shape}: (N, "
                             f"{self.in_features}) and (N,), or both without N, expected")
        if input.shape[0] and not 0 <= int(target.min().item()) <= int(target.max().item()) < self.n_classes:
            raise ValueError(f"AdaptiveLogSoftmaxWithLoss: target holds {int(target.min().item())} to "
                             f"{int(target.max().item())}: classes from 0 to below {self.n_classes} expected")
        head = log_softmax(self.head(input), axis=1)
        rows, = nonzero(target < self.shortlist_size)
        order, found = [rows], [read(take(head, rows, 0), take(target, rows))]
        for i, (low, high) in enumerate(self.clusters()):
            rows, = nonzero((target >= low) & (target < high))
            if rows.size:
                within = log_softmax(self.tail[i](take(input, rows, 0)), axis=1)
                order.append(rows)
                found.append(head[rows, self.shortlist_size + i] + read(within, take(target, rows) - low))
        output = take(concat(found), argsort(concat(order)))
        return ASMoutput(output, mean(-output))

    def log_prob(self, input):
        """The log probabilities of all classes. Shape: (N, in_features) -> (N, n_classes)."""
        head = log_softmax(self.head(input), axis=1)
        parts = [head[:, :self.shortlist_size]]
        for i, tail in enumerate(self.tail):
            whole = self.shortlist_size + i
            parts.append(log_softmax(tail(input), axis=1) + head[:, whole:whole + 1])
        return concat(parts, 1)

    def predict(self, input):
        """The most probable class of each sample. Shape: (N, in_features) -> (N,)."""
        return self.log_prob(input).argmax(axis=1)


def read(lines, places):
    """The entry of each line at a place. Shapes: (N, C), (N,) -> (N,)."""
    return squeeze(take_along_axis(lines, expand_dims(places, 1), axis=1), 1)
