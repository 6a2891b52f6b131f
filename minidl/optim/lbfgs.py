"""L-BFGS, with a line search for the strong Wolfe conditions."""
from math import sqrt
from typing import NamedTuple

import numpy as np

from ..autograd import enable_grad, no_grad
from ..autograd.tensor import wrap
from .optimizer import Optimizer, require


class LBFGS(Optimizer):
    """Quasi-Newton steps from the last changes of the gradient (Nocedal 1980), as torch.optim.LBFGS.

        d = -H g                   H: the inverse Hessian by the pairs y = g_t - g_{t-1}, s = theta_t - theta_{t-1}
        theta = theta + t d        t = lr, or what the line search finds with line_search_fn='strong_wolfe'

    One `step(closure)` makes up to max_iter such steps with up to max_eval evaluations (None: 5/4 of max_iter), and ends
    earlier where no element of the gradient exceeds tolerance_grad, or loss and parameters change by less than
    tolerance_change. history_size: pairs that are kept. All parameters are one group; their state, which belongs to all, is
    kept with the first. Raises ValueError for options out of range and for more groups.
    """

    def __init__(self, params, lr=1, max_iter=20, max_eval=None, tolerance_grad=1e-7, tolerance_change=1e-9, history_size=100,
                 line_search_fn=None):
        max_eval = max_iter * 5 // 4 if max_eval is None else max_eval
        super().__init__(params, {"lr": lr, "max_iter": max_iter, "max_eval": max_eval, "tolerance_grad": tolerance_grad,
                                  "tolerance_change": tolerance_change, "history_size": history_size,
                                  "line_search_fn": line_search_fn})

    def check(self, group):
        require("LBFGS", group, lr=(group["lr"] >= 0, "at least 0"),
                line_search_fn=(group["line_search_fn"] in (None, "strong_wolfe"), "None or 'strong_wolfe'"))

    def add_param_group(self, group):
        """Adds the only group. Raises ValueError for another one."""
        if self.param_groups:
            raise ValueError("LBFGS: a second group of parameters: one group expected")
        super().add_param_group(group)

    def take_step(self, closure=None):
        """Up to max_iter steps. closure: computes the loss, calls backward and returns the loss. Returns the first loss."""
        if closure is None:
            raise TypeError("LBFGS: step without a closure: a function that computes the loss, calls backward and returns the "
                            "loss expected")

        def evaluated():
            with enable_grad():
                loss = closure()
            state["func_evals"] += 1
            return loss, flat([p.array if p.grad is None else p.grad.array for p in params], [p.grad is None for p in params])

        group, params = self.param_groups[0], self.param_groups[0]["params"]
        state = self.state.setdefault(params[0], {"func_evals": 0, "n_iter": 0})
        with no_grad():
            before = state["func_evals"]
            first_loss, g = evaluated()
            if abs(g).max() > group["tolerance_grad"]:
                self._iterate(params, group, state, evaluated, float(first_loss), g, before)
        return first_loss

    def _iterate(self, params, group, state, evaluated, loss, g, before):
        lr, tolerance = group["lr"], group["tolerance_change"]
        d, t, previous, scale = state.get("d"), state.get("t"), state.get("prev_flat_grad"), state.get("H_diag", 1)
        d, previous = (None if x is None else x.array for x in (d, previous))
        y, s = ([x.array for x in state.get(name, ())] for name in ("old_dirs", "old_stps"))
        inverse = list(state.get("ro", ()))  # 1 / (y s) of each pair
        for n in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            if state["n_iter"] == 1:
                d, t = -g, min(1.0, 1.0 / float(abs(g).sum())) * lr
            else:
                change, moved = g - previous, d * t
                product = float(change @ moved)
                if product > 1e-10:
                    if len(y) == group["history_size"]:
                        del y[0], s[0], inverse[0]
                    y.append(change)
                    s.append(moved)
                    inverse.append(1 / product)
                    scale = product / float(change @ change)
                d, t = direction(g, y, s, inverse, scale), lr
            previous, previous_loss, slope = g, loss, float(g @ d)
            if slope > -tolerance:
                break
            start = flat([p.array for p in params])
            if group["line_search_fn"] is not None:
                def at(t, start=start, d=d):
                    put(params, start + t * d)
                    loss, g = evaluated()
                    return Point(t, float(loss), g, float(g @ d))
                most = group["max_eval"] - (state["func_evals"] - before)
                t, loss, g, _ = strong_wolfe(at, Point(0.0, loss, g, slope), t, float(abs(d).max()), most)
                put(params, start + t * d)
            else:
                put(params, start + t * d)
                if n < group["max_iter"]:  # of no use after the last one
                    loss, g = evaluated()
                    loss = float(loss)
            if (state["func_evals"] - before >= group["max_eval"] or abs(g).max() <= group["tolerance_grad"]
                    or abs(d * t).max() <= tolerance or abs(loss - previous_loss) < tolerance):
                break
        state.update(d=wrap(d), t=t, old_dirs=[wrap(x) for x in y], old_stps=[wrap(x) for x in s], ro=inverse, H_diag=scale,
                     prev_flat_grad=wrap(previous), prev_loss=previous_loss)

    def taken_over(self, param, value, what):
        """A copy of one entry of a state: vectors of all parameters' elements, or lists of them."""
        if isinstance(value, list):
            return [self.taken_over(param, x, what) for x in value if x is not None]
        array = np.array(value.detach().numpy() if hasattr(value, "detach") else value)
        return wrap(array.astype(param.dtype)) if array.ndim else array.item()


def flat(arrays, absent=None):
    """All elements as one vector; zeros for arrays that are marked as absent."""
    absent = absent or [False] * len(arrays)
    return np.concatenate([(a * 0 if none else a).reshape(-1) for a, none in zip(arrays, absent)])


def put(params, vector):
    """Writes a vector of all elements to the parameters."""
    at = 0
    for p in params:
        p.array[...] = vector[at:at + p.size].reshape(p.shape)
        p._mark_changed()
        at += p.size


def direction(g, y, s, inverse, scale):
    """-H g by the two loops over the pairs (Nocedal and Wright, Numerical Optimization, algorithm 7.4)."""
    q, shares = -g, []
    for change, moved, r in zip(reversed(y), reversed(s), reversed(inverse)):
        shares.append(r * float(moved @ q))
        q = q - shares[-1] * change
    q = q * scale
    for change, moved, r in zip(y, s, inverse):
        q = q + (shares.pop() - r * float(change @ q)) * moved
    return q


class Point(NamedTuple):
    """A place on the line: theta + t d, the loss there, its gradient, and its slope along d."""
    t: float
    loss: float
    g: np.ndarray
    slope: float


def strong_wolfe(at, start, t, size, most, c1=1e-4, c2=0.9, tolerance=1e-9):
    """A Point with the strong Wolfe conditions, or the lowest found with `most` rounds (Nocedal and Wright, 3.5 and 3.6).

    at(t): the Point there. start: that of t = 0. size: the largest element of d.
    """
    def high(x):
        return x.loss > start.loss + c1 * x.t * start.slope

    def flat_enough(x):
        return abs(x.slope) <= -c2 * start.slope

    before, now, rounds = start, at(t), 0
    while rounds < most:  # onwards, until there is a minimum in between
        if high(now) or (rounds > 1 and now.loss >= before.loss):
            break
        if flat_enough(now):
            return now
        if now.slope >= 0:
            break
        before, now = now, at(cubic_minimum(before, now, now.t + 0.01 * (now.t - before.t), now.t * 10))
        rounds += 1
    ends = [start if rounds >= most else before, now]
    low, stuck = 0 if ends[0].loss <= ends[1].loss else 1, False
    while rounds < most and abs(ends[1].t - ends[0].t) * size >= tolerance:  # inwards
        left, right = sorted(x.t for x in ends)
        t, edge = cubic_minimum(*ends, left, right), 0.1 * (right - left)
        near = min(right - t, t - left) < edge
        if near and (stuck or t >= right or t <= left):
            t, near = right - edge if abs(t - right) < abs(t - left) else left + edge, False
        stuck, new = near, at(t)
        rounds += 1
        if high(new) or new.loss >= ends[low].loss:
            ends[1 - low] = new
            low = 0 if ends[0].loss <= ends[1].loss else 1
            continue
        if flat_enough(new):
            return new
        if new.slope * (ends[1 - low].t - ends[low].t) >= 0:
            ends[1 - low] = ends[low]
        ends[low] = new
    return ends[low]


def cubic_minimum(a, b, least, most):
    """Where the cubic through two Points with their slopes is lowest, within [least, most]; the middle where it is nowhere."""
    a, b = (a, b) if a.t <= b.t else (b, a)
    if a.t < b.t:
        d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
        square = d1 * d1 - a.slope * b.slope
        if square >= 0 and (below := b.slope - a.slope + 2 * sqrt(square)):
            t = b.t - (b.t - a.t) * ((b.slope + sqrt(square) - d1) / below)
            return min(max(t, least), most)
    return (least + most) / 2
