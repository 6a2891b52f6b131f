"""Tables of vectors."""
from ..ops import empty
from ..ops.embedding import check_padding
from . import functional as F
from . import init
from .linear import check_sizes
from .module import Module
from .parameter import Parameter


class Embedding(Module):
    """The rows of a table whose numbers the input holds. Shapes: integers (...) -> (..., embedding_dim).

    padding_idx: a row that starts as zeros and gets no gradient. max_norm: rows that are read are scaled down, in place, to
    this norm of order norm_type. scale_grad_by_freq: a row's gradient is divided by how often it was read. sparse is accepted
    for PyTorch's sake. Initial values: standard normal. Raises ValueError for a number that is no row's.
    """

    def __init__(self, num_embeddings, embedding_dim, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False,
                 sparse=False, _weight=None, _freeze=False, device=None, dtype=None):
        super().__init__()
        self.make_table(num_embeddings, embedding_dim, padding_idx, _weight, _freeze, device, dtype)
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq, self.sparse = scale_grad_by_freq, sparse

    def make_table(self, rows, size, padding_idx, given, freeze, device, dtype):
        """The weight: new, or a given tensor. Raises ValueError where it does not fit."""
        name = type(self).__name__
        check_sizes(name, num_embeddings=rows, embedding_dim=size)
        check_padding(name, padding_idx, rows)
        self.num_embeddings, self.embedding_dim = rows, size
        self.padding_idx = None if padding_idx is None else padding_idx % rows
        if given is None:
            self.weight = Parameter(empty((rows, size), dtype=dtype, device=device), requires_grad=not freeze)
            self.reset_parameters()
            return
        if given.shape != (rows, size):
            raise ValueError(f"{name}: _weight {given.shape}: {(rows, size)} expected")
        self.weight = Parameter(given, requires_grad=not freeze)

    @classmethod
    def from_pretrained(cls, embeddings, freeze=True, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False,
                        sparse=False):
        """A table with the values of a tensor (num_embeddings, embedding_dim); freeze: it is not trained."""
        table = embeddings.detach()
        return cls(*table.shape, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, table, freeze)

    def reset_parameters(self):
        """Draws new initial values."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0

    def forward(self, input):
        return F.embedding(input, self.weight, self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq,
                           self.sparse)

    def extra_repr(self):
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class EmbeddingBag(Embedding):
    """The sum, mean or largest value of the rows whose numbers each bag of the input holds: see functional.embedding_bag.

    Shapes: integers (B, N), or (N,) and offsets (B,) -> (B, embedding_dim). mode: 'sum', 'mean' or 'max'. The other options:
    as Embedding's; numbers padding_idx are left out.
    """

    def __init__(self, num_embeddings, embedding_dim, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, mode="mean",
                 sparse=False, _weight=None, include_last_offset=False, padding_idx=None, device=None, dtype=None):
        super().__init__(num_embeddings, embedding_dim, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, _weight,
                         device=device, dtype=dtype)
        if mode not in ("sum", "mean", "max"):
            raise ValueError(f"EmbeddingBag: mode={mode!r}: 'sum', 'mean' or 'max' expected")
        self.mode, self.include_last_offset = mode, include_last_offset

    @classmethod
    def from_pretrained(cls, embeddings, freeze=True, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, mode="mean",
                        sparse=False, include_last_offset=False, padding_idx=None):
        """A table with the values of a tensor (num_embeddings, embedding_dim); freeze: it is not trained."""
        made = cls(*embeddings.shape, max_norm, norm_type, scale_grad_by_freq, mode, sparse, embeddings.detach(),
                   include_last_offset, padding_idx)
        made.weight.requires_grad = not freeze
        return made

    def forward(self, input, offsets=None, per_sample_weights=None):
        return F.embedding_bag(input, self.weight, offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.mode,
                               self.sparse, per_sample_weights, self.include_last_offset, self.padding_idx)
