"""Parameter: a tensor that a module learns. Buffer: one that it keeps."""
from ..autograd import Tensor


class Parameter(Tensor):
    """A leaf tensor that becomes one of a module's `parameters()` when it is made an attribute of the module.

    data: as for `minidl.tensor`, but arrays and tensors are shared, not copied. Raises TypeError for integers unless
    requires_grad is False.
    """

    def __init__(self, data, requires_grad=True):
        super().__init__(data)
        self.requires_grad = requires_grad

    def __repr__(self):
        return f"Parameter containing:\n{super().__repr__()}"


class Buffer(Tensor):
    """A tensor that becomes one of a module's `buffers()` when it is made an attribute of the module.

    persistent: it is part of state_dict().
    """

    def __init__(self, data, *, persistent=True):
        super().__init__(data)
        self.persistent = persistent
