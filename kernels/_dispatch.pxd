# The fields of Kernel when _dispatch.py is compiled; interpreted, nobody reads this.
from minidl._quick cimport Quick

cdef class Kernel(Quick):
    cdef public object spec, again, numpy, small, tolerance, flops, cases
    cdef public bint repeats
    cdef public str name, family
    cdef public dict _versions
    cdef dict __dict__

    cdef object called(self, tuple args, dict kwargs)
    cpdef object version(self, backend)
