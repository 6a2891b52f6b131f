# The fields and the C signatures of engine.py when it is compiled; interpreted, nobody reads this.
cimport cython

from .edge cimport Edge
from .node cimport Node
from .op cimport Operation
from .tensor cimport Fields, Now

cdef Now now

@cython.final
cdef class Sweep:
    cdef dict pending, leaves, captured
    cdef list waiting
    cdef set wanted, capture
    cdef bint anomaly

    cdef object start(self, Fields output, Fields g)
    @cython.locals(slots=list)
    cdef object add(self, Node node, Py_ssize_t index, Fields g)
    @cython.locals(low=Py_ssize_t, high=Py_ssize_t, middle=Py_ssize_t, waiting=list)
    cdef object wait(self, Node node)
    @cython.locals(slots=list, edges=list, i=Py_ssize_t, inputs=Py_ssize_t)
    cdef object step(self, bint retain_graph, bint create_graph)
    @cython.locals(entry=list)
    cdef object accumulate(self, leaf, Fields g, bint create_graph)
    cdef object found(self, x)

cdef Fields _fitted(Fields g, tuple shape, dtype)
cdef object _check(Node node)
cdef set _taken(Node node, list slots)
cdef Fields _own(Fields g, set taken)
cdef object _memory(array)
