/* Rows of logits: the largest element and the sum of exponentials, then one logit for the loss, or all for the slope. */
#include "rows.h"

typedef struct {
    float *loss, *lse_out, *dx;          /* the outputs of one or the other direction */
    const float *x, *w;                  /* w is NULL for ones */
    const md_array *target, *g, *lse;
    int64_t rows, n, x_stride, ignore_index, rows_per_task;
    float smoothing, w_sum;
} job;

enum { IGNORED = -1 };
static int64_t given_label(const job *j, int64_t r) {
    const int64_t i = r * j->target->stride[0];
    switch (j->target->dtype) {
    case MD_I32: return ((const int32_t *)j->target->data)[i];
    case MD_U8: return ((const uint8_t *)j->target->data)[i];
    default: return ((const int64_t *)j->target->data)[i];
    }
}

/* The label of row r, IGNORED where it is to be: every label that is no class has been found to be ignore_index. */
static int64_t label(const job *j, int64_t r) {
    const int64_t t = given_label(j, r);
    return t < 0 || t >= j->n || t == j->ignore_index ? IGNORED : t;
}
static float element(const md_array *a, int64_t r) { return ((const float *)a->data)[r * a->stride[0]]; }
static float weight(const job *j, int64_t c) { return j->w ? j->w[c] : 1; }

/* The sum over c of w[c] log p[c]; in blocks, as row_sum_exp does. */
static float smooth_sum(const job *j, const float *x, float max, float log_sum) {
    vf sum = vset(0);
    int64_t c = 0;
    while (c + VL <= j->n) {
        vf part = vset(0);
        for (const int64_t end = md_min(j->n, c + ROW_BLOCK); c + VL <= end; c += VL) {
            const vf log_p = vload(x + c) - max - log_sum;
            part += j->w ? log_p * vload(j->w + c) : log_p;
        }
        sum += part;
    }
    float rest = 0;
    for (; c < j->n; c++) rest += weight(j, c) * (x[c] - max - log_sum);
    return vsum(sum) + rest;
}

static void finish_loss(const job *j, int64_t r, float max, float log_sum) {
    const float *x = j->x + r * j->x_stride;
    const int64_t t = label(j, r);
    j->lse_out[r] = max + log_sum;
    if (t == IGNORED) {
        j->loss[r] = 0;
        return;
    }
    j->loss[r] = -(1 - j->smoothing) * weight(j, t) * (x[t] - max - log_sum);
    if (j->smoothing > 0) j->loss[r] -= j->smoothing / (float)j->n * smooth_sum(j, x, max, log_sum);
}

static void forward_task(int64_t index, void *ctx) {
    const job *j = ctx;
    const int64_t first = index * j->rows_per_task, last = md_min(j->rows, first + j->rows_per_task);
    float turned[NARROW * VL];
    if (j->n > NARROW) {
        for (int64_t r = first; r < last; r++) {
            const float *x = j->x + r * j->x_stride;
            const vf max = row_max(x, j->n, 1);
            finish_loss(j, r, max[0], vlog(row_sum_exp(NULL, x, j->n, max, 1))[0]);
        }
        return;
    }
    for (int64_t r = first; r < last; r += VL) {
        const int rows = (int)md_min(VL, last - r);
        rows_turn(turned, j->x + r * j->x_stride, rows, j->n, j->x_stride);
        const vf max = row_max(turned, j->n * VL, 0), log_sum = vlog(row_sum_exp(NULL, turned, j->n * VL, max, 0));
        for (int i = 0; i < rows; i++) finish_loss(j, r + i, max[i], log_sum[i]);
    }
}

/* y = exp(x - shift) * scale for n elements. */
INLINE void scaled_exp(float *y, const float *x, int64_t n, vf shift, vf scale) {
    int64_t i = 0;
    for (; i + ABREAST * VL <= n; i += ABREAST * VL) {
        vf e[ABREAST];
#pragma GCC unroll 4
        for (int k = 0; k < ABREAST; k++) e[k] = vload(x + i + k * VL) - shift;
        vexps_at_most_16(e, ABREAST);
#pragma GCC unroll 4
        for (int k = 0; k < ABREAST; k++) vstore(y + i + k * VL, e[k] * scale);
    }
    for (; i + VL <= n; i += VL) vstore(y + i, vexp_at_most_16(vload(x + i) - shift) * scale);
    if (i < n) vstore_part(y + i, vexp_at_most_16(vload_part(x + i, (int)(n - i), 0) - shift) * scale, (int)(n - i));
}

/* The factor of softmax(x) in the slope of row r. */
static float softmax_factor(const job *j, int64_t r) {
    const int64_t t = label(j, r);
    if (t == IGNORED) return 0;
    return element(j->g, r) * ((1 - j->smoothing) * weight(j, t) + j->smoothing / (float)j->n * j->w_sum);
}

/* Takes the target distribution off the row, or clears it where the label is ignored. */
static void finish_slope(const job *j, int64_t r) {
    float *dx = j->dx + r * j->n;
    const int64_t t = label(j, r);
    if (t == IGNORED) {
        memset(dx, 0, (size_t)j->n * sizeof(float));
        return;
    }
    const float g = element(j->g, r), soft = g * j->smoothing / (float)j->n;
    if (j->smoothing > 0) for (int64_t c = 0; c < j->n; c++) dx[c] -= soft * weight(j, c);
    dx[t] -= g * (1 - j->smoothing) * weight(j, t);
}

static void backward_task(int64_t index, void *ctx) {
    const job *j = ctx;
    const int64_t first = index * j->rows_per_task, last = md_min(j->rows, first + j->rows_per_task);
    float turned[NARROW * VL], shift[VL] = {0}, scale[VL] = {0};
    if (j->n > NARROW) {
        for (int64_t r = first; r < last; r++) {
            scaled_exp(j->dx + r * j->n, j->x + r * j->x_stride, j->n, vset(element(j->lse, r)), vset(softmax_factor(j, r)));
            finish_slope(j, r);
        }
        return;
    }
    for (int64_t r = first; r < last; r += VL) {
        const int rows = (int)md_min(VL, last - r);
        rows_turn(turned, j->x + r * j->x_stride, rows, j->n, j->x_stride);
        for (int i = 0; i < rows; i++) {
            shift[i] = element(j->lse, r + i);
            scale[i] = softmax_factor(j, r + i);
        }
        scaled_exp(turned, turned, j->n * VL, vload(shift), vload(scale));
        rows_turn_back(j->dx + r * j->n, turned, rows, j->n);
        for (int i = 0; i < rows; i++) finish_slope(j, r + i);
    }
}

/* Fills what both directions share, and runs. */
static int over_rows(job j, const md_array *logits, const md_array *target, const md_array *w, const double *p,
                     void (*task)(int64_t, void *)) {
    enum { TASK = 16384 }; /* elements of a task at least */
    if (logits->dtype != MD_F32 || (logits->stride[1] != 1 && logits->shape[1] > 1)) return MD_NOT_MINE;
    if (target->dtype != MD_I64 && target->dtype != MD_I32 && target->dtype != MD_U8) return MD_NOT_MINE;
    if (w->data && !md_contiguous(w)) return MD_NOT_MINE;
    j.x = (float *)logits->data;
    j.rows = logits->shape[0];
    j.n = logits->shape[1];
    j.x_stride = logits->stride[0];
    j.target = target;
    j.w = (float *)w->data;
    if (p[0] < -1e15 || p[0] > 1e15) return MD_NOT_MINE; /* perhaps not the number that was given */
    j.ignore_index = (int64_t)p[0];
    for (int64_t r = 0; r < j.rows; r++) {
        const int64_t t = given_label(&j, r);
        if ((t < 0 || t >= j.n) && t != j.ignore_index) return MD_NOT_MINE; /* an error for the reference to raise */
    }
    j.smoothing = (float)p[1];
    double sum = 0;
    if (j.smoothing > 0) for (int64_t c = 0; c < j.n; c++) sum += weight(&j, c);
    j.w_sum = (float)sum;
    if (!j.rows || !j.n) return MD_DONE;
    j.rows_per_task = md_ceil_div(TASK, j.n);
    if (j.n <= NARROW) j.rows_per_task = md_ceil_div(j.rows_per_task, VL) * VL;
    const int64_t tasks = md_ceil_div(j.rows, j.rows_per_task);
    if (j.rows * j.n * 4 <= MD_SMALL_BYTES) for (int64_t i = 0; i < tasks; i++) task(i, &j);
    else md_parallel(tasks, task, &j);
    return MD_DONE;
}

MD_KERNEL(cross_entropy, 2, 3) {
    if (!md_contiguous(&a[0]) || !md_contiguous(&a[1])) return MD_NOT_MINE;
    const job j = {.loss = (float *)a[0].data, .lse_out = (float *)a[1].data};
    return over_rows(j, &a[2], &a[3], &a[4], p, forward_task);
}

MD_KERNEL(cross_entropy_backward, 1, 5) {
    if (!md_contiguous(&a[0])) return MD_NOT_MINE;
    const job j = {.dx = (float *)a[0].data, .g = &a[1], .lse = &a[3]};
    return over_rows(j, &a[2], &a[4], &a[5], p, backward_task);
}
