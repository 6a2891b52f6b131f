# NumPy's functions on small arrays: a part of core.pyx.
#
# A NumPy function spends some 200 ns on finding its loop and on what else may be asked of it; the loop itself takes 10 for a
# small array. Where the operands are float32 or float64 arrays in C order, and numbers beside them, it is called at once.

DEF OPERANDS = 3      # with the result
DEF EXACT = 1 << 53   # whole numbers up to here are floating-point numbers too


cdef class Small:
    """A NumPy function of one or two operands: run(args, out) computes what is not `large`."""
    cdef cnp.ufunc function
    cdef cnp.PyUFuncGenericFunction loop[2]  # for float32 and float64 operands; NULL where NumPy has none
    cdef void *context[2]                    # the loop's last argument
    cdef int result[2]                       # the type of what it computes

    def __init__(self, cnp.ufunc function):
        cdef int double, i, o
        self.function = function
        for double in range(2):
            for i in range(function.ntypes):
                for o in range(function.nin):
                    if <int>function.types[i * function.nargs + o] != (<int>cnp.NPY_DOUBLE if double else <int>cnp.NPY_FLOAT):
                        break
                else:
                    self.loop[double], self.context[double] = function.functions[i], function.data[i]
                    self.result[double] = function.types[i * function.nargs + function.nin]
                    break

    cpdef object run(self, tuple args, object out):
        """The function of the arguments. NotImplemented where they are `large`, or `out`, which is then written, is no plain array."""
        cdef cnp.npy_intp dims[MD_MAX_DIMS]
        cdef cnp.npy_intp stride[OPERANDS][MD_MAX_DIMS]  # in bytes, 0 along an axis that is stretched
        cdef char *at[OPERANDS]
        cdef double number[OPERANDS]
        cdef float single[OPERANDS]
        cdef int i, d, kind, found = -1, nd = 0, inputs = self.function.nin
        cdef bint double
        cdef object x
        if <int>len(args) != inputs:
            return self.plain(args, out)
        for i in range(inputs):
            x = args[i]
            if type(x) is cnp.ndarray:
                if cnp.PyArray_SIZE(<cnp.ndarray>x) >= LARGE and large(*args):
                    return NotImplemented
                kind = cnp.PyArray_TYPE(<cnp.ndarray>x)
                if found >= 0 and kind != found or not cnp.PyArray_ISBEHAVED_RO(<cnp.ndarray>x):
                    return self.plain(args, out)
                found = kind
                nd = max(nd, cnp.PyArray_NDIM(<cnp.ndarray>x))
            elif type(x) is float or type(x) is int and -EXACT <= x <= EXACT:
                number[i] = x
                single[i] = <float>number[i]
            else:
                return self.plain(args, out)
        double = found == cnp.NPY_DOUBLE
        if not (double or found == cnp.NPY_FLOAT) or nd > MD_MAX_DIMS or self.loop[double] == NULL:
            return self.plain(args, out)
        for d in range(nd):
            dims[d] = 1
        for i in range(inputs):
            if type(args[i]) is cnp.ndarray:
                at[i] = <char *>cnp.PyArray_DATA(<cnp.ndarray>args[i])
                if not stretched(<cnp.ndarray>args[i], nd, dims, stride[i]):
                    return self.plain(args, out)
            else:
                at[i] = <char *>&number[i] if double else <char *>&single[i]
                for d in range(nd):
                    stride[i][d] = 0
        if out is None:
            out = cnp.PyArray_SimpleNew(nd, dims, self.result[double])
        elif not self.holds(out, args, nd, dims, self.result[double]):
            return self.plain(args, out)
        at[inputs] = <char *>cnp.PyArray_DATA(<cnp.ndarray>out)
        for d in range(nd):
            stride[inputs][d] = cnp.PyArray_STRIDE(<cnp.ndarray>out, d)
        walk(self.loop[double], self.context[double], inputs + 1, nd, dims, stride, at)
        return out

    cdef object plain(self, tuple args, object out):
        return self.function(*args) if out is None else NotImplemented

    cdef bint holds(self, object out, tuple args, int nd, cnp.npy_intp *dims, int kind):
        """Whether the loop may write to `out`: an array that nothing but itself is computed from."""
        cdef int d
        if type(out) is not cnp.ndarray or cnp.PyArray_NDIM(<cnp.ndarray>out) != nd:
            return False
        for d in range(nd):
            if cnp.PyArray_DIM(<cnp.ndarray>out, d) != dims[d]:
                return False
        for x in args:
            if x is not out and type(x) is cnp.ndarray and memory_overlaps(<cnp.ndarray>x, <cnp.ndarray>out):
                return False
        return cnp.PyArray_TYPE(<cnp.ndarray>out) == kind and cnp.PyArray_ISCARRAY(<cnp.ndarray>out)


def as_float(x):
    """An array of integers or truth values as the default floating-point dtype; anything else as it is."""
    if type(x) is cnp.ndarray and not (cnp.PyArray_ISINTEGER(<cnp.ndarray>x) or cnp.PyArray_ISBOOL(<cnp.ndarray>x)):
        return x
    return x.astype(np_float32) if hasattr(x, "dtype") and x.dtype.kind in "biu" else x


cdef bint memory_overlaps(cnp.ndarray x, cnp.ndarray dense):
    """Whether an array in C order, possibly with gaps, may share memory with one without."""
    cdef char *start = <char *>cnp.PyArray_DATA(x)
    cdef char *other = <char *>cnp.PyArray_DATA(dense)
    cdef cnp.npy_intp extent = cnp.PyArray_ITEMSIZE(x)
    cdef int d
    for d in range(cnp.PyArray_NDIM(x)):
        extent += (cnp.PyArray_DIM(x, d) - 1) * cnp.PyArray_STRIDE(x, d)
    return start < other + cnp.PyArray_NBYTES(dense) and other < start + extent


cdef bint stretched(cnp.ndarray a, int nd, cnp.npy_intp *dims, cnp.npy_intp *stride):
    """Broadcasts dims with the shape of one more operand and sets its strides; False where it does not, or is not in C order."""
    cdef int d, lead = nd - cnp.PyArray_NDIM(a)
    cdef cnp.npy_intp n, before = -1
    for d in range(nd):
        n = 1 if d < lead else cnp.PyArray_DIM(a, d - lead)
        stride[d] = 0
        if n != 1:
            if dims[d] != 1 and dims[d] != n:
                return False
            dims[d], stride[d] = n, cnp.PyArray_STRIDE(a, d - lead)
            if stride[d]:
                if stride[d] < 0 or before >= 0 and stride[d] > before:
                    return False
                before = stride[d]
    return True


cdef void walk(cnp.PyUFuncGenericFunction loop, void *context, int operands, int nd, cnp.npy_intp *dims,
               cnp.npy_intp (*stride)[MD_MAX_DIMS], char **at):
    """Calls the loop for each stretch in which no operand jumps."""
    cdef cnp.npy_intp count[MD_MAX_DIMS + 1]           # the axes merged where they lie in one line, the innermost first
    cdef cnp.npy_intp step[MD_MAX_DIMS + 1][OPERANDS]
    cdef int d, o, axes = 0
    cdef bint joins
    for d in range(nd - 1, -1, -1):
        if dims[d] == 0:
            return
        if dims[d] == 1:
            continue
        joins = axes > 0
        for o in range(operands):
            joins = joins and stride[o][d] == step[axes - 1][o] * count[axes - 1]
        if joins:
            count[axes - 1] *= dims[d]
            continue
        count[axes] = dims[d]
        for o in range(operands):
            step[axes][o] = stride[o][d]
        axes += 1
    if axes == 0:
        axes, count[0] = 1, 1
    stretches(loop, context, operands, axes - 1, count, step, at)


cdef void stretches(cnp.PyUFuncGenericFunction loop, void *context, int operands, int axis, cnp.npy_intp *count,
                    cnp.npy_intp (*step)[OPERANDS], char **start):
    cdef char *at[OPERANDS]
    cdef cnp.npy_intp i
    cdef int o
    memcpy(at, start, sizeof(at))
    if axis == 0:
        loop(at, count, step[0], context)
        return
    for i in range(count[axis]):
        stretches(loop, context, operands, axis - 1, count, step, at)
        for o in range(operands):
            at[o] += step[axis][o]
