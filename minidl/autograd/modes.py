"""Switches that hold for one thread: is the tape running, are gradients checked for NaN."""
import os
import threading
from functools import wraps

DEBUG_TAPE = os.environ.get("MINIDL_DEBUG", "0") == "2"


class _State(threading.local):
    recording = True
    anomaly = False


state = _State()


paused = []  # an entry for each block and backward, in any thread, that may have switched recording off: while it is empty,
             # all threads record, and state.recording, which costs as much as a small operation's loop, is not looked at


class _Switch:
    """A context manager that sets one field of the state; as a decorator it wraps each call of a function."""

    field, value = "recording", True

    def __init__(self):
        self._before = []

    def __enter__(self):
        paused.append(self)
        self._before.append(getattr(state, self.field))
        setattr(state, self.field, self.value)
        return self

    def __exit__(self, *exception):
        setattr(state, self.field, self._before.pop())
        paused.pop()

    def __call__(self, function):
        @wraps(function)
        def switched(*args, **kwargs):
            with type(self)():
                return function(*args, **kwargs)
        return switched


class no_grad(_Switch):
    """`with no_grad():` or `@no_grad()`: operations are not recorded, so nothing is kept for backward."""

    value = False


class enable_grad(_Switch):
    """Records again inside a `no_grad` block."""


watchers = []  # the detect_anomaly blocks that are open in any thread: nobody else looks at state.anomaly at every call


class detect_anomaly(_Switch):
    """Raises as soon as backward makes a NaN, and shows where the operation at fault was called. Slow: for debugging."""

    field = "anomaly"

    def __enter__(self):
        watchers.append(self)
        return super().__enter__()

    def __exit__(self, *exception):
        watchers.remove(self)
        super().__exit__(*exception)


def is_grad_enabled():
    """Whether operations of this thread are recorded."""
    return state.recording
