"""Linear layers and those that only change the shape."""
from numbers import Integral

from ..ops import empty, flatten, linear, reshape
from ..ops.bilinear import bilinear
from . import init
from .module import Module
from .parameter import Parameter


def check_sizes(name, **sizes):
    """Raises ValueError for a size that is not a whole number of at least 0."""
    for option, size in sizes.items():
        if not isinstance(size, Integral) or size < 0:
            raise ValueError(f"{name}: {option}={size!r}: a whole number of at least 0 expected")


class Linear(Module):
    """y = x weight^T + bias. Shapes: (..., in_features) -> (..., out_features); weight (out_features, in_features).

    Initial values: PyTorch's. Raises ValueError for an input of another size, TypeError for one of another dtype.
    """

    fused_activations = ("relu",)

    def __init__(self, in_features, out_features, bias=True, device=None, dtype=None):
        super().__init__()
        check_sizes("Linear", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(empty((out_features, in_features), dtype=dtype, device=device))
        self.register_parameter("bias", Parameter(empty((out_features,), dtype=dtype, device=device)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self):
        """Draws new initial values."""
        init.default_(self.weight, self.bias)

    def forward(self, input, activation=None):
        return linear(input, self.weight, self.bias, activation)

    def extra_repr(self):
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Bilinear(Module):
    """y_o = x1^T weight_o x2 + bias_o. Shapes: (..., in1_features), (..., in2_features) -> (..., out_features); weight
    (out_features, in1_features, in2_features).

    Initial values: drawn from [-b, b), b = 1 / sqrt(in1_features). Raises ValueError for sizes that do not fit and without a
    feature in the first input.
    """

    def __init__(self, in1_features, in2_features, out_features, bias=True, device=None, dtype=None):
        super().__init__()
        check_sizes("Bilinear", in1_features=in1_features, in2_features=in2_features, out_features=out_features)
        if in1_features == 0:
            raise ValueError("Bilinear: in1_features=0: a whole number above 0 expected")
        self.in1_features, self.in2_features, self.out_features = in1_features, in2_features, out_features
        self.weight = Parameter(empty((out_features, in1_features, in2_features), dtype=dtype, device=device))
        self.register_parameter("bias", Parameter(empty((out_features,), dtype=dtype, device=device)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self):
        """Draws new initial values."""
        bound = self.in1_features ** -0.5
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1, input2):
        return bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self):
        return (f"in1_features={self.in1_features}, in2_features={self.in2_features}, out_features={self.out_features}, "
                f"bias={self.bias is not None}")


class Identity(Module):
    """y = x, whatever arguments it was made with."""

    def __init__(self, *args, **kwargs):
        super().__init__()

    def forward(self, input):
        return input


class Flatten(Module):
    """The axes from start_dim to end_dim as one. Shape: (N, C, H, W) -> (N, C H W) by default."""

    def __init__(self, start_dim=1, end_dim=-1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input):
        return flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self):
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """One axis, dim, as several. Shape: Unflatten(1, (C, H, W)): (N, C H W) -> (N, C, H, W); one size may be -1."""

    def __init__(self, dim, unflattened_size):
        super().__init__()
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def forward(self, input):
        axis = self.dim % input.ndim
        return reshape(input, input.shape[:axis] + self.unflattened_size + input.shape[axis + 1:])

    def extra_repr(self):
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
