# The fields and the C signatures of waiting.py when it is compiled; interpreted, nobody reads this.
cimport cython

from .node cimport Node
from .tensor cimport Fields, Now

cdef Now now

@cython.final
cdef class Chain:
    cdef public object head, shape
    cdef dict rules
    cdef readonly dict options
    cdef list stages
    cdef set over
    cdef bint running, recording

    cdef object add(self, tuple shape, dict options, operation=*, rest=*)
    cpdef object joined(self, operation, str name, tuple args)
    cpdef object settle(self)
    @cython.locals(i=Py_ssize_t, last=Py_ssize_t)
    cdef object compute(self)

@cython.locals(held=dict)
cdef Fields fill(Fields result, Fields tensor)

@cython.locals(count=Py_ssize_t, tensor=Fields, node=Node)
cpdef bint reached(x) except -1

cdef Py_ssize_t ALONE, OWNED
