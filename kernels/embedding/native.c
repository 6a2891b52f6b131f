/* Rows of a table, and their gradients. The spec has checked that every index is in range. */
#include "md.h"
#include "simd.h"

enum { GATHER_BYTES = 65536, COLUMNS = 64, MIN_ROWS = 1024, RANGES = 16 };

typedef struct {
    char *y;
    const char *x; /* the table, or the gradient */
    const void *index;
    int64_t count, rows, n, row_bytes, x_row, per_task, columns, column_blocks, rows_per_range;
    const md_array *g; /* the gradient, where its rows do not lie one behind the other */
    int wide; /* index of 64 bits, else of 32 */
} job;

INLINE int64_t at(const job *j, int64_t i) {
    return j->wide ? ((const int64_t *)j->index)[i] : ((const int32_t *)j->index)[i];
}

static void gather(int64_t task, void *ctx) {
    const job *j = ctx;
    const int64_t end = md_min(j->count, (task + 1) * j->per_task);
    for (int64_t i = task * j->per_task; i < end; i++)
        memcpy(j->y + i * j->row_bytes, j->x + at(j, i) * j->x_row, (size_t)j->row_bytes);
}

/* Row i of the gradient begins so far from its start. */
INLINE int64_t row_at(const job *j, int64_t i) {
    if (!j->g) return i * j->n;
    int64_t place = 0;
    for (int d = j->g->ndim - 2; d >= 0; i /= j->g->shape[d--]) place += i % j->g->shape[d] * j->g->stride[d];
    return place;
}

/* A task owns a block of columns, or all, of a range of rows: it adds up, in order, what concerns them. */
static void scatter(int64_t task, void *ctx) {
    const job *j = ctx;
    const int64_t column = task % j->column_blocks * j->columns, columns = md_min(j->columns, j->n - column);
    const int64_t low = task / j->column_blocks * j->rows_per_range, high = md_min(j->rows, low + j->rows_per_range);
    float *y = (float *)j->y + column;
    const float *g = (const float *)j->x + column;
    if (columns == j->n) memset(y + low * j->n, 0, (size_t)((high - low) * columns) * sizeof(float));
    else for (int64_t r = low; r < high; r++) memset(y + r * j->n, 0, (size_t)columns * sizeof(float));
    for (int64_t i = 0; i < j->count; i++) {
        const int64_t r = at(j, i);
        if (r < low || r >= high) continue;
        float *to = y + r * j->n;
        const float *from = g + row_at(j, i);
        int64_t c = 0;
        for (; c + VL <= columns; c += VL) vstore(to + c, vload(to + c) + vload(from + c));
        for (; c < columns; c++) to[c] += from[c];
    }
}

static int index_usable(const md_array *index) {
    return (index->dtype == MD_I64 || index->dtype == MD_I32) && md_contiguous(index);
}

static void over(job *j, int64_t tasks, int64_t bytes, void (*body)(int64_t, void *)) {
    if (bytes < MD_SMALL_BYTES)
        for (int64_t i = 0; i < tasks; i++) body(i, j);
    else md_parallel(tasks, body, j);
}

MD_KERNEL(embedding, 1, 2) {
    const md_array *table = &a[1], *index = &a[2];
    const int64_t width = table->shape[1], item = table->dtype & 255;
    if (!index_usable(index) || !md_contiguous(&a[0]) || (table->stride[1] != 1 && width != 1)) return MD_NOT_MINE;
    job j = {.y = a[0].data, .x = table->data, .index = index->data, .wide = index->dtype == MD_I64,
             .count = md_size(index), .row_bytes = width * item, .x_row = table->stride[0] * item};
    j.per_task = md_ceil_div(GATHER_BYTES, md_max(1, j.row_bytes));
    over(&j, md_ceil_div(j.count, j.per_task), j.count * j.row_bytes, gather);
    return MD_DONE;
}

MD_KERNEL(embedding_backward, 1, 2) {
    const md_array *g = &a[1], *index = &a[2];
    if (!index_usable(index) || g->dtype != MD_F32 || !md_contiguous(&a[0])) return MD_NOT_MINE;
    if (g->stride[g->ndim - 1] != 1 && g->shape[g->ndim - 1] > 1) return MD_NOT_MINE;
    job j = {.y = a[0].data, .x = g->data, .g = md_contiguous(g) ? NULL : g, .index = index->data, .wide = index->dtype == MD_I64,
             .count = md_size(index), .rows = a[0].shape[0], .n = a[0].shape[1]};
    j.columns = j.rows >= RANGES * MIN_ROWS ? j.n : COLUMNS; /* of many rows a task owns whole ones */
    j.column_blocks = md_ceil_div(j.n, md_max(1, j.columns));
    j.rows_per_range = md_max(MIN_ROWS, md_ceil_div(j.rows, RANGES));
    const int64_t bytes = (j.rows + j.count) * j.n * (int64_t)sizeof(float);
    over(&j, j.column_blocks * md_ceil_div(j.rows, j.rows_per_range), bytes, scatter);
    return MD_DONE;
}
