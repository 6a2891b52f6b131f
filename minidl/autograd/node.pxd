# The fields of Node when node.py is compiled; interpreted, nobody reads this.
cimport cython

@cython.final
@cython.freelist(64)
cdef class Node:
    cdef public str name
    cdef public object rule, saved, versions, hooks, trace
    cdef public list edges
    cdef public long long sequence
    cdef public Py_ssize_t n_outputs
    cdef object __weakref__
