"""Objects that are called like functions. The compiled twin beside it, _quick.pyx, spares what Python spends on a call."""
from types import MethodType


class Quick:
    """A callable: subclasses define `called(args, kwargs)`, with kwargs None or a dict that is theirs.

    As an attribute of a class it is a method, and it is copied and pickled as a function is: by its name.
    """

    def __call__(self, *args, **kwargs):
        return self.called(args, kwargs or None)

    def __get__(self, instance, owner=None):
        return self if instance is None else MethodType(self, instance)

    def __reduce__(self):
        return self.__qualname__
