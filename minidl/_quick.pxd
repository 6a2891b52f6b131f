from cpython.object cimport PyObject

ctypedef object (*vectorcall)(object self, PyObject *const *args, size_t count, PyObject *names)

cdef class Quick:
    cdef vectorcall enter

    cdef object called(self, tuple args, dict kwargs)
