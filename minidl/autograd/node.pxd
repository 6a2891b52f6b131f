cimport cython

@cython.final
@cython.freelist(64)
cdef class Node:
    cdef public str name
    cdef public object rule, edges, sequence, saved, versions, hooks, trace
    cdef public Py_ssize_t n_outputs
    cdef object __weakref__
