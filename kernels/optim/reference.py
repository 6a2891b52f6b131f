"""The updates in float64, rounded once to the arrays' dtype."""
import numpy as np


def wide(a):
    return a.astype(np.float64)


def sgd_update(params, buffers, grads, p):
    for i, param in enumerate(params):
        g = p.sign * wide(grads[i]) + p.weight_decay * wide(param)
        if buffers:
            buffer = p.gradient * g
            if p.keep:
                buffer = buffer + p.keep * wide(buffers[i])
            buffers[i][...] = buffer.astype(param.dtype)
            g = g + p.momentum * buffer if p.nesterov else buffer
        param[...] = (wide(param) - p.lr * g).astype(param.dtype)


def adam_update(params, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, grads, p):
    for i, param in enumerate(params):
        g = p.sign * wide(grads[i]) + p.decay * wide(param)
        m, v = wide(exp_avgs[i]), wide(exp_avg_sqs[i])
        m = m + p.one_minus_beta1 * (g - m)
        v = p.beta2 * v + p.one_minus_beta2 * g * g
        exp_avgs[i][...] = m.astype(param.dtype)
        exp_avg_sqs[i][...] = v.astype(param.dtype)
        if max_exp_avg_sqs:
            v = np.maximum(wide(max_exp_avg_sqs[i]), v)
            max_exp_avg_sqs[i][...] = v.astype(param.dtype)
        new = p.shrink * wide(param) - p.step_size * m / (np.sqrt(v) * p.correction + p.eps)
        param[...] = new.astype(param.dtype)


def total_norm(y, arrays, p):
    size = [np.abs(wide(a)).reshape(-1) for a in arrays if a.size]
    if p.order == 2:  # the root of a sum of sums, as order 1 and all others
        y[...] = sum(((x * x).sum() for x in size), 0.0) ** 0.5
    elif abs(p.order) == np.inf:
        pick = np.max if p.order > 0 else np.min
        y[...] = pick([pick(x) for x in size]) if size else 0
    elif p.order == 0:
        y[...] = sum((x != 0).sum() for x in size)
    else:
        y[...] = sum(((x ** p.order).sum() for x in size), 0.0) ** (1 / p.order)


def scale(arrays, p):
    for a in arrays:
        a[...] = (wide(a) * p.factor).astype(a.dtype)


def clamp(arrays, p):
    for a in arrays:
        np.clip(a, a.dtype.type(p.low), a.dtype.type(p.high), out=a)
