"""Models as functions of their parameters."""
from contextlib import contextmanager

from ..autograd import no_grad
from ..ops import stack


def functional_call(module, parameter_and_buffer_dicts, args=None, kwargs=None, *, tie_weights=True, strict=False):
    """module(*args, **kwargs) with other tensors in the place of its parameters and buffers, for the time of the call.

    parameter_and_buffer_dicts: name -> tensor, or a sequence of such dicts. args: a tuple, or the only argument.
    tie_weights: a tensor under several names is replaced under all of them by one. strict: all names, and no others, are
    expected, else RuntimeError; otherwise names that the module does not have are left out. Raises KeyError for a name given
    twice.
    """
    given = {}
    for part in [parameter_and_buffer_dicts] if isinstance(parameter_and_buffer_dicts, dict) else parameter_and_buffer_dicts:
        for name, value in part.items():
            if name in given:
                raise KeyError(f"functional_call: {name!r} is given twice")
            given[name] = value
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    with replaced(module, given, tie_weights, strict):
        return module(*args, **(kwargs or {}))


@contextmanager
def replaced(module, given, tie_weights, strict):
    """Inside, the module has other tensors under these names."""
    places = {f"{path}.{name}" if path else name: (part, registry, name)
              for path, part in module.named_modules(remove_duplicate=False)
              for registry in (part._parameters, part._buffers) for name in registry}
    if strict and set(given) != set(places):
        raise RuntimeError(f"functional_call: strict, and missing are {sorted(set(places) - set(given))}, unknown "
                           f"{sorted(set(given) - set(places))}")
    ties = {id(places[name][1][places[name][2]]): value for name, value in given.items() if name in places and tie_weights}
    before = []
    try:
        for key, (part, registry, name) in places.items():
            old = registry[name]
            value = given.get(key, ties.get(id(old)))
            if value is not None:
                before.append((part, registry, name, old))
                put(part, registry, name, value)
        yield
    finally:
        for part, registry, name, old in before:
            put(part, registry, name, old)


def put(part, registry, name, value):
    """The tensor as what the module registers, and as its attribute."""
    registry[name] = value
    if name in part.__dict__:
        object.__setattr__(part, name, value)


def stack_module_state(models):
    """(parameters, buffers) of models of one kind: name -> the tensors of all of them stacked. For vmap of functional_call.

    Raises ValueError for no models or different classes.
    """
    models = list(models)
    if not models or any(type(model) is not type(models[0]) for model in models):
        raise ValueError("stack_module_state: models of one class, at least one, expected")
    with no_grad():
        states = [dict(model.named_parameters()) for model in models], [dict(model.named_buffers()) for model in models]
        parameters, buffers = ({name: stack([state[name] for state in kind]) for name in kind[0]} for kind in states)
    for name, p in models[0].named_parameters():
        parameters[name].requires_grad_(p.requires_grad)
    return parameters, buffers
