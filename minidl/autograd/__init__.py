"""The tape: Tensor, what is recorded of each operation, and backward."""
from .checkpoint import checkpoint, checkpoint_sequential
from .engine import backward, grad
from .function import Function, once_differentiable
from .gradcheck import gradcheck, gradgradcheck
from .modes import (
    detect_anomaly,
    enable_grad,
    inference_mode,
    is_grad_enabled,
    no_grad,
    set_detect_anomaly,
    set_grad_enabled,
)
from .op import op
from .tensor import Tensor

__all__ = ["Function", "Tensor", "backward", "checkpoint", "checkpoint_sequential", "detect_anomaly", "enable_grad", "grad",
           "gradcheck", "gradgradcheck", "inference_mode", "is_grad_enabled", "no_grad", "once_differentiable", "op",
           "set_detect_anomaly", "set_grad_enabled"]
