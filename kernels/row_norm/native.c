/* Layer and RMS norm of float32 rows that lie whole in memory.
 *
 * Rows are independent, and a row is read again from cache. The gradients by weight and bias are sums over rows: tasks are
 * chunks of rows, which depend on the shape alone, each summed in floats over RUN rows and these in double. */
#include "moments.h"

enum { RUN = 32, TASK_FLOATS = 16384, MAX_CHUNKS = 16 };

typedef struct {
    float *y, *mean, *rstd, *runs; /* runs: for each chunk 2 n floats */
    const float *x, *g, *weight, *bias;
    double *parts; /* for each chunk 2 n sums: of g z and of g */
    int64_t rows, n, rows_per_task, tasks;
    double eps;
} job;

INLINE row_statistics statistics(const job *j, int64_t r, int centered) {
    const float *x = j->x + r * j->n;
    if (centered) return row_normaliser(x, j->n, j->eps);
    const double squares = row_moments(x, NULL, NULL, j->n, 0).second;
    return (row_statistics){0, 0, 1 / __builtin_sqrt(squares / (double)j->n + j->eps)};
}

INLINE void forward(const job *j, int64_t task, int centered, int affine) {
    const int64_t n = j->n, end = md_min(j->rows, (task + 1) * j->rows_per_task);
    row_statistics s, next = statistics(j, task * j->rows_per_task, centered);
    for (int64_t r = task * j->rows_per_task; r < end; r++) {
        const float *x = j->x + r * n;
        float *y = j->y + r * n;
        s = next;
        if (r + 1 < end) next = statistics(j, r + 1, centered); /* a chain of operations, during which this row is written */
        if (centered) j->mean[r] = s.rough + s.rest;
        const float rstd = j->rstd[r] = (float)s.rstd;
        int64_t i = 0;
        for (; i + VL <= n; i += VL) {
            vf z = (centered ? (vload(x + i) - s.rough) - s.rest : vload(x + i)) * rstd;
            if (affine) {
                z = j->weight ? z * vload(j->weight + i) : z;
                z = j->bias ? z + vload(j->bias + i) : z;
            }
            vstore(y + i, z);
        }
        for (; i < n; i++) {
            float z = (centered ? (x[i] - s.rough) - s.rest : x[i]) * rstd;
            if (affine) {
                z = j->weight ? z * j->weight[i] : z;
                z = j->bias ? z + j->bias[i] : z;
            }
            y[i] = z;
        }
    }
}

typedef struct {
    const float *x, *g;
    float *dx, mean, rstd, of_g, of_z;
} row;

/* dx = rstd (g w - mean(g w) - z mean(g w z)), z = (x - mean) rstd, without mean(g w) where there is no mean: its numbers. */
INLINE row row_sums(const job *j, int64_t r, int centered, const float *w) {
    const int64_t n = j->n;
    row q = {j->x + r * n, j->g + r * n, j->y + r * n, centered ? j->mean[r] : 0, j->rstd[r], 0, 0};
    const moments m = row_moments(q.x, q.g, w, n, q.mean);
    if (centered) q.of_g = (float)(m.first / (double)n);
    q.of_z = (float)(m.second * q.rstd / (double)n);
    return q;
}

/* dx of one row or two, and what they add to the sums of g z and of g: two at a time load and store these half as often. The
 * next rows are on their way from memory meanwhile. */
INLINE void row_gradients(const row *q, int rows, int64_t n, const float *w, float *dw, float *db, int centered) {
    int64_t i = 0;
    for (; i + VL <= n; i += VL) {
        vf of_w = vload(dw + i), of_b = centered ? vload(db + i) : vset(0);
#pragma GCC unroll 2
        for (int r = 0; r < rows; r++) {
            vfetch(q[r].x + rows * n + i);
            vfetch(q[r].g + rows * n + i);
            vfetch(q[r].dx + rows * n + i);
            const vf z = (vload(q[r].x + i) - q[r].mean) * q[r].rstd, g = vload(q[r].g + i), gw = w ? g * vload(w + i) : g;
            vstore(q[r].dx + i, ((gw - q[r].of_g) - z * q[r].of_z) * q[r].rstd);
            of_w += g * z;
            of_b += g;
        }
        vstore(dw + i, of_w);
        if (centered) vstore(db + i, of_b);
    }
    for (; i < n; i++)
        for (int r = 0; r < rows; r++) {
            const float z = (q[r].x[i] - q[r].mean) * q[r].rstd, g = q[r].g[i], gw = w ? g * w[i] : g;
            q[r].dx[i] = ((gw - q[r].of_g) - z * q[r].of_z) * q[r].rstd;
            dw[i] += g * z;
            if (centered) db[i] += g;
        }
}

INLINE void backward(const job *j, int64_t task, int centered, int weighted) {
    const int64_t n = j->n, end = md_min(j->rows, (task + 1) * j->rows_per_task);
    const float *w = weighted ? j->weight : NULL;
    float *run = j->runs + task * 2 * n;
    double *part = j->parts + task * 2 * n;
    for (int64_t i = 0; i < 2 * n; i++) part[i] = 0;
    for (int64_t first = task * j->rows_per_task; first < end; first += RUN) {
        const int64_t last = md_min(end, first + RUN);
        for (int64_t i = 0; i < 2 * n; i++) run[i] = 0;
        int64_t r = first;
        for (; r + 2 <= last; r += 2) {
            const row two[2] = {row_sums(j, r, centered, w), row_sums(j, r + 1, centered, w)};
            row_gradients(two, 2, n, w, run, run + n, centered);
        }
        if (r < last) {
            const row one = row_sums(j, r, centered, w);
            row_gradients(&one, 1, n, w, run, run + n, centered);
        }
        for (int64_t i = 0; i < 2 * n; i++) part[i] += run[i];
    }
}

static void layer_task(int64_t task, void *ctx) {
    const job *j = ctx;
    if (j->weight || j->bias) forward(j, task, 1, 1);
    else forward(j, task, 1, 0);
}
static void rms_task(int64_t task, void *ctx) {
    const job *j = ctx;
    if (j->weight) forward(j, task, 0, 1);
    else forward(j, task, 0, 0);
}
static void layer_backward_task(int64_t task, void *ctx) {
    const job *j = ctx;
    if (j->weight) backward(j, task, 1, 1);
    else backward(j, task, 1, 0);
}
static void rms_backward_task(int64_t task, void *ctx) {
    const job *j = ctx;
    if (j->weight) backward(j, task, 0, 1);
    else backward(j, task, 0, 0);
}

static int usable(const md_array *a, int n) {
    for (int i = 0; i < n; i++)
        if (a[i].data && (a[i].dtype != MD_F32 || !md_contiguous(&a[i]))) return 0;
    return 1;
}

static void over(job *j, void (*body)(int64_t, void *)) {
    if (j->rows * j->n * (int64_t)sizeof(float) < MD_SMALL_BYTES)
        for (int64_t i = 0; i < j->tasks; i++) body(i, j);
    else md_parallel(j->tasks, body, j);
}

static int run_forward(job *j, const md_array *x, void (*body)(int64_t, void *)) {
    j->x = (float *)x->data;
    j->rows = x->shape[0];
    j->n = x->shape[1];
    j->rows_per_task = md_ceil_div(TASK_FLOATS, md_max(1, j->n));
    j->tasks = md_ceil_div(j->rows, j->rows_per_task);
    over(j, body);
    return MD_DONE;
}

static int run_backward(job *j, const md_array *x, float *dweight, float *dbias, void (*body)(int64_t, void *)) {
    const int64_t n = j->n = x->shape[1];
    j->x = (float *)x->data;
    j->rows = x->shape[0];
    j->rows_per_task = md_max(md_ceil_div(TASK_FLOATS, md_max(1, n)), md_ceil_div(j->rows, MAX_CHUNKS));
    j->tasks = md_ceil_div(j->rows, j->rows_per_task);
    j->parts = md_scratch(MD_SLOT_A, (size_t)(j->tasks * 2 * n + 1) * sizeof(double));
    j->runs = md_scratch(MD_SLOT_B, (size_t)(j->tasks * 2 * n + 1) * sizeof(float));
    if (!j->parts || !j->runs) return MD_NO_MEMORY;
    over(j, body);
    for (int64_t t = 1; t < j->tasks; t++)
        for (int64_t i = 0; i < 2 * n; i++) j->parts[i] += j->parts[t * 2 * n + i];
    for (int64_t i = 0; i < n; i++) {
        dweight[i] = j->tasks ? (float)j->parts[i] : 0;
        if (dbias) dbias[i] = j->tasks ? (float)j->parts[n + i] : 0;
    }
    return MD_DONE;
}

MD_KERNEL(layer_norm, 3, 3) {
    if (!usable(a, n)) return MD_NOT_MINE;
    job j = {.y = (float *)a[0].data, .mean = (float *)a[1].data, .rstd = (float *)a[2].data,
             .weight = (float *)a[4].data, .bias = (float *)a[5].data, .eps = p[0]};
    return run_forward(&j, &a[3], layer_task);
}

MD_KERNEL(rms_norm, 2, 2) {
    if (!usable(a, n)) return MD_NOT_MINE;
    job j = {.y = (float *)a[0].data, .rstd = (float *)a[1].data, .weight = (float *)a[3].data, .eps = p[0]};
    return run_forward(&j, &a[2], rms_task);
}

MD_KERNEL(layer_norm_backward, 3, 5) {
    if (!usable(a, n)) return MD_NOT_MINE;
    job j = {.y = (float *)a[0].data, .g = (float *)a[3].data, .mean = (float *)a[5].data, .rstd = (float *)a[6].data,
             .weight = (float *)a[7].data};
    return run_backward(&j, &a[4], (float *)a[1].data, (float *)a[2].data, layer_backward_task);
}

MD_KERNEL(rms_norm_backward, 2, 4) {
    if (!usable(a, n)) return MD_NOT_MINE;
    job j = {.y = (float *)a[0].data, .g = (float *)a[2].data, .rstd = (float *)a[4].data, .weight = (float *)a[5].data};
    return run_backward(&j, &a[3], (float *)a[1].data, NULL, rms_backward_task);
}
