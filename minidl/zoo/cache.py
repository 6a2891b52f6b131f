"""Writing text with a language model: what it remembers of the tokens it has read, so that the next one costs one row instead
of all; and how that one is drawn."""
import numpy as np

from ..autograd import no_grad
from ..autograd.tensor import wrap
from ..ops import concat
from ..random import default_generator


class KeyValueCache:
    """The keys and values of up to `size` positions, of one attention layer. length: how many there are."""

    def __init__(self, size):
        self.size, self.length = size, 0
        self.k = self.v = None

    def append(self, k, v):
        """Adds k and v, (N, H, T, D), at the end. Returns all keys and values so far, (N, H, length, D), as views.

        Raises ValueError where there is no room.
        """
        start, length = self.length, self.length + k.shape[2]
        if length > self.size:
            raise ValueError(f"KeyValueCache: {length} positions: at most {self.size} expected")
        if self.k is None:
            self.k, self.v = (np.empty((*x.shape[:2], self.size, x.shape[3]), x.dtype) for x in (k, v))
        self.length = length
        self.k[:, :, start:length], self.v[:, :, start:length] = k.array, v.array
        return wrap(self.k[:, :, :length]), wrap(self.v[:, :, :length])

    def clear(self):
        """Forgets all positions."""
        self.length = 0


def sample(logits, temperature=1.0, top_k=None):
    """One token for each row of logits (B, V), drawn from softmax(logits / temperature) -> integers (B, 1).

    temperature 0: the likeliest. top_k: only the so many likeliest can be drawn. Raises ValueError for a temperature below 0
    or a top_k below 1.
    """
    if temperature < 0 or (top_k is not None and top_k < 1):
        raise ValueError(f"sample: temperature={temperature!r}, top_k={top_k!r}: at least 0, and at least 1 or None, expected")
    x = logits.numpy().astype(np.float64)
    if temperature == 0:
        return wrap(np.argmax(x, axis=-1)[:, None])
    if top_k is not None and top_k < x.shape[-1]:
        x = np.where(x < np.partition(x, -top_k, axis=-1)[:, -top_k, None], -np.inf, x)
    # the largest of logits with Gumbel noise is a draw from their softmax (Gumbel, 1954)
    noise = -np.log(default_generator.numpy.standard_exponential(x.shape))
    return wrap(np.argmax(x / temperature + noise, axis=-1)[:, None])


@no_grad()
def generate(model, idx, max_new_tokens, caches, temperature=1.0, top_k=None):
    """idx (B, T) and max_new_tokens more, each drawn from softmax(logits / temperature), of the top_k likeliest alone if
    given; temperature 0 takes the likeliest. model(idx, caches=caches) gives logits (B, T, V) and something else; it is run as
    it is: model.eval() first. A full window is read anew without its oldest token, because its positions count from there.
    """
    seen = idx[:, -model.block_size:]
    for _ in range(max_new_tokens):
        if caches[0].length == model.block_size:
            seen = idx[:, -model.block_size:]
            for cache in caches:
                cache.clear()
        logits, _ = model(seen, caches=caches)
        seen = sample(logits[:, -1], temperature, top_k)
        idx = concat([idx, seen], 1)
    return idx
