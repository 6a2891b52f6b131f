# The fields of Node when node.py is compiled; interpreted, nobody reads this.
cimport cython

from .tensor cimport Cell, Fields

@cython.final
@cython.freelist(512)
cdef class Node:
    cdef public str name
    cdef public object rule, saved, out, noted, cells, hooks, trace
    cdef public list edges
    cdef public long long sequence
    cdef public Py_ssize_t n_outputs, changes
    cdef object __weakref__

    @cython.locals(changes=Py_ssize_t)
    cpdef Py_ssize_t count_changes(self) except -1
