# cython: language_level=3
"""The compiled twin of edge.py: arrays of NumPy are read as the C structs that they are."""
cimport cython
cimport numpy as cnp
from cpython.object cimport PyObject

cdef extern from *:
    """
    #define descriptor(array) ((PyObject *)PyArray_DESCR(array))
    #define kind_of(array) ((Py_UCS4)PyArray_DESCR(array)->kind)
    """
    PyObject *descriptor(cnp.ndarray array)
    Py_UCS4 kind_of(cnp.ndarray array)

cnp.import_array()


cdef class Edge:
    """source: the node that made the input, or the input itself if it is a leaf. index: which of the node's outputs it is.
    shape, dtype: what its gradient must look like.
    """

    @staticmethod
    cdef Edge to(source, Py_ssize_t index, array):
        """The edge to an input that holds `array`."""
        cdef Edge edge = Edge.__new__(Edge)
        cdef cnp.ndarray a
        cdef int d
        edge.source, edge.index = source, index
        if type(array) is cnp.ndarray and cnp.PyArray_NDIM(<cnp.ndarray>array) <= 4:
            a = <cnp.ndarray>array
            edge.ndim, edge.dtype_ = cnp.PyArray_NDIM(a), <object>descriptor(a)
            for d in range(edge.ndim):
                edge.sizes[d] = cnp.PyArray_DIM(a, d)
        else:
            edge.shape_, edge.dtype_ = array.shape, array.dtype
        return edge

    cdef bint fits(self, array) except -1:
        """Whether an array looks like a gradient of the input."""
        cdef cnp.ndarray a
        cdef int d
        if type(array) is not cnp.ndarray or self.shape_ is not None:
            return array.shape == self.shape and array.dtype == self.dtype_
        a = <cnp.ndarray>array
        if cnp.PyArray_NDIM(a) != self.ndim:
            return False
        for d in range(self.ndim):
            if cnp.PyArray_DIM(a, d) != self.sizes[d]:
                return False
        return descriptor(a) == <PyObject *>self.dtype_ or array.dtype == self.dtype_

    @staticmethod
    cdef Py_UCS4 kind(array) except? 0:
        """The kind of number that an array holds: 'f' for a floating-point one."""
        return kind_of(<cnp.ndarray>array) if type(array) is cnp.ndarray else array.dtype.kind

    @property
    def shape(self):
        return tuple([self.sizes[d] for d in range(self.ndim)]) if self.shape_ is None else self.shape_

    @property
    def dtype(self):
        return self.dtype_
