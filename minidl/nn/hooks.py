"""What runs around a module's forward and backward when someone asked to watch or change it."""
from ..autograd import Tensor, op


class Hooks:
    """The hooks of one module. A module without any has none of these, so that calling it costs nothing more."""

    def __init__(self):
        self.before, self.after, self.backward = [], [], []

    def call(self, module, args, kwargs):
        """module.forward with the hooks around it, in PyTorch's order."""
        for hook in tuple(self.before):
            changed = hook(module, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        watch = Watch(module, tuple(self.backward)) if self.backward else None
        if watch:
            args = watch.inputs(args)
        result = module.forward(*args, **kwargs)
        for hook in tuple(self.after):
            changed = hook(module, args, result)
            if changed is not None:
                result = changed
        return watch.outputs(result) if watch else result


class HookHandle:
    """Takes a hook away again: by remove(), or at the end of a `with` block."""

    def __init__(self, module, hooks, hook):
        self._module, self._hooks, self._hook = module, hooks, hook

    def remove(self):
        if self._hook in self._hooks:
            self._hooks.remove(self._hook)
        every = self._module._hooks
        if every is not None and not (every.before or every.after or every.backward):
            self._module._hooks = None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.remove()


class Watch:
    """Backward hooks of one call: sees the gradients of the outputs, then those of the inputs, and calls the hooks."""

    def __init__(self, module, hooks):
        self.module, self.hooks = module, hooks
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
            self.grad_output = tuple(full)
            if not self.places:
                self.run((None,) * self.count)
            return gradients

        for i, y in zip(places, tapped([outputs[i] for i in places], known)):
            outputs[i] = y
        return tuple(outputs) if isinstance(result, tuple) else outputs[0]

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
