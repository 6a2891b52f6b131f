"""What runs around a module's forward and backward when someone asked to watch or change it."""
import warnings

from ..autograd import Tensor, op


class Hooks:
    """The hooks of one module. A module without any has none of these, so that calling it costs nothing more.

    before, after: (hook, whether it takes the keyword arguments too, whether it runs after an error too).
    """

    def __init__(self):
        self.before, self.after, self.backward_before, self.backward = [], [], [], []

    def call(self, module, args, kwargs):
        """module.forward with the hooks around it, in PyTorch's order."""
        waiting = [entry for entry in self.after if entry[2]]  # those that run whatever happens
        try:
            return self.around(module, args, kwargs, waiting)
        except Exception:
            for hook, with_kwargs, _ in tuple(waiting):
                try:
                    hook(module, args, kwargs, None) if with_kwargs else hook(module, args, None)
                except Exception as error:  # the first error is the one to be told
                    warnings.warn(f"forward hook of {type(module).__name__}, always_call: {error!r}", stacklevel=2)
            raise

    def around(self, module, args, kwargs, waiting):
        """The call itself; hooks that ran are taken off `waiting`."""
        for hook, with_kwargs, _ in tuple(self.before):
            changed = hook(module, args, kwargs) if with_kwargs else hook(module, args)
            if changed is None:
                continue
            if with_kwargs:
                if not isinstance(changed, tuple) or len(changed) != 2:
                    raise TypeError(f"forward pre-hook of {type(module).__name__}, with_kwargs: a {type(changed).__name__} "
                                    "returned: None or (args, kwargs) expected")
                args, kwargs = changed
            else:
                args = changed if isinstance(changed, tuple) else (changed,)
        watched = self.backward or self.backward_before
        watch = Watch(module, tuple(self.backward_before), tuple(self.backward)) if watched else None
        if watch:
            args = watch.inputs(args)
        result = module.forward(*args, **kwargs)
        for entry in tuple(self.after):
            hook, with_kwargs, _ = entry
            if entry in waiting:
                waiting.remove(entry)
            changed = hook(module, args, kwargs, result) if with_kwargs else hook(module, args, result)
            if changed is not None:
                result = changed
        return watch.outputs(result) if watch else result


class StateHooks:
    """The hooks of one module, or of one optimizer, around state_dict and load_state_dict."""

    def __init__(self):
        self.save_before, self.save_after, self.load_before, self.load_after = [], [], [], []


class HookHandle:
    """Takes a hook away again: by remove(), or at the end of a `with` block."""

    def __init__(self, owner, hooks, hook):
        self._owner, self._hooks, self._hook = owner, hooks, hook

    def remove(self):
        if self._hook in self._hooks:
            self._hooks.remove(self._hook)
        for kind in ("_hooks", "_state_hooks"):
            every = getattr(self._owner, kind, None)
            if every is not None and not any(vars(every).values()):
                setattr(self._owner, kind, None)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.remove()


class Watch:
    """Backward hooks of one call: sees the gradients of the outputs, then those of the inputs, and calls the hooks."""

    def __init__(self, module, before, hooks):
        self.module, self.before, self.hooks = module, before, hooks
        self.count = 0
        self.places = ()  # which arguments have gradients
        self.grad_output = None

    def inputs(self, args):
        self.count = len(args)
        self.places = [i for i, x in enumerate(args) if isinstance(x, Tensor) and x.requires_grad]
        if not self.places:
            return args
        args = list(args)
        for i, x in zip(self.places, tapped([args[i] for i in self.places], self.inputs_known)):
            args[i] = x
        return tuple(args)

    def outputs(self, result):
        outputs = list(result) if isinstance(result, tuple) else [result]
        places = [i for i, y in enumerate(outputs) if isinstance(y, Tensor) and y.requires_grad]
        if not places:
            return result

        def known(gradients):
            full = [None] * len(outputs)
            for i, g in zip(places, gradients):
                full[i] = g
            self.grad_output = self.changed(tuple(full))
            if not self.places and self.hooks:
                self.run((None,) * self.count)
            return tuple(self.grad_output[i] for i in places)

        for i, y in zip(places, tapped([outputs[i] for i in places], known)):
            outputs[i] = y
        return tuple(outputs) if isinstance(result, tuple) else outputs[0]

    def changed(self, grad_output):
        """The gradients of the outputs behind the hooks that run before backward."""
        for hook in self.before:
            given = hook(self.module, grad_output)
            if given is not None:
                given = given if isinstance(given, tuple) else (given,)
                if len(given) != len(grad_output):
                    raise ValueError(f"backward pre-hook of {type(self.module).__name__}: {len(given)} gradients returned for "
                                     f"{len(grad_output)} outputs")
                grad_output = given
        return grad_output

    def inputs_known(self, gradients):
        full = [None] * self.count
        for i, g in zip(self.places, gradients):
            full[i] = g
        full = self.run(tuple(full))
        return tuple(full[i] for i in self.places)

    def run(self, grad_input):
        for hook in self.hooks:
            changed = hook(self.module, grad_input, self.grad_output)
            if changed is not None:
                grad_input = changed if isinstance(changed, tuple) else (changed,)
                if len(grad_input) != self.count:
                    raise ValueError(f"backward hook of {type(self.module).__name__}: {len(grad_input)} gradients returned "
                                     f"for {self.count} inputs")
        return grad_input


def tapped(tensors, callback):
    """The tensors passed through `tap`, known as views of the same memory."""
    taps = tap(*tensors, callback=callback)
    for x, y in zip(tensors, taps):
        y._share(x)
    return taps


@op
def tap(*arrays, callback):
    """The arrays as they are; in backward, callback(all their gradients) may replace these. d/darrays = 1. Shapes: kept."""
    return tuple(array.view() for array in arrays)


@tap.vjp
def tap_vjp(g, callback):
    return tuple(callback(g if isinstance(g, tuple) else (g,)))
