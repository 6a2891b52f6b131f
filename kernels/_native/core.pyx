# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=True
"""The one door between Python and the native kernels: NumPy arrays become descriptors, the GIL is released."""
cimport numpy as cnp
from cpython.float cimport PyFloat_AsDouble
from libc.stdint cimport int64_t, uint64_t
from cpython.long cimport PyLong_AsLongLongAndOverflow
from cpython.ref cimport Py_INCREF, PyObject
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy

cdef extern from "md.h" nogil:
    enum:
        MD_MAX_DIMS
        MD_DONE
        MD_NO_MEMORY
    ctypedef struct md_array:
        char *data
        int64_t shape[MD_MAX_DIMS]
        int64_t stride[MD_MAX_DIMS]
        int ndim
        int dtype
        int constant
    ctypedef int (*md_kernel)(const md_array *a, int n, const double *p) noexcept nogil
    ctypedef struct md_entry:
        md_kernel fn
        int outs
        int ins
    const md_entry *md_find(const char *name, const char *isa)
    int md_cpu_has(const char *isa)
    int md_has_amx()
    int md_has_isa(const char *isa)
    int md_get_threads()
    void *md_take(size_t bytes, size_t *given)
    void md_give(void *block, size_t given)
    size_t md_pooled()
    void md_set_threads(int n)

cdef extern from *:
    """
    static int md_dtype_of(PyArrayObject *a) {
        return PyArray_DESCR(a)->kind << 8 | (int)PyArray_ITEMSIZE(a);
    }
    /* Puts a pointer where none is yet; what is there stays, so that readers need no lock. */
    static int md_publish(void **place, void *made) {
        void *none = NULL;
        return __atomic_compare_exchange_n(place, &none, made, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
    }
    static void *md_published(void **place) { return __atomic_load_n(place, __ATOMIC_ACQUIRE); }
    """
    int md_dtype_of(cnp.ndarray a)
    bint md_publish(void **place, void *made)
    void *md_published(void **place)

cnp.import_array()
from numpy import broadcast_to as np_broadcast_to, float32 as np_float32

cdef extern from "numpy/arrayobject.h":
    int PyArray_SetBaseObject(cnp.ndarray arr, object base) except -1
    object PyArray_NewFromDescr(type subtype, cnp.dtype descr, int nd, cnp.npy_intp *dims, cnp.npy_intp *strides,
                                void *data, int flags, object obj)
    int NPY_ARRAY_WRITEABLE

DEF STACK_ARRAYS = 16
DEF LARGE = 16384  # elements from which a kernel on all threads, with its output from the pool, beats NumPy
DEF MAX_PARAMS = 32
DEF SMALL = 1024


cdef int describe(object x, md_array *a, bint written) except -1:
    """Fills the descriptor of an array, or of None; returns 0 where the kernels cannot use it (byte order, alignment, or
    read-only memory that is to be written)."""
    cdef cnp.ndarray arr
    cdef int d
    cdef int64_t item
    a.constant = 0
    if x is None:
        a.data = NULL
        a.ndim = 0
        a.dtype = 0
        return 1
    arr = <cnp.ndarray?>x
    a.ndim = cnp.PyArray_NDIM(arr)
    if a.ndim > MD_MAX_DIMS or not cnp.PyArray_ISBEHAVED_RO(arr) or (written and not cnp.PyArray_ISWRITEABLE(arr)):
        return 0
    item = cnp.PyArray_ITEMSIZE(arr)
    if item == 0:
        return 0
    a.data = <char *>cnp.PyArray_DATA(arr)
    a.dtype = md_dtype_of(arr)
    for d in range(a.ndim):
        a.shape[d] = cnp.PyArray_DIM(arr, d)
        a.stride[d] = cnp.PyArray_STRIDE(arr, d) // item
        if a.stride[d] * item != cnp.PyArray_STRIDE(arr, d):
            return 0
    return 1


cdef class Block:
    """Memory of an array that goes back to the pool when the last view of it is gone."""
    cdef void *data
    cdef size_t size

    def __dealloc__(self):
        md_give(self.data, self.size)


cdef object allocate(int nd, cnp.npy_intp *dims, cnp.npy_intp *strides, size_t bytes, cnp.dtype dtype):
    """An uninitialised array on pooled memory. The system hands out fresh pages one fault at a time, which costs more than
    most kernels take to fill them. NumPy keeps small blocks itself."""
    cdef Block block
    cdef cnp.ndarray out
    Py_INCREF(dtype)  # NewFromDescr takes the reference
    if bytes < SMALL:
        return PyArray_NewFromDescr(cnp.ndarray, dtype, nd, dims, strides, NULL, 0, None)
    block = Block.__new__(Block)
    block.data = md_take(bytes, &block.size)
    if block.data == NULL:
        raise MemoryError(f"empty: no memory for an array of {bytes} bytes")
    out = PyArray_NewFromDescr(cnp.ndarray, dtype, nd, dims, strides, block.data, NPY_ARRAY_WRITEABLE, None)
    Py_INCREF(block)  # SetBaseObject takes a reference, even where it fails
    PyArray_SetBaseObject(out, block)
    return out


cpdef object empty(tuple shape, cnp.dtype dtype, str layout=None):
    """An uninitialised array, in C order or in one of the LAYOUTS of _dispatch.py.
    None where there are more axes than kernels serve, or the elements are no numbers.
    """
    cdef cnp.npy_intp dims[MD_MAX_DIMS]
    cdef cnp.npy_intp strides[MD_MAX_DIMS]
    cdef cnp.npy_intp step = dtype.itemsize
    cdef Py_ssize_t d, i, nd = len(shape)
    if nd > MD_MAX_DIMS or dtype.kind not in b"biufc":
        return None
    for d in range(nd):
        dims[d] = shape[d]
    for i in range(nd - 1, -1, -1):
        d = i if layout is None else (0, 2, 3, 1)[i] if layout == "channels_last" else (2, 3, 1, 0)[i]
        strides[d] = step
        step *= dims[d]
    return allocate(<int>nd, dims, strides, step, dtype)


include "calls.pxi"


cdef class NativeKernel:
    """One kernel for one instruction set: kernel(*outputs, *inputs, p). A list of arrays stands for its items.

    Returns None, or NotImplemented where the kernel does not serve these arrays (nothing is written then).
    """
    cdef const md_entry *entry
    cdef readonly str name
    cdef readonly str isa
    cdef void *calls[2 * CALLS]  # the remembered ones, by hash; none is ever replaced
    cdef int remembered
    cdef list alive  # what descriptions point to

    def __dealloc__(self):
        cdef int i
        for i in range(2 * CALLS):
            free(self.calls[i])

    def __call__(self, *args):
        """kernel(*outputs, *inputs, p). A list of arrays stands for its items."""
        cdef Py_ssize_t n = len(args) - 1
        if n != self.entry.outs + self.entry.ins:
            raise TypeError(f"{self.name}: {n + 1} arguments: {self.entry.outs} outputs, {self.entry.ins} inputs and the "
                            "parameters expected")
        return None if self.run(args[:n], args[n]) else NotImplemented

    cpdef object compute(self, list outs, tuple ins, p, tuple args=None):
        """What a specification asked for: allocates the outputs that it describes, runs, and returns the results.

        args: the call's arguments, if `again` may answer calls like it.
        """
        cdef Py_ssize_t i, n = len(outs)
        cdef list arrays = outs + list(ins)
        cdef object o
        if n != self.entry.outs or len(ins) != self.entry.ins:
            raise TypeError(f"{self.name}: {n} outputs, {len(ins)} inputs: {self.entry.outs} and {self.entry.ins} expected")
        for o in arrays:
            if type(o) is list:
                o = o[0] if o else None
            if not (o is None or type(o) is tuple or isinstance(o, cnp.ndarray)):
                return NotImplemented  # of another library
        for i in range(n):
            o = outs[i]
            if type(o) is tuple:
                arrays[i] = o = empty(*<tuple>o)
                if o is None:
                    return NotImplemented
        if not self.run(arrays, p):
            return NotImplemented
        if args is not None and self.remembered < CALLS:
            self.remember(args, outs, arrays, p)
        return arrays[0] if n == 1 else tuple(arrays[:n])

    cpdef object again(self, tuple args):
        """The results of a call like an earlier one; NotImplemented where there was none."""
        cdef int64_t word[WORDS]
        cdef md_array a[CALL_ARRAYS]
        cdef int i, status, words = describe_call(args, word, 0)
        cdef Call *call
        cdef Output *o
        cdef object made = None
        cdef list results = None
        if words == 0:
            return NotImplemented
        call = <Call *>md_published(self.place(word, words))
        if call == NULL:
            return NotImplemented
        memcpy(a, call.array, call.arrays * sizeof(md_array))
        if call.outs > 1:
            results = []
        for i in range(call.outs):
            o = &call.out[i]
            made = allocate(o.ndim, o.shape, o.stride, o.bytes, <cnp.dtype>o.dtype)
            a[i].data = <char *>cnp.PyArray_DATA(<cnp.ndarray>made)
            if results is not None:
                results.append(made)
        for i in range(call.outs, call.arrays):
            if call.argument[i] >= 0:
                a[i].data = <char *>cnp.PyArray_DATA(<cnp.ndarray>(<tuple>args)[call.argument[i]])
        if call.elements < BRIEF:
            status = self.entry.fn(a, call.arrays, call.p)
        else:
            with nogil:
                status = self.entry.fn(a, call.arrays, call.p)
        if status == MD_NO_MEMORY:
            raise MemoryError(f"{self.name}: no memory for intermediate results")
        if status != MD_DONE:
            return NotImplemented
        return made if results is None else tuple(results)

    cdef void **place(self, int64_t *word, int words):
        """Where the call of this description is, or would be put."""
        cdef uint64_t h = 0
        cdef int i
        cdef Call *call
        for i in range(words):
            h = (h << 9 | h >> 55) ^ <uint64_t>word[i]
        h = (h ^ h >> 32) * 0x2545F4914F6CDD1DULL
        i = <int>(h >> 40) % (2 * CALLS)
        while True:
            call = <Call *>md_published(&self.calls[i])
            if call == NULL or (call.words == words and memcmp(call.word, word, words * sizeof(int64_t)) == 0):
                return &self.calls[i]
            i = (i + 1) % (2 * CALLS)

    cdef object remember(self, tuple args, list outs, list arrays, p):
        """Keeps what was done of a call, if the outputs are new arrays and each input the memory of one argument."""
        cdef int64_t word[WORDS]
        cdef int i, k, d, words = describe_call(args, word, 0)
        cdef Call *call
        cdef cnp.ndarray arr
        if words == 0 or len(arrays) > CALL_ARRAYS or not all(type(o) is tuple for o in outs):
            return
        call = <Call *>calloc(1, sizeof(Call))
        if call == NULL:
            return
        memcpy(call.word, word, words * sizeof(int64_t))
        call.words, call.outs, call.arrays = words, <int>len(outs), <int>len(arrays)
        for i in range(<int>len(<tuple>p)):
            call.p[i] = PyFloat_AsDouble((<tuple>p)[i])
        for i in range(call.arrays):
            k = -1 if arrays[i] is None or i < call.outs else argument_of(arrays[i], args)
            if k == -2 or not describe(arrays[i], &call.array[i], i < call.outs):
                free(call)
                return
            call.argument[i] = k
            call.elements += 0 if arrays[i] is None else cnp.PyArray_SIZE(<cnp.ndarray>arrays[i])
        for i in range(call.outs):
            arr = <cnp.ndarray>arrays[i]
            call.out[i].ndim = cnp.PyArray_NDIM(arr)
            call.out[i].bytes = cnp.PyArray_NBYTES(arr)
            for d in range(call.out[i].ndim):
                call.out[i].shape[d] = cnp.PyArray_DIM(arr, d)
                call.out[i].stride[d] = cnp.PyArray_STRIDE(arr, d)
            call.out[i].dtype = <PyObject *>cnp.PyArray_DESCR(arr)
        if md_publish(self.place(word, words), call):
            self.remembered += 1
            self.alive.append([args_alive(args), [(<cnp.ndarray>o).dtype for o in arrays[:call.outs]]])
        else:
            free(call)

    cdef bint run(self, args, params) except -1:
        """Whether the kernel serves these arrays; if so it has computed."""
        cdef md_array on_stack[STACK_ARRAYS]
        cdef md_array *a = on_stack
        cdef double p[MAX_PARAMS]
        cdef object x, y
        cdef Py_ssize_t count = 0, i, n_params, n_args = len(args), outs = self.entry.outs
        cdef int status, usable = 1
        if not isinstance(params, tuple):
            raise TypeError(f"{self.name}: parameters are a {type(params).__name__}: a tuple expected")
        n_params = len(<tuple>params)
        if n_params > MAX_PARAMS:
            raise ValueError(f"{self.name}: {n_params} parameters: at most {MAX_PARAMS}")
        for i in range(n_params):
            p[i] = PyFloat_AsDouble((<tuple>params)[i])
        for x in args:
            count += len(<list>x) if type(x) is list else 1
        if count > STACK_ARRAYS:
            a = <md_array *>malloc(count * sizeof(md_array))
            if a == NULL:
                raise MemoryError()
        try:
            count = 0
            for i in range(n_args):
                x = args[i]
                if type(x) is list:
                    for y in <list>x:
                        usable &= describe(y, &a[count], i < outs)
                        count += 1
                else:
                    usable &= describe(x, &a[count], i < outs)
                    count += 1
            if not usable:
                return False
            with nogil:
                status = self.entry.fn(a, <int>count, p)
        finally:
            if a != on_stack:
                free(a)
        if status == MD_NO_MEMORY:
            raise MemoryError(f"{self.name}: no memory for intermediate results")
        return status == MD_DONE

    def __repr__(self):
        return f"<native kernel {self.name} for {self.isa}>"


cdef int in_order(cnp.ndarray x):
    """Do the axes follow each other in memory as they are numbered, or as an image's do that lies channels-last?"""
    cdef int d, nd = cnp.PyArray_NDIM(x), last = nd == 4
    cdef int64_t before = -1, before_last = -1, stride
    cdef int c_order = 1, at
    for d in range(nd):
        stride = cnp.PyArray_STRIDE(x, d)
        if cnp.PyArray_DIM(x, d) != 1 and stride:
            if stride < 0 or (before >= 0 and stride > before):
                c_order = 0
                break
            before = stride
    if c_order or not last:
        return c_order
    for d in range(4):
        at = (0, 2, 3, 1)[d]
        stride = cnp.PyArray_STRIDE(x, at)
        if cnp.PyArray_DIM(x, at) != 1 and stride:
            if stride < 0 or (before_last >= 0 and stride > before_last):
                return 0
            before_last = stride
    return 1


def plain(x):
    """Whether the reductions serve this operand, large or small: an array of float32 or float64 in one of the usual layouts."""
    cdef cnp.ndarray a
    if type(x) is not cnp.ndarray:
        return False
    a = <cnp.ndarray>x
    return bool((cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32 or cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT64)
                and cnp.PyArray_SIZE(a) and cnp.PyArray_ISBEHAVED_RO(a) and cnp.PyArray_NDIM(a) <= MD_MAX_DIMS and in_order(a))


def broadcast_to(x, tuple shape):
    """np.broadcast_to, which spends microseconds on any array: a read-only view of x with the shape."""
    cdef cnp.npy_intp dims[MD_MAX_DIMS]
    cdef cnp.npy_intp strides[MD_MAX_DIMS]
    cdef cnp.ndarray a, out
    cdef cnp.dtype dtype
    cdef Py_ssize_t d, lead, nd = len(shape)
    if type(x) is not cnp.ndarray or nd > MD_MAX_DIMS or cnp.PyArray_NDIM(<cnp.ndarray>x) > nd:
        return np_broadcast_to(x, shape)
    a = <cnp.ndarray>x
    lead = nd - cnp.PyArray_NDIM(a)
    for d in range(nd):
        dims[d], strides[d] = shape[d], 0
        if d >= lead and cnp.PyArray_DIM(a, d - lead) == dims[d]:
            strides[d] = cnp.PyArray_STRIDE(a, d - lead)
        elif dims[d] < 0 or (d >= lead and cnp.PyArray_DIM(a, d - lead) != 1):
            return np_broadcast_to(x, shape)  # which says what is wrong
    dtype = a.dtype
    Py_INCREF(dtype)
    out = PyArray_NewFromDescr(cnp.ndarray, dtype, <int>nd, dims, strides, cnp.PyArray_DATA(a), 0, None)
    Py_INCREF(a)
    PyArray_SetBaseObject(out, a)
    return out


def alike(list arrays, *others):
    """Whether every one of the other lists holds as many NumPy arrays as the first, each of the same shape as there."""
    cdef Py_ssize_t i
    cdef int d
    cdef cnp.ndarray a, b
    for other in others:
        if type(other) is not list or len(<list>other) != len(arrays):
            return False
        for i in range(len(arrays)):
            if type(arrays[i]) is not cnp.ndarray or type((<list>other)[i]) is not cnp.ndarray:
                return False
            a, b = <cnp.ndarray>arrays[i], <cnp.ndarray>(<list>other)[i]
            if cnp.PyArray_NDIM(a) != cnp.PyArray_NDIM(b):
                return False
            for d in range(cnp.PyArray_NDIM(a)):
                if cnp.PyArray_DIM(a, d) != cnp.PyArray_DIM(b, d):
                    return False
    return True


def large(*arrays):
    """Whether the elementwise kernels and reductions serve these operands better than NumPy: arrays of float32 alone or of
    float64 alone, one or more of them large, beside numbers and masks."""
    cdef cnp.ndarray x
    cdef int kind = 0, found = 0, dtype
    for a in arrays:
        if type(a) is cnp.ndarray:
            x = <cnp.ndarray>a
            dtype = cnp.PyArray_TYPE(x)
            if cnp.PyArray_SIZE(x) >= LARGE:
                found = 1
            elif not found and len(arrays) == 1:
                return False
            if dtype == cnp.NPY_BOOL:
                continue
            if (dtype != cnp.NPY_FLOAT32 and dtype != cnp.NPY_FLOAT64) or (kind and dtype != kind):
                return False
            kind = dtype
            if found and (not cnp.PyArray_ISBEHAVED_RO(x) or cnp.PyArray_NDIM(x) > MD_MAX_DIMS or not in_order(x)):
                return False
        elif type(a) is not float and type(a) is not int:
            return False
    return bool(found and kind)


include "small.pxi"


def pooled():
    """Bytes that are kept for arrays to come."""
    return md_pooled()


def find(str name, str isa):
    """The kernel `name` built for instruction set `isa`, or None."""
    cdef const md_entry *entry = md_find(name.encode(), isa.encode())
    cdef NativeKernel kernel
    if entry == NULL:
        return None
    kernel = NativeKernel.__new__(NativeKernel)
    kernel.entry, kernel.name, kernel.isa, kernel.alive = entry, name, isa, []
    return kernel


def cpu_has(str isa):
    return bool(md_cpu_has(isa.encode()))


def has_amx():
    """Whether products may run on the processor's matrix tiles."""
    return bool(md_has_amx())


def isas():
    """The instruction sets that were built."""
    return [level for level in ("portable", "v2", "v3", "v4", "neon") if md_has_isa(level.encode())]


def get_num_threads():
    return md_get_threads()


def set_num_threads(int n):
    md_set_threads(n)


include "plan.pxi"
