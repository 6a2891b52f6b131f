"""Describes calls by numbers, so that one like an earlier one is known again. A part of core.pyx."""
# ---- calls that repeat ----
# What a specification says depends on the shapes, strides and dtypes of its arrays and on its options, nothing else, unless
# the kernel says so. So a call is described by these numbers, and what was said of it is kept for calls alike: a step of
# training makes the same calls again and again, and asking costs more than a small kernel computes.
DEF WORDS = 96       # numbers in a description
DEF CALL_ARRAYS = 12
DEF BRIEF = 2048     # elements up to which a kernel is through before another thread could use the interpreter
DEF CALLS = 256      # that one kernel remembers; later ones ask every time

cdef struct Output:
    cnp.npy_intp shape[MD_MAX_DIMS]
    cnp.npy_intp stride[MD_MAX_DIMS]
    size_t bytes
    int ndim
    PyObject *dtype

cdef struct Call:
    int64_t word[WORDS]
    int words, outs, arrays
    int64_t elements              # of all arrays
    Output out[CALL_ARRAYS]
    md_array array[CALL_ARRAYS]   # their descriptors, without data
    int argument[CALL_ARRAYS]     # which argument's memory an input has; -1 for none
    double p[MAX_PARAMS]


cdef int describe_call(object args, int64_t *word, int n) except -1:
    """Describes the arguments by numbers in word[n..) and returns how many there are now; 0 where they cannot be."""
    cdef object x
    cdef cnp.ndarray arr
    cdef int d, overflow = 0
    cdef double number
    for x in <tuple>args:
        if n + 2 * MD_MAX_DIMS + 4 > WORDS:
            return 0
        if type(x) is cnp.ndarray:
            arr = <cnp.ndarray>x
            if cnp.PyArray_NDIM(arr) > MD_MAX_DIMS or not cnp.PyArray_ISBEHAVED_RO(arr):
                return 0
            word[n] = <int64_t>cnp.PyArray_NDIM(arr)
            word[n + 1] = <int64_t><void *>cnp.PyArray_DESCR(arr)
            n += 2
            for d in range(cnp.PyArray_NDIM(arr)):
                word[n] = cnp.PyArray_DIM(arr, d)
                word[n + 1] = cnp.PyArray_STRIDE(arr, d)
                n += 2
        elif x is None:
            word[n] = -1
            n += 1
        elif type(x) is int or type(x) is bool:
            word[n] = -2 if type(x) is int else -3
            word[n + 1] = PyLong_AsLongLongAndOverflow(x, &overflow)
            if overflow:
                return 0
            n += 2
        elif type(x) is float:
            number = x
            word[n] = -4
            memcpy(&word[n + 1], &number, sizeof(double))
            n += 2
        elif type(x) is str:  # an equal one elsewhere in memory is only not recognised
            word[n] = -5
            word[n + 1] = <int64_t><void *>x
            n += 2
        elif type(x) is tuple:
            word[n] = -6
            word[n + 1] = len(<tuple>x)
            n = describe_call(x, word, n + 2)
            if n == 0:
                return 0
        else:
            return 0
    return n


cdef int argument_of(object x, tuple args) except -3:
    """Which argument's memory an input has; -2 where that is not certain."""
    cdef int i, found = -2
    if not isinstance(x, cnp.ndarray) or cnp.PyArray_SIZE(<cnp.ndarray>x) == 0:
        return -2
    for i in range(<int>len(args)):
        if (type(args[i]) is cnp.ndarray
                and cnp.PyArray_DATA(<cnp.ndarray>args[i]) == cnp.PyArray_DATA(<cnp.ndarray>x)):
            if found >= 0 or cnp.PyArray_DESCR(<cnp.ndarray>args[i]) != cnp.PyArray_DESCR(<cnp.ndarray>x):
                return -2
            found = i
    return found


cdef list args_alive(tuple args):
    return [(<cnp.ndarray>x).dtype if isinstance(x, cnp.ndarray) else x for x in args]
