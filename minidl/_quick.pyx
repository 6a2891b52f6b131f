# cython: language_level=3
"""The compiled twin of _quick.py: Python calls these objects by PEP 590, with the arguments where they lie."""
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from types import MethodType

cdef extern from *:
    """
    /* Lets Python call instances by the function in their field at `offset`, of static subclasses as well. */
    static void quick_type(PyTypeObject *type, Py_ssize_t offset) {
        type->tp_vectorcall_offset = offset;
        type->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR;
        PyType_Modified(type);
    }
    """
    void quick_type(PyTypeObject *type, Py_ssize_t offset)
    size_t PyVectorcall_NARGS(size_t count)


cdef class Quick:
    """A callable: subclasses define `called(args, kwargs)`, with kwargs None or a dict that is theirs.

    As an attribute of a class it is a method, and it is copied and pickled as a function is: by its name.
    """

    def __cinit__(self, *args, **kwargs):
        self.enter = enter

    cdef object called(self, tuple args, dict kwargs):
        return (<object>self).called(args, kwargs)  # of a subclass that is not compiled

    def __call__(self, *args, **kwargs):
        return self.called(args, kwargs or None)

    def __get__(self, instance, owner):
        return self if instance is None else MethodType(self, instance)

    def __reduce__(self):
        return self.__qualname__


cdef object enter(object self, PyObject *const *args, size_t count, PyObject *names):
    cdef Py_ssize_t i, n = PyVectorcall_NARGS(count)
    cdef tuple packed = PyTuple_New(n), keywords
    cdef dict kwargs = None
    for i in range(n):
        Py_INCREF(<object>args[i])  # SET_ITEM takes the reference
        PyTuple_SET_ITEM(packed, i, <object>args[i])
    if names != NULL:
        keywords, kwargs = <tuple>names, {}
        for i in range(PyTuple_GET_SIZE(keywords)):
            kwargs[keywords[i]] = <object>args[n + i]
    return (<Quick>self).called(packed, kwargs)


cdef Quick example = Quick()
quick_type(<PyTypeObject *>Quick, <char *>&example.enter - <char *><PyObject *>example)
