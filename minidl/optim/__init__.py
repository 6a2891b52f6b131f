"""Optimizers and learning-rate schedulers, with PyTorch's names, arguments and state dicts."""
from . import lr_scheduler
from .adagrad import Adadelta, Adagrad
from .adam import Adam
from .adamax import Adamax, NAdam, RAdam
from .adamw import AdamW
from .optimizer import Optimizer
from .rmsprop import RMSprop
from .sgd import SGD

__all__ = ["SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "Optimizer", "RAdam", "RMSprop", "lr_scheduler"]
