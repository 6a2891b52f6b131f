"""Weights that are computed from others before every forward pass, by a hook: weight and spectral normalisation."""
from ...autograd import no_grad
from ...ops import dot, matmul, norm, permute_dims, reshape
from ...ops.distance import normalize
from ...random import randn
from ..conv_nd import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from ..hooks import HookHandle
from ..parameter import Parameter


class Computed:
    """What runs before forward: the attribute `name` of the module becomes `weight(module)`."""

    def __init__(self, name):
        self.name = name

    def __call__(self, module, args):
        setattr(module, self.name, self.weight(module))

    def part(self, module, what):
        """The parameter or buffer that stands beside the weight: weight_g, for example."""
        return getattr(module, f"{self.name}_{what}")

    def attach(self, module, parameters, **buffers):
        """Puts parameters and buffers in the place of the weight."""
        delattr(module, self.name)
        for what, value in parameters.items():
            module.register_parameter(f"{self.name}_{what}", value if isinstance(value, Parameter) else Parameter(value))
        for what, value in buffers.items():
            module.register_buffer(f"{self.name}_{what}", value)
        setattr(module, self.name, self.weight(module, False).detach())
        module.register_forward_pre_hook(self)
        return module

    @no_grad()
    def remove(self, module, *parts):
        """Makes the weight, as it is now, a parameter again."""
        weight = self.weight(module, False).detach()
        for what in ("", *(f"_{part}" for part in parts)):
            delattr(module, self.name + what)
        module.register_parameter(self.name, Parameter(weight))
        HookHandle(module, module._hooks.before, (self, False, False)).remove()
        return module


def found(kind, module, name):
    """The module's hook of a kind for a weight. Raises ValueError where there is none."""
    for hook, *_ in module._hooks.before if module._hooks else ():
        if isinstance(hook, kind) and hook.name == name:
            return hook
    raise ValueError(f"{kind.__name__}: {type(module).__name__} has no {name!r} that is normalised so")


def given(function, module, name):
    """The module's parameter of a name. Raises ValueError where there is none."""
    weight = module._parameters.get(name)
    if weight is None:
        raise ValueError(f"{function}: {type(module).__name__} has no parameter {name!r}: it has "
                         f"{', '.join(module._parameters) or 'none'}")
    return weight


def length(v, dim):
    """The norm over all axes but dim, with ones for those summed over; over all where dim is None."""
    axes = tuple(a for a in range(v.ndim) if dim is None or a != dim % v.ndim)
    return norm(v, 2, axes, keepdims=dim is not None)


class WeightNorm(Computed):
    """weight = g v / |v|, the norm over all axes but dim, or over all where it is None."""

    def __init__(self, name, dim):
        super().__init__(name)
        self.dim = dim

    def weight(self, module, training=True):
        v = self.part(module, "v")
        return v * (self.part(module, "g") / length(v, self.dim))


def weight_norm(module, name="weight", dim=0):
    """Makes a weight the product of a length, `NAME_g`, and a direction, `NAME_v` (Salimans and Kingma, 2016).

    dim: the axis along which lengths differ; None: one length for all. Returns the module. Raises ValueError where it has no
    such weight.
    """
    weight, hook = given("weight_norm", module, name).detach(), WeightNorm(name, None if dim == -1 else dim)
    return hook.attach(module, {"g": length(weight, hook.dim), "v": weight})


def remove_weight_norm(module, name="weight"):
    """Makes a weight an ordinary parameter again. Returns the module. Raises ValueError where it is not normalised."""
    return found(WeightNorm, module, name).remove(module, "g", "v")


class SpectralNorm(Computed):
    """weight = orig / sigma, sigma its largest singular value, by power iteration with the vectors u and v."""

    def __init__(self, name, n_power_iterations, dim, eps):
        super().__init__(name)
        self.n_power_iterations, self.dim, self.eps = n_power_iterations, dim, eps

    def matrix(self, weight):
        """The weight with the axis dim as rows and all others as columns."""
        axes = (self.dim, *(a for a in range(weight.ndim) if a != self.dim))
        return reshape(permute_dims(weight, axes), (weight.shape[self.dim], -1))

    def weight(self, module, training=None):
        weight = self.part(module, "orig")
        rows, u, v = self.matrix(weight), self.part(module, "u"), self.part(module, "v")
        if module.training if training is None else training:
            with no_grad():
                for _ in range(self.n_power_iterations):
                    v = normalize(matmul(u, rows), axis=0, eps=self.eps)
                    u = normalize(matmul(rows, v), axis=0, eps=self.eps)
                setattr(module, f"{self.name}_u", u)  # new arrays: what backward keeps is not changed
                setattr(module, f"{self.name}_v", v)
        return weight / dot(u, matmul(rows, v))


def spectral_norm(module, name="weight", n_power_iterations=1, eps=1e-12, dim=None):
    """Divides a weight by its largest singular value (Miyato et al., 2018). Returns the module.

    The weight before is `NAME_orig`; each forward pass in training makes n_power_iterations steps towards the singular
    vectors `NAME_u` and `NAME_v`. dim: the axis of the rows; None: 1 for transposed convolutions, else 0.
    Raises ValueError where the module has no such weight and for less than one iteration.
    """
    if n_power_iterations < 1:
        raise ValueError(f"spectral_norm: n_power_iterations={n_power_iterations}: at least 1 expected")
    weight = given("spectral_norm", module, name)
    if dim is None:
        dim = int(isinstance(module, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)))
    hook = SpectralNorm(name, n_power_iterations, dim, eps)
    u, v = (normalize(randn(n, dtype=weight.dtype), axis=0, eps=eps) for n in hook.matrix(weight.detach()).shape)
    return hook.attach(module, {"orig": weight}, u=u, v=v)


def remove_spectral_norm(module, name="weight"):
    """Makes a weight an ordinary parameter again. Returns the module. Raises ValueError where it is not normalised."""
    return found(SpectralNorm, module, name).remove(module, "u", "v", "orig")
