"""NumPy's functions, by their names."""
import numpy as np


def version(name):
    """NumPy's function `name` made a version: numbers take the operands' dtype, as in NumPy."""
    function = getattr(np, name)

    def run(y, *ins_and_p):
        *ins, p = ins_and_p
        with np.errstate(all="ignore"):
            function(*(value if x is None else x for x, value in zip(ins, p)), out=y)
    return run


def where(y, condition, x1, x2, p):
    y[...] = np.where(condition, p.x2 if x1 is None else x1, p.x3 if x2 is None else x2)


negative, abs, sign, sqrt, square, reciprocal = map(version, ("negative", "abs", "sign", "sqrt", "square", "reciprocal"))
floor, ceil, trunc, exp, log = map(version, ("floor", "ceil", "trunc", "exp", "log"))
add, subtract, multiply, divide, maximum, minimum = map(
    version, ("add", "subtract", "multiply", "divide", "maximum", "minimum"))
equal, not_equal, less, less_equal, greater, greater_equal = map(
    version, ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"))
clip = version("clip")


def prelu(y, x, weight, p):
    weight = p.x2 if weight is None else weight
    x = p.x1 if x is None else x
    with np.errstate(invalid="ignore"):  # infinity times 0, where it is not wanted
        y[...] = np.where(x < 0, x * weight, x)


def prelu_backward(y, g, x, weight, p):
    y[...] = np.where(x <= 0, g * (p.x3 if weight is None else weight), g)
