/* Elementwise loops over arrays of any strides, broadcast axes (stride 0) among them, on all threads.
 *
 * The axes are taken in the order of the output's memory, and neighbours that lie in one line in all arrays are merged. A loop
 * then runs over stretches of the innermost axis in which every operand lies densely. An operand that does not is gathered
 * into a block first, which stays in the first-level cache; what repeats from stretch to stretch is gathered once. Where all
 * operands but the first are one number each along a stretch, a loop of its own needs no blocks. */
#ifndef MD_ELEMENTS_H
#define MD_ELEMENTS_H
#include "md.h"
#include "simd.h"

enum { EL_OPERANDS = 3, EL_BLOCK = 1024, EL_CHUNK = 4096, EL_SHORT = 128 };
enum { EL_NUMBERS = VREGS == 16 }; /* are there loops for numbers? With wide vectors blocks cost nothing to speak of */

/* y[i] from the operands x[0][i], x[1][i], ... for n elements; p are the kernel's parameters. */
typedef void (*el_loop)(void *y, const void *const *x, int64_t n, const double *p);

typedef struct {
    char *data[1 + EL_OPERANDS]; /* the output, then the operands */
    int64_t shape[MD_MAX_DIMS], stride[1 + EL_OPERANDS][MD_MAX_DIMS];
    int item[1 + EL_OPERANDS];
    int dense[1 + EL_OPERANDS];  /* the elements, in order, have no gaps between them */
    int repeats[1 + EL_OPERANDS]; /* the same in every row of the innermost axis */
    int dims, operands;
    int64_t size, chunk;
    el_loop run, by_numbers; /* by_numbers, or NULL: x[1][0], x[2][0] stand for all of a stretch */
    const double *p;
} elements;

/* Takes the axes of a[0] from the outermost in memory to the innermost, without those of length 1, and merges neighbours. */
static inline void el_merge(elements *e, const md_array *a) {
    int order[MD_MAX_DIMS], dims = 0;
    for (int d = 0; d < a[0].ndim; d++) {
        if (a[0].shape[d] == 1) continue;
        int at = dims++;
        for (; at > 0 && a[0].stride[order[at - 1]] < a[0].stride[d]; at--) order[at] = order[at - 1];
        order[at] = d;
    }
    e->dims = 0;
    for (int i = 0; i < dims; i++) {
        const int d = order[i], outer = e->dims - 1;
        int joins = outer >= 0;
        for (int o = 0; o <= e->operands && joins; o++)
            joins = e->stride[o][outer] == a[o].stride[d] * a[0].shape[d];
        const int to = joins ? outer : e->dims++;
        e->shape[to] = joins ? e->shape[to] * a[0].shape[d] : a[0].shape[d];
        for (int o = 0; o <= e->operands; o++) e->stride[o][to] = a[o].stride[d];
    }
    if (!e->dims) {
        e->dims = 1;
        e->shape[0] = 1;
        for (int o = 0; o <= e->operands; o++) e->stride[o][0] = 1;
    }
}

#define EL_COPY(T)                                                                                   \
    do {                                                                                             \
        T *const t = (T *)to;                                                                        \
        const T *const f = (const T *)from;                                                          \
        if (stride == 0) for (int64_t i = 0; i < n; i++) t[i] = *f;                                  \
        else for (int64_t i = 0; i < n; i++) t[i] = f[i * stride];                                   \
    } while (0)
static inline void el_copy(char *to, const char *from, int64_t stride, int64_t n, int item) {
    if (item == 4) EL_COPY(int32_t);
    else if (item == 8) EL_COPY(int64_t);
    else EL_COPY(int8_t);
}

/* n elements of operand o, the first at index `at`, to a block. */
static inline void el_gather(const elements *e, int o, const int64_t *at, int64_t n, char *to) {
    const int inner = e->dims - 1, item = e->item[o];
    int64_t i[MD_MAX_DIMS], from = 0;
    for (int d = 0; d <= inner; d++) {
        i[d] = at[d];
        from += at[d] * e->stride[o][d];
    }
    while (n) {
        const int64_t run = md_min(e->shape[inner] - i[inner], n);
        el_copy(to, e->data[o] + from * item, e->stride[o][inner], run, item);
        to += run * item;
        n -= run;
        from += run * e->stride[o][inner];
        i[inner] += run;
        for (int d = inner; d > 0 && i[d] == e->shape[d]; d--) { /* carry */
            from += e->stride[o][d - 1] - i[d] * e->stride[o][d];
            i[d] = 0;
            i[d - 1]++;
        }
    }
}

static void el_task(int64_t index, void *ctx) {
    const elements *e = ctx;
    const int inner = e->dims - 1, rows = e->shape[inner] >= EL_SHORT; /* stretches end with the row */
    int64_t start = index * e->chunk, at[MD_MAX_DIMS], rest = start, all_dense = 1;
    const int64_t end = md_min(e->size, start + e->chunk), length = e->shape[inner];
    for (int d = inner; d >= 0; d--) {
        at[d] = rest % e->shape[d];
        rest /= e->shape[d];
    }
    for (int o = 1; o <= e->operands; o++) all_dense &= e->dense[o];
    _Alignas(64) char block[EL_OPERANDS][EL_BLOCK * 8];
    int64_t kept[EL_OPERANDS] = {0}; /* elements of a block that need not be gathered again */
    int by_numbers = e->by_numbers && rows && e->operands > 1 && e->stride[1][inner] == 1;
    for (int o = 2; o <= e->operands; o++) by_numbers &= e->stride[o][inner] == 0;
    const int64_t step = all_dense || by_numbers ? e->size : rows ? EL_BLOCK : EL_BLOCK / length * length;
    while (start < end) {
        const int64_t n = md_min(md_min(end - start, step), rows && !all_dense ? length - at[inner] : end - start);
        const void *x[EL_OPERANDS];
        for (int o = 1; o <= e->operands; o++) {
            int64_t from = 0;
            for (int d = 0; d <= inner; d++) from += at[d] * e->stride[o][d];
            char *const own = block[o - 1];
            if (e->dense[o]) x[o - 1] = e->data[o] + start * e->item[o];
            else if (rows && (by_numbers || e->stride[o][inner] == 1)) x[o - 1] = e->data[o] + from * e->item[o];
            else {
                const int same = e->repeats[o] && (!rows || e->stride[o][inner] == 0);
                if (!same || kept[o - 1] < n) el_gather(e, o, at, n, own);
                kept[o - 1] = n;
                x[o - 1] = own;
            }
        }
        (by_numbers ? e->by_numbers : e->run)(e->data[0] + start * e->item[0], x, n, e->p);
        start += n;
        at[inner] += n;
        for (int d = inner; d > 0 && at[d] >= e->shape[d]; d--) {
            at[d - 1] += at[d] / e->shape[d];
            at[d] %= e->shape[d];
        }
    }
}

/* Runs the loop over the output a[0] and `operands` operands of its shape after broadcasting. An absent operand is the number
 * among the `scalars`, in the output's dtype. */
__attribute__((unused)) static int el_map(const md_array *given, int operands, const double *scalars, const double *p,
                                          el_loop run, el_loop by_numbers) {
    md_array a[1 + EL_OPERANDS];
    elements e = {.operands = operands, .size = md_size(&given[0]), .run = run, .by_numbers = by_numbers, .p = p};
    _Alignas(8) char number[EL_OPERANDS][8];
    int dtype = given[0].dtype; /* of the numbers: the operands', the output of a comparison has another */
    for (int o = 1; o <= operands; o++)
        if (given[o].data && given[o].dtype != MD_BOOL) dtype = given[o].dtype;
    for (int o = 0; o <= operands; o++) {
        a[o] = given[o];
        if (!given[o].data && o) {
            if (dtype == MD_F64) memcpy(number[o - 1], &scalars[o - 1], 8);
            else memcpy(number[o - 1], &(float){(float)scalars[o - 1]}, 4);
            a[o].data = number[o - 1];
            a[o].dtype = dtype;
            a[o].ndim = 0;
        }
        const int lead = given[0].ndim - a[o].ndim;
        for (int d = given[0].ndim - 1; d >= 0; d--)
            a[o].stride[d] = d < lead || a[o].shape[d - lead] == 1 ? 0 : a[o].stride[d - lead];
        e.data[o] = a[o].data;
        e.item[o] = a[o].dtype & 0xff;
    }
    for (int d = 0; d < given[0].ndim; d++) /* the output's own strides again, those of axes of length 1 aside */
        a[0].stride[d] = given[0].stride[d];
    if (!e.size) return MD_DONE;
    el_merge(&e, a);
    for (int o = 0; o <= operands; o++) {
        int64_t expect = 1;
        e.dense[o] = e.repeats[o] = 1;
        for (int d = e.dims - 1; d >= 0; d--) {
            e.dense[o] &= e.stride[o][d] == expect;
            e.repeats[o] &= d == e.dims - 1 || e.stride[o][d] == 0;
            expect *= e.shape[d];
        }
    }
    if (!e.dense[0]) return MD_NOT_MINE;
    /* Some chunks for each thread, as many for one as for another, that end with a vector, or with a short row. */
    const int64_t unit = e.shape[e.dims - 1] >= EL_SHORT ? 64 : e.shape[e.dims - 1] * e.item[0], threads = md_get_threads();
    e.chunk = md_ceil_div(e.size, threads * md_max(1, md_min(8, e.size / EL_CHUNK / threads)));
    e.chunk = md_ceil_div(e.chunk, unit) * unit;
    const int64_t tasks = md_ceil_div(e.size, e.chunk);
    if (e.size * e.item[1] <= MD_SMALL_BYTES) for (int64_t i = 0; i < tasks; i++) el_task(i, &e);
    else md_parallel(tasks, el_task, &e);
    return MD_DONE;
}

/* name_loop: the loop of a formula for one element, which the compiler turns into vectors. T is the operands' type, R the
 * result's; the formula knows its operands as x1, x2, x3 and the parameters as p. The output may be an operand.
 * name_by_numbers: the same where x2 and x3 are numbers. */
#define EL_LOOP(name, R, T, operands, formula)                                                          \
    __attribute__((unused)) static void name##_by_numbers(void *y, const void *const *x, int64_t n,     \
                                                          __attribute__((unused)) const double *p) {    \
        R *const to = y;                                                                                \
        const T *const a = x[0];                                                                        \
        const T *const b = (operands) > 1 ? x[1] : a, *const c = (operands) > 2 ? x[2] : a;             \
        __attribute__((unused)) const T x2 = *b, x3 = *c;                                               \
        _Pragma("GCC ivdep") for (int64_t i = 0; i < n; i++) {                                          \
            const T x1 = a[i];                                                                          \
            to[i] = (R)(formula);                                                                       \
        }                                                                                               \
    }                                                                                                   \
    static void name##_loop(void *y, const void *const *x, int64_t n, __attribute__((unused)) const double *p) { \
        R *const to = y;                                                                                \
        const T *const a = x[0], *const b = (operands) > 1 ? x[1] : a, *const c = (operands) > 2 ? x[2] : a; \
        _Pragma("GCC ivdep") for (int64_t i = 0; i < n; i++) {                                          \
            __attribute__((unused)) const T x1 = a[i], x2 = b[i], x3 = c[i];                            \
            to[i] = (R)(formula);                                                                       \
        }                                                                                               \
    }

/* The same of a formula on vectors of floats, x1 and x2, with up to three parameters k1, k2, k3. */
#define EL_VECTOR_LOOP(name, operands, params, formula)                                                     \
    INLINE vf name##_at(vf x1, __attribute__((unused)) vf x2, __attribute__((unused)) const float *k) {      \
        __attribute__((unused)) const float k1 = k[0], k2 = k[1], k3 = k[2];                                 \
        return formula;                                                                                     \
    }                                                                                                       \
    static void name##_loop(void *y, const void *const *x, int64_t n, __attribute__((unused)) const double *p) { \
        float *const to = y, k[3] = {0};                                                                    \
        const float *const a = x[0], *const b = (operands) > 1 ? x[1] : a;                                  \
        for (int i = 0; i < (params); i++) k[i] = (float)p[i];                                              \
        int64_t i = 0;                                                                                      \
        for (; i + VL <= n; i += VL) vstore(to + i, name##_at(vload(a + i), vload(b + i), k));              \
        if (i < n) {                                                                                        \
            const int left = (int)(n - i);                                                                  \
            vstore_part(to + i, name##_at(vload_part(a + i, left, 0), vload_part(b + i, left, 0), k), left); \
        }                                                                                                   \
    }
#endif
