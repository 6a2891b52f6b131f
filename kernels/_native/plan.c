/* A plan: kernel calls in a list, run one after the other without Python between them; and what only plans need as kernels. */
#include "md.h"
#include <string.h>

/* Runs steps[first...count) until one is not native (fn NULL) or does not serve its arrays. Returns its number, or count. */
int64_t md_run(md_step *steps, int64_t first, int64_t count, int *status) {
    *status = MD_DONE;
    int64_t i = first;
    for (; i < count && steps[i].fn; i++) {
        md_keep_in(&steps[i].kept);
        if ((*status = steps[i].fn(steps[i].a, steps[i].n, steps[i].p)) != MD_DONE) break;
    }
    md_keep_in(NULL);
    return i;
}

/* ---- copies between layouts ---- */
typedef struct {
    char *y;
    const char *x;
    int64_t shape[MD_MAX_DIMS], ys[MD_MAX_DIMS], xs[MD_MAX_DIMS]; /* strides in bytes, the smallest of y last */
    int ndim, item;
    int64_t rows_per_task, rows;
} layout;

static void add_axis(layout *l, int64_t n, int64_t ys, int64_t xs) {
    if (n == 1) return;
    int at = l->ndim++;
    for (; at > 0 && l->ys[at - 1] < ys; at--) l->shape[at] = l->shape[at - 1], l->ys[at] = l->ys[at - 1], l->xs[at] = l->xs[at - 1];
    l->shape[at] = n, l->ys[at] = ys, l->xs[at] = xs;
}

/* Axes that lie one within the other in both arrays are one axis. */
static void join_axes(layout *l) {
    int kept = 0;
    for (int d = 1; d < l->ndim; d++) {
        if (l->ys[kept] == l->shape[d] * l->ys[d] && l->xs[kept] == l->shape[d] * l->xs[d]) l->shape[kept] *= l->shape[d];
        else l->shape[++kept] = l->shape[d];
        l->ys[kept] = l->ys[d], l->xs[kept] = l->xs[d];
    }
    if (l->ndim) l->ndim = kept + 1;
}

#define COPY_ROW(type)                                                                                       \
    for (int64_t i = 0; i < n; i++) *(type *)(y + i * ys) = *(const type *)(x + i * xs)

static void copy_row(char *y, const char *x, int64_t n, int64_t ys, int64_t xs, int item) {
    if (ys == item && xs == item) memcpy(y, x, (size_t)(n * item));
    else if (item == 4) COPY_ROW(uint32_t);
    else if (item == 8) COPY_ROW(uint64_t);
    else if (item == 1) COPY_ROW(uint8_t);
    else if (item == 2) COPY_ROW(uint16_t);
    else for (int64_t i = 0; i < n; i++) memcpy(y + i * ys, x + i * xs, (size_t)item);
}

static void copy_rows(int64_t task, void *ctx) {
    const layout *l = ctx;
    const int inner = l->ndim - 1;
    for (int64_t row = task * l->rows_per_task; row < md_min(l->rows, (task + 1) * l->rows_per_task); row++) {
        char *y = l->y;
        const char *x = l->x;
        for (int64_t d = inner - 1, rest = row; d >= 0; rest /= l->shape[d--]) {
            y += rest % l->shape[d] * l->ys[d];
            x += rest % l->shape[d] * l->xs[d];
        }
        copy_row(y, x, l->shape[inner], l->ys[inner], l->xs[inner], l->item);
    }
}

/* y = x, of one shape and dtype; an axis of x may have stride 0. */
MD_KERNEL(plan_copy, 1, 1) {
    const md_array *y = &a[0], *x = &a[1];
    if (y->dtype != x->dtype || y->ndim != x->ndim) return MD_NOT_MINE;
    layout l = {.y = y->data, .x = x->data, .item = y->dtype & 255};
    if (!md_size(y)) return MD_DONE;
    for (int d = 0; d < y->ndim; d++) {
        if (y->shape[d] != x->shape[d]) return MD_NOT_MINE;
        add_axis(&l, y->shape[d], y->stride[d] * l.item, x->stride[d] * l.item);
    }
    if (!l.ndim) add_axis(&l, 2, l.item, l.item), l.shape[0] = 1;
    join_axes(&l);
    const int64_t inner = l.shape[l.ndim - 1];
    l.rows = md_size(y) / inner;
    l.rows_per_task = md_max(1, MD_SMALL_BYTES / (inner * l.item));
    const int64_t tasks = md_ceil_div(l.rows, l.rows_per_task);
    if (tasks <= 2) for (int64_t i = 0; i < tasks; i++) copy_rows(i, &l);
    else md_parallel(tasks, copy_rows, &l);
    return MD_DONE;
}

/* Not done where an index is none of p[0] rows: the step's Python version then says which. */
MD_KERNEL(index_in_range, 0, 1) {
    const md_array *index = &a[0];
    const int64_t count = md_size(index), rows = (int64_t)p[0];
    int wrong = 0;
    if (!md_contiguous(index) || (index->dtype != MD_I64 && index->dtype != MD_I32)) return MD_NOT_MINE;
    for (int64_t i = 0; i < count; i++) {
        const int64_t at = index->dtype == MD_I64 ? ((const int64_t *)index->data)[i] : ((const int32_t *)index->data)[i];
        wrong |= at < 0 || at >= rows;
    }
    return wrong ? MD_NOT_MINE : MD_DONE;
}
