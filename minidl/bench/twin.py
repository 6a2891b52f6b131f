"""The same network in PyTorch: a file of `minidl.zoo`, loaded with `torch` in the place of `minidl`.

The files of the zoo use only names that both libraries have. So the peer that a network is timed beside is the very same
source, and a difference in time is one of the libraries alone.
"""
import importlib.util
import sys
from types import ModuleType


class Stand(ModuleType):
    """The package that a twin's relative imports start from: `from .. import nn` finds torch.nn."""

    def __getattr__(self, name):
        import torch

        return getattr(torch, name)


def twin(module: str) -> ModuleType:
    """The zoo's file `module`, such as "resnet", with its networks made of PyTorch's modules.

    Raises ImportError where PyTorch is not installed.
    """
    import torch

    stand = Stand("minidl_in_torch")
    stand.__path__ = []
    path = importlib.util.find_spec(f"minidl.zoo.{module}").origin
    names = {"minidl_in_torch": stand, "minidl_in_torch.nn": torch.nn, "minidl_in_torch.nn.functional": torch.nn.functional}
    sys.modules.update(names)
    try:
        spec = importlib.util.spec_from_file_location(f"minidl_in_torch.zoo.{module}", path)
        made = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(made)
        return made
    finally:
        for name in names:
            del sys.modules[name]
