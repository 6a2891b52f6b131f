"""minidl.compile: a model traced once and run as a flat list of kernel calls on memory that was laid out beforehand.

trace.py writes the steps down, passes.py makes them fewer, prepared.py lays out their memory and runs them.
"""
from .compiled import Compiled, compile

__all__ = ["Compiled", "compile"]
