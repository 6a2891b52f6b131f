cimport cython
cimport numpy as cnp

@cython.final
@cython.freelist(512)
cdef class Edge:
    cdef readonly object source
    cdef readonly Py_ssize_t index
    cdef object dtype_
    cdef object shape_  # None where `sizes` has it
    cdef int ndim
    cdef cnp.npy_intp sizes[4]

    @staticmethod
    cdef Edge to(source, Py_ssize_t index, array)
    cdef bint fits(self, array) except -1
    @staticmethod
    cdef Py_UCS4 kind(array) except? 0
