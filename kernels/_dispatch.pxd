# The fields of Kernel when _dispatch.py is compiled; interpreted, nobody reads this.
cimport cython

@cython.final
cdef class Kernel:
    cdef public object spec, again, small, tolerance, flops, cases
    cdef public bint repeats
    cdef public str name, family
    cdef public dict _versions
    cdef dict __dict__

    cpdef object version(self, backend)
