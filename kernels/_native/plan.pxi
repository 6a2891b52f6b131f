# The part of core.pyx that runs plans: see minidl/plan and plan.c.

cdef extern from "md.h" nogil:
    ctypedef struct md_kept:
        pass
    ctypedef struct md_step:
        md_kernel fn
        const md_array *a
        int n
        const double *p
        md_kept kept
    int64_t md_run(md_step *steps, int64_t first, int64_t count, int *status)
    void md_forget(md_kept *step)
    size_t md_kept_bytes(const md_kept *step)


cdef struct binding:  # where in the arrays of one call a descriptor's memory lies
    md_array *array
    Py_ssize_t source
    int64_t offset


cdef class Plan:
    """Steps that run in one native call: plan(arrays) gives the results as a list of new arrays.

    inputs, outputs: (shape, strides in bytes, dtype) of each array that a call is given and makes; outputs have no gaps.
    steps: (NativeKernel or None, arrays, parameters). An array is None or (memory, offset, shape, strides, dtype, constant) with
    memory an array of bytes, which is kept, or the number of an input, or, counted on from there, of an output.
    fallback(i, inputs, outputs) runs step i, where it has no kernel or the kernel does not serve its arrays.
    """
    cdef md_step *steps
    cdef md_array *arrays
    cdef double *numbers
    cdef binding *bindings
    cdef Py_ssize_t count, bound, n_inputs
    cdef tuple inputs, outputs
    cdef object kept, fallback, lock

    def __init__(self, inputs, outputs, steps, fallback, lock):
        cdef Py_ssize_t n_arrays = 0, n_numbers = 0, i, j, at = 0, number = 0
        cdef md_array *a
        self.inputs, self.outputs, self.fallback, self.lock = tuple(inputs), tuple(outputs), fallback, lock
        self.n_inputs, self.count, self.kept = len(self.inputs), len(steps), []
        for kernel, arrays, p in steps:
            n_arrays += len(arrays)
            n_numbers += len(p)
        self.steps = <md_step *>calloc(self.count + 1, sizeof(md_step))
        self.arrays = <md_array *>calloc(n_arrays + 1, sizeof(md_array))
        self.numbers = <double *>calloc(n_numbers + 1, sizeof(double))
        self.bindings = <binding *>calloc(n_arrays + 1, sizeof(binding))
        if self.steps == NULL or self.arrays == NULL or self.numbers == NULL or self.bindings == NULL:
            raise MemoryError("Plan: no memory for its steps")
        for i, (kernel, arrays, p) in enumerate(steps):
            self.steps[i].fn = (<NativeKernel?>kernel).entry.fn if kernel is not None else NULL
            self.steps[i].a, self.steps[i].n, self.steps[i].p = self.arrays + at, <int>len(arrays), self.numbers + number
            for j, described in enumerate(arrays):
                a = self.arrays + at
                at += 1
                if described is not None and not self.place(a, described):
                    self.steps[i].fn = NULL
            for value in p:
                self.numbers[number] = PyFloat_AsDouble(value)
                number += 1

    def __dealloc__(self):
        cdef Py_ssize_t i
        if self.steps != NULL:
            for i in range(self.count):
                md_forget(&self.steps[i].kept)
        free(self.steps)
        free(self.arrays)
        free(self.numbers)
        free(self.bindings)

    cdef bint place(self, md_array *a, tuple described) except -1:
        """Fills a descriptor; returns 0 where kernels cannot use the array."""
        cdef Py_ssize_t d
        cdef cnp.dtype dtype
        cdef int64_t item, offset
        memory, offset, shape, strides, dtype, constant = described
        item = dtype.itemsize
        if len(shape) > MD_MAX_DIMS or item == 0 or not dtype.isnative:
            return 0
        a.ndim, a.dtype, a.constant = <int>len(shape), ord(dtype.kind) << 8 | <int>item, constant
        for d in range(a.ndim):
            if strides[d] % item:
                return 0
            a.shape[d], a.stride[d] = shape[d], strides[d] // item
        if isinstance(memory, cnp.ndarray):
            self.kept.append(memory)
            a.data = <char *>cnp.PyArray_DATA(<cnp.ndarray>memory) + offset
        else:
            self.bindings[self.bound] = binding(a, memory, offset)
            self.bound += 1
        return 1

    def fits(self, tuple arrays):
        """Whether these are arrays of the inputs' shapes, layouts and dtypes."""
        cdef Py_ssize_t i, d
        cdef cnp.ndarray x
        cdef tuple shape, strides
        if len(arrays) != self.n_inputs:
            return False
        for i in range(self.n_inputs):
            if type(arrays[i]) is not cnp.ndarray:
                return False
            x = <cnp.ndarray>arrays[i]
            shape, strides, dtype = <tuple>self.inputs[i]
            if x.dtype != dtype or cnp.PyArray_NDIM(x) != len(shape) or not cnp.PyArray_ISBEHAVED_RO(x):
                return False
            for d in range(cnp.PyArray_NDIM(x)):
                if cnp.PyArray_DIM(x, d) != <cnp.npy_intp>shape[d] or cnp.PyArray_STRIDE(x, d) != <cnp.npy_intp>strides[d]:
                    return False
        return True

    def __call__(self, tuple arrays):
        """The results for arrays that fit."""
        cdef list made = []
        cdef Py_ssize_t b, source
        cdef int64_t i = 0
        cdef int status
        for shape, strides, dtype in self.outputs:
            made.append(laid_out(shape, strides, dtype))
        self.lock.acquire()
        try:
            for b in range(self.bound):
                source = self.bindings[b].source
                array = arrays[source] if source < self.n_inputs else made[source - self.n_inputs]
                self.bindings[b].array.data = <char *>cnp.PyArray_DATA(<cnp.ndarray>array) + self.bindings[b].offset
            while True:
                with nogil:
                    i = md_run(self.steps, i, self.count, &status)
                if i == self.count:
                    return made
                if status == MD_NO_MEMORY:
                    raise MemoryError("plan: no memory for intermediate results")
                self.fallback(i, arrays, made)
                i += 1
        finally:
            self.lock.release()

    def leave(self, Py_ssize_t step):
        """Step number `step` is the fallback's from now on."""
        self.steps[step].fn = NULL

    def kept_bytes(self, Py_ssize_t step):
        """How much memory a step keeps between calls: packed weights, tables."""
        return md_kept_bytes(&self.steps[step].kept)


cdef object laid_out(tuple shape, tuple strides, cnp.dtype dtype):
    """A new array of pooled memory whose axes, in the order of the strides, have no gaps."""
    cdef cnp.npy_intp dims[MD_MAX_DIMS]
    cdef cnp.npy_intp steps[MD_MAX_DIMS]
    cdef Py_ssize_t d, nd = len(shape), size = dtype.itemsize
    for d in range(nd):
        dims[d], steps[d] = shape[d], strides[d]
        size *= dims[d]
    return allocate(<int>nd, dims, steps, size, dtype)
