"""What a language model remembers of the tokens it has read, so that the next one costs one row instead of all."""
import numpy as np


class KeyValueCache:
    """The keys and values of up to `size` positions, of one attention layer. length: how many there are."""

    def __init__(self, size):
        self.size, self.length = size, 0
        self.k = self.v = None

    def append(self, k, v):
        """Adds k and v, (N, H, T, D), at the end. Returns all keys and values so far, (N, H, length, D), as views."""
        start, self.length = self.length, self.length + k.shape[2]
        if self.length > self.size:
            raise ValueError(f"KeyValueCache: {self.length} positions: at most {self.size} expected")
        if self.k is None:
            self.k, self.v = (np.empty((*x.shape[:2], self.size, x.shape[3]), x.dtype) for x in (k, v))
        for all_, new in ((self.k, k), (self.v, v)):
            all_[:, :, start:self.length] = new.array
        return type(k)(self.k[:, :, :self.length]), type(v)(self.v[:, :, :self.length])
