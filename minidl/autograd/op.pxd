# The fields and the C signatures of op.py when it is compiled; interpreted, nobody reads this.
cimport cython

from .._quick cimport Quick
from .edge cimport Edge
from .node cimport Node
from .tensor cimport Cell, Fields, Now

cdef Now now

cdef class Operation(Quick):
    cdef readonly object forward, rule
    cdef public object waits
    cdef Operation complex_rule
    cdef str name, variadic
    cdef readonly bint view
    cdef tuple names, keywords
    cdef dict defaults, keyword_defaults
    cdef list trailing, blank, arguments, noted, kept
    cdef Py_ssize_t g_at, y_at, need_at, y_for, first_for
    cdef dict __dict__

    cdef object called(self, tuple args, dict kwargs)
    cpdef object run(self, tuple args, dict kwargs=*)
    cdef tuple bound(self, args, kwargs)
    cdef bint given(self, Py_ssize_t position, tuple args)
    @cython.locals(given=Py_ssize_t, edges=list, arrays=list, cells=list, keeps_y=bint)
    cdef object record(self, tuple args, dict kwargs, outs)
    @cython.locals(saved=list, position=Py_ssize_t, wanted_for=Py_ssize_t)
    cdef object needed(self, tuple args, list edges)
    cdef object note(self, str what, name, tuple args, dict kwargs)
    @cython.locals(values=list, need=list, given=Py_ssize_t, place=Py_ssize_t, position=Py_ssize_t, count=Py_ssize_t)
    cdef object run_rule(self, Node node, list gradients)

cdef Py_ssize_t NEVER, ALWAYS
cdef object _array(x)
cdef bint _wants(x)
cdef object _edge(x)
@cython.locals(cls=type)
cdef Fields _wrapped(array)
@cython.locals(found=bint)
cdef bint _holds_complex(tuple args, outs) except -1
cdef bint _is_complex(Fields tensor) except -1
@cython.locals(kind=Py_UCS4)
cdef object flows_through(Fields out, Node node, Py_ssize_t index)
cdef object _share(Fields out, Fields x)
cdef Fields _output(Node node, array, Py_ssize_t index)
