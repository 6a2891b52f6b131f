"""Pruning: weights times a mask of zeros and ones, computed before every forward pass.

    prune.l1_unstructured(layer, "weight", amount=0.3)

What is learned is then `weight_orig`, the mask is the buffer `weight_mask`, and `weight` is their product. Pruned again, a
weight loses of what is left. `remove` makes the product an ordinary parameter.
"""
from numbers import Integral, Real

from ...autograd import no_grad
from ...ops import argsort, concat, ones_like
from ...random import rand
from ..hooks import HookHandle

__all__ = ["BasePruningMethod", "CustomFromMask", "Identity", "L1Unstructured", "LnStructured", "PruningContainer",
           "RandomStructured", "RandomUnstructured", "custom_from_mask", "global_unstructured", "identity", "is_pruned",
           "l1_unstructured", "ln_structured", "random_structured", "random_unstructured", "remove"]


def checked_amount(amount):
    """An amount: a share in [0, 1] as a float, or a whole number of parts. Raises TypeError and ValueError."""
    if not isinstance(amount, Real):
        raise TypeError(f"prune: amount={amount!r}: a number expected")
    if amount < 0 or (not isinstance(amount, Integral) and amount > 1):
        raise ValueError(f"prune: amount={amount!r}: a whole number of at least 0, or a float in [0, 1], expected")
    return amount


def count(amount, size):
    """How many of `size` parts are pruned. Raises ValueError for more than there are."""
    if isinstance(amount, Integral) and amount > size:
        raise ValueError(f"prune: amount={amount}: at most {size}, what is left, expected")
    return amount if isinstance(amount, Integral) else round(amount * size)


def without_smallest(scores, mask, number):
    """The mask with zeros at the smallest scores, so many."""
    flat = mask.clone().reshape(-1)
    flat[argsort(scores.reshape(-1))[:number]] = 0
    return flat.reshape(mask.shape)


class BasePruningMethod:
    """The base of all methods. A subclass says what it prunes, PRUNING_TYPE ('unstructured', 'structured' with an attribute
    dim, or 'global'), and in compute_mask(t, default_mask) which mask remains of default_mask for a tensor t.

    It is the hook before forward that computes the pruned tensor.
    """

    PRUNING_TYPE = None
    _tensor_name = None

    def compute_mask(self, t, default_mask):
        raise NotImplementedError(f"{type(self).__name__}: a pruning method must define compute_mask(t, default_mask)")

    def __call__(self, module, inputs):
        setattr(module, self._tensor_name, self.apply_mask(module))

    def apply_mask(self, module):
        """The module's original tensor times its mask."""
        original = getattr(module, f"{self._tensor_name}_orig")
        return original * getattr(module, f"{self._tensor_name}_mask").astype(original.dtype)

    @no_grad()
    def prune(self, t, default_mask=None, importance_scores=None):
        """A tensor times the mask that remains of default_mask, by the scores in its place."""
        scores = checked_scores(importance_scores, t)
        return t * self.compute_mask(scores, ones_like(t) if default_mask is None else default_mask)

    @classmethod
    def apply(cls, module, name, *args, importance_scores=None, **kwargs):
        """Prunes a parameter of a module by a method made of the arguments, which is returned; with one that is there before,
        a PruningContainer of both is. Raises, and changes nothing, where the mask cannot be computed.
        """
        old, method = hook_of(module, name), cls(*args, **kwargs)
        method._tensor_name, hook = name, method
        if old is not None:
            hook = PruningContainer(*(old if isinstance(old, PruningContainer) else (old,)), method)
            hook._tensor_name = name
        original = getattr(module, name if old is None else f"{name}_orig", None)
        if original is None:
            raise ValueError(f"prune: {type(module).__name__} has no parameter {name!r}")
        mask = ones_like(original.detach()) if old is None else getattr(module, f"{name}_mask")
        with no_grad():
            mask = hook.compute_mask(checked_scores(importance_scores, original).detach(), mask).astype(original.dtype)
        if old is None:
            delattr(module, name)
            module.register_parameter(f"{name}_orig", original)
        else:
            unhook(module, old)
        module.register_buffer(f"{name}_mask", mask)
        setattr(module, name, hook.apply_mask(module))
        module.register_forward_pre_hook(hook)
        return hook

    def remove(self, module):
        """Makes the pruned tensor a parameter again, the same object."""
        name = self._tensor_name
        original = getattr(module, f"{name}_orig")
        original.data = self.apply_mask(module).detach()
        for each in (name, f"{name}_orig", f"{name}_mask"):
            delattr(module, each)
        module.register_parameter(name, original)
        unhook(module, self)


def checked_scores(scores, t):
    """What decides: the scores, or else the tensor itself. Raises ValueError for another shape."""
    if scores is not None and scores.shape != t.shape:
        raise ValueError(f"prune: importance_scores {tuple(scores.shape)}: the tensor's shape {tuple(t.shape)} expected")
    return t if scores is None else scores


def unhook(module, hook):
    HookHandle(module, module._hooks.before, (hook, False, False)).remove()


def hook_of(module, name):
    """The method by which a tensor is pruned, or None."""
    for hook, *_ in module._hooks.before if module._hooks else ():
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name:
            return hook
    return None


class PruningContainer(BasePruningMethod):
    """Methods for one tensor, the first one first. compute_mask is that of the last, for what the mask has left."""

    def __init__(self, *methods):
        self._methods = []
        for method in methods:
            self._tensor_name = self._tensor_name or method._tensor_name
            self.add_pruning_method(method)

    def add_pruning_method(self, method):
        """Adds a method. Raises TypeError for what is none, ValueError for one of another tensor."""
        if not isinstance(method, BasePruningMethod):
            raise TypeError(f"PruningContainer: a {type(method).__name__} given: a BasePruningMethod expected")
        if method._tensor_name != self._tensor_name:
            raise ValueError(f"PruningContainer: a method for {method._tensor_name!r}: one for {self._tensor_name!r} expected")
        self._methods.append(method)

    def __len__(self):
        return len(self._methods)

    def __iter__(self):
        return iter(self._methods)

    def __getitem__(self, index):
        return self._methods[index]

    def compute_mask(self, t, default_mask):
        method = self._methods[-1]
        mask = default_mask.clone().astype(t.dtype)
        if method.PRUNING_TYPE == "unstructured":
            left = mask != 0
        elif method.PRUNING_TYPE == "structured":
            axis = method.dim % t.ndim
            others = tuple(a for a in range(t.ndim) if a != axis)
            left = (slice(None),) * axis + ((mask != 0).any(axis=others),)
        elif method.PRUNING_TYPE == "global":
            left = (slice(None),) * t.ndim
        else:
            raise ValueError(f"prune: PRUNING_TYPE={method.PRUNING_TYPE!r}: 'unstructured', 'structured' or 'global' expected")
        mask[left] = method.compute_mask(t[left], mask[left])
        return mask


class Identity(BasePruningMethod):
    """Prunes nothing: a mask of ones."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t, default_mask):
        return default_mask


class RandomUnstructured(BasePruningMethod):
    """Prunes elements by chance. amount: how many, or which share."""

    PRUNING_TYPE = "unstructured"

    def __init__(self, amount):
        self.amount = checked_amount(amount)

    def compute_mask(self, t, default_mask):
        return without_smallest(rand(t.shape), default_mask, count(self.amount, t.size))


class L1Unstructured(RandomUnstructured):
    """Prunes the elements nearest to 0."""

    def compute_mask(self, t, default_mask):
        return without_smallest(t.abs(), default_mask, count(self.amount, t.size))


class RandomStructured(BasePruningMethod):
    """Prunes whole slices along an axis, dim, by chance."""

    PRUNING_TYPE = "structured"

    def __init__(self, amount, dim=-1):
        self.amount, self.dim = checked_amount(amount), dim

    def scores(self, t, axis):
        return rand(t.shape[axis])

    def compute_mask(self, t, default_mask):
        if t.ndim < 2:
            raise ValueError(f"prune: shape {tuple(t.shape)}: two axes or more expected for pruning of slices")
        axis = self.dim % t.ndim
        scores, mask = self.scores(t, axis), default_mask.clone()
        mask[(slice(None),) * axis + (argsort(scores)[:count(self.amount, t.shape[axis])],)] = 0
        return mask


class LnStructured(RandomStructured):
    """Prunes the slices whose norm of order n is the smallest."""

    def __init__(self, amount, n, dim=-1):
        super().__init__(amount, dim)
        self.n = n

    def scores(self, t, axis):
        rows = t.moveaxis(axis, 0).reshape(t.shape[axis], -1)
        return rows.norm(float(self.n) if isinstance(self.n, (int, float)) else self.n, 1)


class CustomFromMask(BasePruningMethod):
    """Prunes by a given mask."""

    PRUNING_TYPE = "global"

    def __init__(self, mask):
        self.mask = mask

    def compute_mask(self, t, default_mask):
        return default_mask * self.mask.astype(default_mask.dtype)


def identity(module, name):
    """Makes a parameter a pruned one, of which nothing is pruned. Returns the module, as all of these functions."""
    Identity.apply(module, name)
    return module


def random_unstructured(module, name, amount):
    """Prunes elements of a parameter by chance. amount: how many, or as a float which share of what is left."""
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module, name, amount, importance_scores=None):
    """Prunes the elements nearest to 0, or of the smallest scores."""
    L1Unstructured.apply(module, name, amount, importance_scores=importance_scores)
    return module


def random_structured(module, name, amount, dim):
    """Prunes whole slices along an axis by chance."""
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(module, name, amount, n, dim, importance_scores=None):
    """Prunes the slices along an axis whose norm of order n, or that of whose scores, is the smallest."""
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module, name, mask):
    """Prunes a parameter by a given mask."""
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(parameters, pruning_method, importance_scores=None, **kwargs):
    """Prunes several parameters, (module, name) pairs, as if they were one tensor.

    pruning_method: an unstructured method's class; kwargs: its arguments. importance_scores: {(module, name): scores}.
    """
    parameters, scores = list(parameters), importance_scores or {}
    if pruning_method.PRUNING_TYPE != "unstructured":
        raise TypeError(f"global_unstructured: {pruning_method.__name__} is {pruning_method.PRUNING_TYPE!r}: an unstructured "
                        "method expected")
    tensors = [getattr(module, name).detach() for module, name in parameters]
    masks = [getattr(module, f"{name}_mask", ones_like(t)) for (module, name), t in zip(parameters, tensors)]
    method = pruning_method(**kwargs)
    method._tensor_name = "all"
    with no_grad():
        decide = [checked_scores(scores.get(pair), t).reshape(-1) for pair, t in zip(parameters, tensors)]
        mask = PruningContainer(method).compute_mask(concat(decide), concat([m.reshape(-1) for m in masks]))
    start = 0
    for (module, name), t in zip(parameters, tensors):
        custom_from_mask(module, name, mask[start:start + t.size].reshape(t.shape))
        start += t.size


def remove(module, name):
    """Makes a pruned parameter an ordinary one. Returns the module. Raises ValueError where it is not pruned."""
    hook = hook_of(module, name)
    if hook is None:
        raise ValueError(f"prune.remove: {type(module).__name__} has no {name!r} that is pruned")
    hook.remove(module)
    return module


def is_pruned(module):
    """Whether the module, or one in it, has a pruned parameter."""
    return any(isinstance(hook, BasePruningMethod) for part in module.modules()
               for hook, *_ in (part._hooks.before if part._hooks else ()))
