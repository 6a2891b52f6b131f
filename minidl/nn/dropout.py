"""Dropout layers (Srivastava et al., 2014): active in training only."""
from . import functional as F
from .module import Module


class DropoutBase(Module):
    """What the layers share: the probability, and the function of the subclass. Raises ValueError unless 0 <= p <= 1."""

    function = None

    def __init__(self, p=0.5, inplace=False):
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p={p!r}: a probability, 0 <= p <= 1, expected")
        self.p, self.inplace = p, inplace

    def forward(self, input):
        return self.function(input, self.p, self.training, self.inplace)

    def extra_repr(self):
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(DropoutBase):
    """Each value is 0 with probability p, else x / (1 - p)."""
    function = staticmethod(F.dropout)


class Dropout1d(DropoutBase):
    """Whole channels of (N, C, L) or (C, L) are 0 with probability p (Tompson et al., 2015)."""
    function = staticmethod(F.dropout1d)


class Dropout2d(DropoutBase):
    """Whole channels of (N, C, H, W) are 0 with probability p; as in PyTorch, three axes are taken as (N, C, L)."""
    function = staticmethod(F.dropout2d)


class Dropout3d(DropoutBase):
    """Whole channels of (N, C, D, H, W) or (C, D, H, W) are 0 with probability p."""
    function = staticmethod(F.dropout3d)


class AlphaDropout(DropoutBase):
    """Dropout to SELU's lower limit that keeps mean 0 and variance 1 (Klambauer et al., 2017)."""
    function = staticmethod(F.alpha_dropout)


class FeatureAlphaDropout(DropoutBase):
    """AlphaDropout of whole channels of (N, C, ...)."""
    function = staticmethod(F.feature_alpha_dropout)
