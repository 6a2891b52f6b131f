# The fields that classes of tensor.py have when it is compiled; interpreted, nobody reads this.
cimport cython

from .edge cimport Edge

@cython.final
@cython.freelist(512)
cdef class Cell:
    cdef public Py_ssize_t changes, recorded
    cdef public object owner

@cython.final
cdef class Now:
    cdef public object chain

cdef Now _now

cdef class Fields:
    cdef public object held, _node
    cdef public Cell _cell
    cdef public bint _requires_grad, _is_view
    cdef public Py_ssize_t _index, _tracked
    cdef dict __dict__
    cdef object __weakref__

    cpdef _share(self, Fields tensor)
    cpdef Edge _edge(self)

@cython.locals(cls=type)
cpdef Fields wrap(array)
