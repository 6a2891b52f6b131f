"""The formulas for one element; Numba compiles each to a NumPy ufunc, which takes any strides."""
from functools import cache
from inspect import signature

import numpy as np
from numba import njit, vectorize


def version(formula, result=None, first=None):
    """formula(elements), made a version; result, first: the dtypes of the result and of the first operand where not theirs."""
    @cache
    def compiled():
        count = len(signature(formula).parameters)
        return vectorize([f"{result or t}({', '.join([first or t] + [t] * (count - 1))})" for t in ("float32", "float64")],
                         cache=True)(formula)

    def run(y, *ins_and_p):
        *ins, p = ins_and_p
        dtype = next(x.dtype for x in reversed(ins) if x is not None) if result else y.dtype
        if dtype not in (np.float32, np.float64):
            return NotImplemented
        with np.errstate(all="ignore"):
            compiled()(*(dtype.type(value) if x is None else x for x, value in zip(ins, p)), y)
    return run


def comparison(formula):
    return version(formula, result="boolean")


@version
def negative(x):
    return -x


@version
def abs(x):
    return np.abs(x)


@version
def sign(x):
    return 1 if x > 0 else -1 if x < 0 else 0 if x == 0 else x


@version
def sqrt(x):
    return np.sqrt(x)


@version
def square(x):
    return x * x


@version
def reciprocal(x):
    return 1 / x


@version
def floor(x):
    return np.floor(x)


@version
def ceil(x):
    return np.ceil(x)


@version
def trunc(x):
    return np.trunc(x)


@version
def exp(x):
    return np.exp(x)


@version
def log(x):
    return np.log(x)


@version
def add(x1, x2):
    return x1 + x2


@version
def subtract(x1, x2):
    return x1 - x2


@version
def multiply(x1, x2):
    return x1 * x2


@version
def divide(x1, x2):
    return x1 / x2


@version
def maximum(x1, x2):
    return larger(x1, x2)


@version
def minimum(x1, x2):
    return -larger(-x1, -x2)


@version
def clip(x, low, high):
    return -larger(-larger(x, low), -high)


@version
def prelu(x, weight):
    return x * weight if x < 0 else x


@version
def prelu_backward(g, x, weight):
    return g * weight if x <= 0 else g


@comparison
def equal(x1, x2):
    return x1 == x2


@comparison
def not_equal(x1, x2):
    return x1 != x2


@comparison
def less(x1, x2):
    return x1 < x2


@comparison
def less_equal(x1, x2):
    return x1 <= x2


@comparison
def greater(x1, x2):
    return x1 > x2


@comparison
def greater_equal(x1, x2):
    return x1 >= x2


def choice(condition, x1, x2):
    return x1 if condition else x2


where = version(choice, first="boolean")


@njit
def larger(a, b):
    """The larger of two, NaN where either is."""
    return a if a > b or a != a else b
