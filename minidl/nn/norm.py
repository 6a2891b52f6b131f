"""Normalisation layers."""
from ..ops import ones, tensor, zeros
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter


class BatchNorm(Module):
    """Each channel, axis 1, with mean 0 and variance 1 over the batch, times weight, plus bias (Ioffe and Szegedy, 2015).

    In training the batch's statistics are used and also averaged: running = (1 - momentum) running + momentum batch, with
    momentum None the mean over all batches; in evaluation these averages are used. affine: weight and bias are there, the
    latter unless bias is False.
    track_running_stats False: the batch's statistics always. Shape: kept. Raises ValueError for another number of axes.
    """

    axes = None  # numbers of axes that an input may have
    fused_activations = ("relu", "relu6")
    optional_state = ("num_batches_tracked",)

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True, device=None, dtype=None,
                 *, bias=True):
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        vector = {"dtype": dtype, "device": device}
        self.register_parameter("weight", Parameter(ones(num_features, **vector)) if affine else None)
        self.register_parameter("bias", Parameter(zeros(num_features, **vector)) if affine and bias else None)
        self.register_buffer("running_mean", zeros(num_features, **vector) if track_running_stats else None)
        self.register_buffer("running_var", ones(num_features, **vector) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", tensor(0) if track_running_stats else None)

    def reset_running_stats(self):
        """Forgets the averages."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self):
        """Weight 1, bias 0, and no averages."""
        self.reset_running_stats()
        for parameter, value in ((self.weight, 1), (self.bias, 0)):
            if parameter is not None:
                init.constant_(parameter, value)

    def check(self, x):
        """Raises ValueError for another number of axes or channels."""
        if x.ndim not in self.axes:
            raise ValueError(f"{type(self).__name__}: input {x.shape}: {' or '.join(map(str, self.axes))} axes expected")
        if x.shape[1] != self.num_features:
            raise ValueError(f"{type(self).__name__}: input {x.shape} has {x.shape[1]} channels at axis 1: "
                             f"{self.num_features} expected (channels come first: x.permute(0, 3, 1, 2) turns channels-last "
                             "images)")

    def forward(self, input, activation=None, residual=None):
        """activation 'relu' or 'relu6': that of result + residual, in one go."""
        self.check(input)
        momentum = self.momentum
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if momentum is None:
                momentum = 1 / self.num_batches_tracked.item()
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias,
                            self.training or self.running_mean is None, momentum, self.eps, activation, residual)

    def extra_repr(self):
        return (f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
                f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}")


class BatchNorm1d(BatchNorm):
    __doc__ = f"For (N, C) or (N, C, L). {BatchNorm.__doc__}"
    axes = (2, 3)


class BatchNorm2d(BatchNorm):
    __doc__ = f"For images (N, C, H, W). {BatchNorm.__doc__}"
    axes = (4,)


class BatchNorm3d(BatchNorm):
    __doc__ = f"For volumes (N, C, D, H, W). {BatchNorm.__doc__}"
    axes = (5,)


class SyncBatchNorm(BatchNorm):
    __doc__ = f"""For (N, C, ...): BatchNorm by the class that PyTorch has for several processes. There is one process
    here, and so it computes what BatchNorm does. {BatchNorm.__doc__}"""
    axes = (2, 3, 4, 5)

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True, process_group=None,
                 device=None, dtype=None):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype)

    @classmethod
    def convert_sync_batchnorm(cls, module, process_group=None):
        """The module with each BatchNorm in it, or itself, a SyncBatchNorm of the same parameters and buffers."""
        if isinstance(module, BatchNorm) and not isinstance(module, SyncBatchNorm):
            made = cls(module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats)
            for registry in ("_parameters", "_buffers"):
                for name, tensor in getattr(module, registry).items():
                    setattr(made, name, tensor)
            return made.train(module.training)
        for name, child in module.named_children():
            module._register(module._modules, name, cls.convert_sync_batchnorm(child, process_group))
        return module


class LocalResponseNorm(Module):
    """x / (k + alpha average)**beta, the average of the squares of `size` neighbouring channels (Krizhevsky et al., 2012).

    Shape: (N, C, ...), kept.
    """

    def __init__(self, size, alpha=1e-4, beta=0.75, k=1.0):
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input):
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self):
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class CrossMapLRN2d(LocalResponseNorm):
    """LocalResponseNorm of images over as many channels before as behind: of an even size, one less. Shape: (N, C, H, W)."""

    def forward(self, input):
        channels = (self.size + 1) // 2 * 2 - 1
        return F.local_response_norm(input, channels, self.alpha * channels / self.size, self.beta, self.k)
