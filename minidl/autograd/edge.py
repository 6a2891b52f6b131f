"""How the tape refers to the input of a recorded call. The compiled twin, edge.pyx, reads NumPy's arrays as C structs."""


class Edge:
    """source: the node that made the input, or the input itself if it is a leaf. index: which of the node's outputs it is.
    shape, dtype: what its gradient must look like.
    """

    @staticmethod
    def to(source, index, array):
        """The edge to an input that holds `array`."""
        edge = Edge()
        edge.source, edge.index, edge.shape, edge.dtype = source, index, array.shape, array.dtype
        return edge

    def fits(self, array):
        """Whether an array looks like a gradient of the input."""
        return array.shape == self.shape and array.dtype == self.dtype

    @staticmethod
    def kind(array):
        """The kind of number that an array holds: 'f' for a floating-point one."""
        return array.dtype.kind
