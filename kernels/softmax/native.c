/* Rows that lie whole in memory: the last axis in C order, or the channels of a channels-last image. */
#include "rows.h"

/* y from one operand x, or from g = x and s, for one wide row or VL narrow ones: see rows.h. */
typedef void (*row_kernel)(float *y, const float *x, const float *s, int64_t n, int across);

INLINE void softmax_row(float *y, const float *x, __attribute__((unused)) const float *s, int64_t n, int across) {
    const vf scale = 1.0f / row_sum_exp(y, x, n, row_max(x, n, across), across);
    int64_t i = 0;
    for (; i + VL <= n; i += VL) vstore(y + i, vload(y + i) * scale);
    for (; i < n; i++) y[i] *= scale[0];
}

INLINE void log_softmax_row(float *y, const float *x, __attribute__((unused)) const float *s, int64_t n, int across) {
    const vf max = row_max(x, n, across), log_sum = vlog(row_sum_exp(NULL, x, n, max, across));
    int64_t i = 0;
    for (; i + VL <= n; i += VL) vstore(y + i, vload(x + i) - max - log_sum);
    for (; i < n; i++) y[i] = x[i] - max[0] - log_sum[0];
}

/* The sum of g, or of g * y, in every lane; in blocks, as row_sum_exp does. */
INLINE vf row_sum(const float *g, const float *y, int64_t n, int across) {
    vf sum = vset(0);
    int64_t i = 0;
    while (i + VL <= n) {
        vf even = vset(0), odd = vset(0);
        const int64_t end = md_min(n, i + ROW_BLOCK);
        for (; i + 2 * VL <= end; i += 2 * VL) {
            even += y ? vload(g + i) * vload(y + i) : vload(g + i);
            odd += y ? vload(g + i + VL) * vload(y + i + VL) : vload(g + i + VL);
        }
        for (; i + VL <= end; i += VL) even += y ? vload(g + i) * vload(y + i) : vload(g + i);
        sum += even + odd;
    }
    float rest = 0;
    for (; i < n; i++) rest += y ? g[i] * y[i] : g[i];
    return across ? vset(vsum(sum) + rest) : sum;
}

INLINE void softmax_backward_row(float *dx, const float *g, const float *y, int64_t n, int across) {
    const vf mean = row_sum(g, y, n, across);
    int64_t i = 0;
    for (; i + VL <= n; i += VL) vstore(dx + i, vload(y + i) * (vload(g + i) - mean));
    for (; i < n; i++) dx[i] = y[i] * (g[i] - mean[0]);
}

INLINE void log_softmax_backward_row(float *dx, const float *g, const float *y, int64_t n, int across) {
    const vf sum = row_sum(g, NULL, n, across);
    int64_t i = 0;
    for (; i + VL <= n; i += VL) vstore(dx + i, vload(g + i) - vexp(vload(y + i)) * sum);
    if (i < n) {
        const int left = (int)(n - i);
        vstore_part(dx + i, vload_part(g + i, left, 0) - vexp(vload_part(y + i, left, 0)) * sum, left);
    }
}

/* ---- drivers ---- */
typedef struct {
    float *y;
    const float *x, *s; /* s is NULL where there is one operand */
    int64_t rows, n, rows_per_task;
} job;

INLINE void wide_rows(const job *j, int64_t first, int64_t last, row_kernel row) {
    for (int64_t r = first; r < last; r++) row(j->y + r * j->n, j->x + r * j->n, j->s ? j->s + r * j->n : NULL, j->n, 1);
}

INLINE void narrow_rows(const job *j, int64_t first, int64_t last, row_kernel row) {
    float y[NARROW * VL], x[NARROW * VL], s[NARROW * VL];
    const int64_t n = j->n;
    for (int64_t r = first; r < last; r += VL) {
        const int rows = (int)md_min(VL, last - r);
        rows_turn(x, j->x + r * n, rows, n, n);
        if (j->s) rows_turn(s, j->s + r * n, rows, n, n);
        row(y, x, s, n * VL, 0);
        rows_turn_back(j->y + r * n, y, rows, n);
    }
}

static int over_rows(const md_array *a, int operands, int axis, void (*task)(int64_t, void *)) {
    enum { TASK = 16384 }; /* elements of a task at least */
    const md_array *y = &a[0];
    const int last = axis == y->ndim - 1 && md_contiguous(y), channels = axis == 1 && md_channels_last(y);
    if (!last && !channels) return MD_NOT_MINE;
    for (int o = 0; o <= operands; o++)
        if (a[o].dtype != MD_F32 || !(last ? md_contiguous(&a[o]) : md_channels_last(&a[o]))) return MD_NOT_MINE;
    const int64_t size = md_size(y), n = y->shape[axis];
    if (!size) return MD_DONE;
    job j = {(float *)y->data, (float *)a[1].data, operands == 2 ? (float *)a[2].data : NULL, size / n, n, 0};
    j.rows_per_task = md_ceil_div(md_ceil_div(TASK, n), VL) * VL;
    if (n > NARROW) j.rows_per_task = md_ceil_div(TASK, n);
    const int64_t tasks = md_ceil_div(j.rows, j.rows_per_task);
    if (size * 4 <= MD_SMALL_BYTES) for (int64_t i = 0; i < tasks; i++) task(i, &j);
    else md_parallel(tasks, task, &j);
    return MD_DONE;
}

#define ROW_KERNEL(name, operands)                                                                   \
    static void name##_task(int64_t index, void *ctx) {                                              \
        const job *j = ctx;                                                                          \
        const int64_t first = index * j->rows_per_task, last = md_min(j->rows, first + j->rows_per_task); \
        if (j->n <= NARROW) narrow_rows(j, first, last, name##_row);                                 \
        else wide_rows(j, first, last, name##_row);                                                  \
    }                                                                                                \
    MD_KERNEL(name, 1, operands) { return over_rows(a, operands, (int)p[0], name##_task); }
ROW_KERNEL(softmax, 1)
ROW_KERNEL(log_softmax, 1)
ROW_KERNEL(softmax_backward, 2)
ROW_KERNEL(log_softmax_backward, 2)
