"""Linear in each of two inputs."""
from .linear import linear
from .shape import expand_dims, reshape


def bilinear(input1, input2, weight, bias=None):
    """x1^T W_o x2 + b_o for each output o: linear in the products of all pairs of features.

    Shapes: (..., I), (..., J), weight (O, I, J), bias (O,) -> (..., O). Raises ValueError for shapes that do not fit,
    TypeError for dtypes that differ.
    """
    one, two, pair = tuple(input1.shape), tuple(input2.shape), tuple(weight.shape)
    if len(pair) != 3 or one[:-1] != two[:-1] or one[-1:] + two[-1:] != pair[1:]:
        raise ValueError(f"bilinear: input1 {one}, input2 {two}, weight {pair}: (..., I), (..., J), (O, I, J) expected")
    if input1.dtype != weight.dtype or input2.dtype != weight.dtype:
        raise TypeError(f"bilinear: input1 {input1.dtype}, input2 {input2.dtype}, weight {weight.dtype}: one dtype expected")
    size = pair[1] * pair[2]
    products = expand_dims(input1, -1) * expand_dims(input2, -2)
    return linear(reshape(products, (*one[:-1], size)), reshape(weight, (pair[0], size)), bias)


__all__ = ["bilinear"]
