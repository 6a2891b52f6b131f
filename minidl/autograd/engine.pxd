# The fields and the C signatures of engine.py when it is compiled.
cimport cython

from .node cimport Node
from .tensor cimport Cell, Fields

@cython.final
cdef class Sweep:
    cdef dict pending, leaves, captured
    cdef list heap
    cdef set wanted, capture

    cdef object start(self, Fields output, Fields g)
    cdef object add(self, Node node, Py_ssize_t index, Fields g)
    cdef object step(self, bint retain_graph, bint create_graph)
    cdef object found(self, x)

cdef Fields _fitted(Fields g, tuple shape, dtype)
cdef object _check(Node node)
cdef set _taken(Node node, list slots)
cdef Fields _own(Fields g, set taken)
cdef object _memory(array)
