"""The same in Numba, array by array: one pass over memory each, in parallel where an array is large."""
import numpy as np
from numba import njit, prange

PARALLEL = 100_000  # elements from which waking the threads pays


def flat(*arrays):
    """The arrays as vectors over the same memory in the same order, or None where their layouts differ."""
    if all(a.dtype == np.float32 and a.flags.c_contiguous for a in arrays):
        return [a.reshape(-1) for a in arrays]
    return None


def each(lists, serial, parallel, p):
    """Runs an update on every index of the lists; NotImplemented before the first where it does not serve them all."""
    rows = [flat(*arrays) for arrays in zip(*lists)]
    if None in rows:
        return NotImplemented
    for row in rows:
        (parallel if row[0].size >= PARALLEL else serial)(*row, *p)


def sgd_update(params, buffers, grads, p):
    if not params:
        return None
    lr, share, gradient, decay, nesterov, sign, keep = map(np.float32, p[1:])
    if buffers:
        return each((params, buffers, grads), momentum_serial, momentum_parallel,
                    (lr, share, gradient, decay, bool(nesterov), sign, keep))
    return each((params, grads), plain_serial, plain_parallel, (lr, decay, sign))


def adam_update(params, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, grads, p):
    lists = (params, exp_avgs, exp_avg_sqs, max_exp_avg_sqs or exp_avg_sqs, grads)
    return each(lists, adam_serial, adam_parallel, (bool(max_exp_avg_sqs), *map(np.float32, p[1:])))


def total_norm(y, arrays, p):
    if not 0 < p.order < np.inf or any(a.dtype != np.float32 for a in arrays):
        return NotImplemented
    total = 0.0
    for a in arrays:
        total += (powers_parallel if a.size >= PARALLEL else powers_serial)(np.ravel(a, "K"), p.order)
    y[...] = total ** (1 / p.order)


def scale(arrays, p):
    return each((arrays,), scaled_serial, scaled_parallel, (np.float32(p.factor),))


def clamp(arrays, p):
    return each((arrays,), clamped_serial, clamped_parallel, (np.float32(p.low), np.float32(p.high)))


def plain(param, grad, lr, decay, sign):
    for i in prange(param.size):
        param[i] -= lr * (sign * grad[i] + decay * param[i])


def momentum(param, buffer, grad, lr, momentum, gradient, decay, nesterov, sign, keep):
    for i in prange(param.size):
        g = sign * grad[i] + decay * param[i]
        b = gradient * g
        if keep != 0:
            b += keep * buffer[i]
        buffer[i] = b
        param[i] -= lr * (g + momentum * b if nesterov else b)


def adam(param, m, v, largest, grad, amsgrad, step_size, w1, beta2, w2, correction, eps, decay, shrink, sign):
    for i in prange(param.size):
        g = sign * grad[i] + decay * param[i]
        m[i] += w1 * (g - m[i])
        v[i] = beta2 * v[i] + w2 * g * g
        second = v[i]
        if amsgrad:
            second = max(second, largest[i])
            largest[i] = second
        param[i] = shrink * param[i] - step_size * m[i] / (np.sqrt(second) * correction + eps)


def powers(x, order):
    total = 0.0
    for i in prange(x.size):
        size = abs(np.float64(x[i]))
        total += size * size if order == 2 else size if order == 1 else size ** order
    return total


def scaled(x, factor):
    for i in prange(x.size):
        x[i] *= factor


def clamped(x, low, high):
    for i in prange(x.size):
        v = low if x[i] < low else x[i]
        x[i] = high if v > high else v


def both(function):
    return (njit(function, fastmath={"contract"}, error_model="numpy", cache=True),
            njit(function, fastmath={"contract"}, error_model="numpy", cache=True, parallel=True))


plain_serial, plain_parallel = both(plain)
momentum_serial, momentum_parallel = both(momentum)
adam_serial, adam_parallel = both(adam)
powers_serial, powers_parallel = both(powers)
scaled_serial, scaled_parallel = both(scaled)
clamped_serial, clamped_parallel = both(clamped)
