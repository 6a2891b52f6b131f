"""Einstein summation. Its derivative by an operand is an Einstein summation again, with the letters changed about."""
import numpy as np

from ..autograd import op
from .elementwise import conj
from .index import diagonal
from .shape import broadcast_to, expand_dims


def einsum(equation, *operands):
    """Sums of products named by letters, one per axis: einsum('bij,bjk->bik', x, y) is a batch of matrix products.

    A letter missing at the right of -> is summed over; without -> those that occur once are kept, in alphabetic order. `...`
    stands for axes that broadcast; a letter twice in an operand means its diagonal. d/dx: the same with x's letters and the
    result's exchanged. Raises ValueError where the letters do not fit the shapes.
    """
    if len(operands) == 1 and isinstance(operands[0], (tuple, list)):
        operands = operands[0]
    inputs, output = _parse(equation, operands)
    plain = []
    for x, letters in zip(operands, inputs):
        for letter in dict.fromkeys(letters):
            while letters.count(letter) > 1:
                first = letters.index(letter)
                second = letters.index(letter, first + 1)
                x = diagonal(x, 0, first, second)
                letters = letters[:first] + letters[first + 1:second] + letters[second + 1:] + letter
        plain.append((x, letters))
    return contract(*[x for x, _ in plain], inputs=tuple(letters for _, letters in plain), output=output)


@op
def contract(*arrays, inputs, output):
    """einsum without `...` and without a letter twice in an operand. d/dx: contraction of g with the other operands.

    Shapes: one axis per letter of `inputs` and of `output`; sizes of one broadcast.
    """
    return np.einsum(f"{','.join(inputs)}->{output}", *arrays, optimize=len(arrays) > 1)


@contract.vjp
def contract_vjp(g, arrays, inputs, output, need):
    gradients = []
    for i, wanted in enumerate(need):
        if not wanted:
            gradients.append(None)
            continue
        others = [x for j, x in enumerate(arrays) if j != i]
        letters = [s for j, s in enumerate(inputs) if j != i]
        present = "".join(c for c in inputs[i] if c in output or any(c in s for s in letters))
        dx = contract(g, *others, inputs=(output, *letters), output=present)
        alone = tuple(k for k, c in enumerate(inputs[i]) if c not in present)  # summed in this operand only
        if alone:
            dx = expand_dims(dx, alone)
        shape = tuple(m if n == 1 else n for m, n in zip(arrays[i].shape, dx.shape))
        if dx.shape != shape:
            dx = broadcast_to(dx, shape)
        gradients.append(dx)
    return tuple(gradients)


@contract.complex_vjp
def contract_complex_vjp(g, arrays, inputs, output, need):
    return contract_vjp(g, [conj(x) for x in arrays], inputs, output, need)


def _parse(equation, operands):
    """The letters of each operand and of the result, with letters of their own for the axes of `...`."""
    left, arrow, output = equation.replace(" ", "").partition("->")
    inputs = left.split(",")
    if len(inputs) != len(operands):
        raise ValueError(f"einsum: {equation!r} names {len(inputs)} operands: {len(operands)} given")
    letters = {c for c in equation if c not in " ,.->"}
    spare = [chr(c) for c in (*range(65, 91), *range(97, 123)) if chr(c) not in letters]
    wide = 0  # axes that `...` stands for, at most
    for s, x in zip(inputs, operands):
        named = len(s.replace("...", ""))
        if ("..." in s and x.ndim < named) or ("..." not in s and x.ndim != named):
            raise ValueError(f"einsum: {equation!r}: operand of shape {x.shape} for {s!r}")
        if "..." in s:
            wide = max(wide, x.ndim - named)
    dots = "".join(spare[:wide])
    inputs = [s.replace("...", dots[wide - (x.ndim - len(s.replace("...", ""))):] if "..." in s else "")
              for s, x in zip(inputs, operands)]
    if arrow:
        output = output.replace("...", dots)
    else:
        joined = "".join(inputs)
        output = dots + "".join(sorted(c for c in set(joined) if joined.count(c) == 1 and c not in dots))
    for c in output:
        if not any(c in s for s in inputs):
            raise ValueError(f"einsum: {equation!r}: {c!r} of the result is in no operand")
    return inputs, output
