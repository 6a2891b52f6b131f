"""Drawing the next token."""
import numpy as np

from ..autograd.tensor import wrap
from ..random import default_generator


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
