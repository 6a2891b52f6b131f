"""Switches that hold for one thread: is the tape running, are gradients checked for NaN."""
import os
import threading
from functools import wraps
from inspect import isgeneratorfunction

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

    def __new__(cls, function=None):
        """no_grad() is a switch; no_grad(function), which is what @no_grad does, the function wrapped."""
        self = super().__new__(cls)
        if not callable(function):
            return self
        self.__init__()
        return self(function)

    def __init__(self):
        self._before = []

    def __enter__(self):
        paused.append(self)
        self._before.append(getattr(state, self.field))
        setattr(state, self.field, self.value)
        return self

    def __exit__(self, *exception):
        setattr(state, self.field, self._before.pop())
        paused.remove(self)

    def again(self):
        """Another switch like this one."""
        return type(self)()

    def __call__(self, function):
        if isgeneratorfunction(function):
            @wraps(function)
            def switched(*args, **kwargs):
                """The generator's own code runs switched, that between its values does not."""
                generator, send = function(*args, **kwargs), None
                while True:
                    try:
                        with self.again():
                            value = generator.send(send)
                    except StopIteration as end:
                        return end.value
                    send = yield value
        else:
            @wraps(function)
            def switched(*args, **kwargs):
                with self.again():
                    return function(*args, **kwargs)
        return switched


class no_grad(_Switch):
    """`with no_grad():` or `@no_grad()`: operations are not recorded, so nothing is kept for backward."""

    value = False


class enable_grad(_Switch):
    """Records again inside a `no_grad` block."""


class inference_mode(_Switch):
    """`with inference_mode():` or `@inference_mode()`: no_grad, under the name for code that never goes back.

    mode False: recording stays as it is.
    """

    def __new__(cls, mode=True):
        return super().__new__(cls, mode)

    def __init__(self, mode=True):
        super().__init__()
        self.mode = mode

    def __enter__(self):
        self.value = state.recording and not self.mode
        return super().__enter__()

    def again(self):
        return inference_mode(self.mode)


class _Set(_Switch):
    """A switch that is set at once, as a statement; in a `with` block until its end, as a decorator in each call alone."""

    usual, lists = True, (paused,)  # the value that costs nothing; where this thread is entered as long as it has another

    def __new__(cls, *options):
        return super().__new__(cls)

    def __init__(self, mode):
        self.mode, self.before = bool(mode), getattr(state, self.field)
        self.set(self.mode)

    def set(self, value):
        setattr(state, self.field, value)
        thread = self.field, threading.get_ident()
        for entries in self.lists:
            if thread in entries:
                entries.remove(thread)
            if value != self.usual:
                entries.append(thread)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.set(self.before)

    def __call__(self, function):
        self.set(self.before)
        return super().__call__(function)

    def again(self):
        return type(self)(self.mode)


class set_grad_enabled(_Set):
    """`set_grad_enabled(mode)`, or `with set_grad_enabled(mode):`: whether operations are recorded."""


watchers = []  # the detect_anomaly blocks that are open in any thread: nobody else looks at state.anomaly at every call


class detect_anomaly(_Switch):
    """Raises as soon as backward makes a NaN, and shows where the operation at fault was called. Slow: for debugging.

    check_nan False: nothing is looked for.
    """

    field = "anomaly"

    def __new__(cls, check_nan=True):
        return super().__new__(cls, check_nan)

    def __init__(self, check_nan=True):
        super().__init__()
        self.value = self.check_nan = check_nan

    def __enter__(self):
        watchers.append(self)
        return super().__enter__()

    def __exit__(self, *exception):
        watchers.remove(self)
        super().__exit__(*exception)

    def again(self):
        return detect_anomaly(self.check_nan)


class set_detect_anomaly(_Set):
    """`set_detect_anomaly(mode)`, or `with set_detect_anomaly(mode):`: detect_anomaly as a switch."""

    field, usual, lists = "anomaly", False, (watchers,)

    def __init__(self, mode, check_nan=True):
        super().__init__(mode and check_nan)


def is_grad_enabled():
    """Whether operations of this thread are recorded."""
    return state.recording
