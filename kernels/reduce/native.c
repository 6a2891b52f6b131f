/* Reductions of float32 and float64 arrays over any axes that leave, in the order of memory, [reduced] kept [reduced] kept:
 * the last axes, the first ones, all, and of images all but the channels, in either layout.
 *
 * Lines of the inner reduced axis are cut into chunks, which depend on the shape alone; each chunk's result is kept in double,
 * and the chunks are joined in their order, sums pairwise. So the bits do not depend on the threads. */
#include "elements.h"
#include "vmath.h"
#include <math.h>

enum { SUM, SQUARES, LARGEST, SMALLEST, ABOUT, EXPONENTIALS }; /* the last two about a center */
enum { NARROW = 48, TASK = 16384, MAX_CHUNKS = VREGS == 32 ? 128 : 32 };

typedef struct {
    const char *x;
    const void *center; /* (a, b) of the array's type, or NULL */
    double *parts;      /* (chunks, r0, a, b) */
    int64_t r0, a, r1, b, r0_stride, a_stride, r1_stride; /* x as (r0, a, r1, b); along b elements lie side by side */
    int64_t a_out, b_out; /* the result's strides */
    int64_t rows, chunks, lines; /* of r1 in a chunk, chunks of a line, and lines in a task */
    int kind, wide;              /* wide: float64 */
} reduction;

INLINE double joined(double a, double b, int kind) {
    if (kind == LARGEST) return b > a || b != b ? b : a;
    if (kind == SMALLEST) return b < a || b != b ? b : a;
    return a + b;
}

#define SELECT(mask, x, y) ((__typeof__(x))(((mask) & (__typeof__(mask))(x)) | (~(mask) & (__typeof__(mask))(y))))
#define T float
#define V vf
#define NAME(f) f##_float
#define VEXP(x) vexp_at_most_16(x) /* the center is the largest, where that is finite */
#define VMAX(a, b) vmax(a, b)
#define VMIN(a, b) vmin(a, b)
#include "lines.h"
#undef T
#undef V
#undef NAME
#undef VEXP
#undef VMAX
#undef VMIN
#define T double
#define V vd
#define NAME(f) f##_double
#define VEXP(x) (x) /* exponentials are for float32 only */
#define VMAX(a, b) SELECT((a) > (b), a, b)
#define VMIN(a, b) SELECT((a) < (b), a, b)
#include "lines.h"

/* Describes x and the result; reduced: a bit for each axis. */
static int describe(reduction *r, const md_array *out, const md_array *x, int64_t reduced) {
    md_array pair[2] = {*x, *x};
    elements e = {.operands = 1};
    for (int d = 0, o = 0; d < x->ndim; d++) {
        const int gone = reduced >> d & 1;
        pair[1].stride[d] = gone || x->shape[d] == 1 ? 0 : out->stride[o];
        o += !gone || out->ndim == x->ndim;
    }
    if (x->dtype != MD_F32 && x->dtype != MD_F64) return MD_NOT_MINE;
    const int64_t size = md_size(x);
    if (!size) return MD_NOT_MINE;
    el_merge(&e, pair);
    *r = (reduction){.x = x->data, .r0 = 1, .a = 1, .r1 = 1, .b = 1, .r1_stride = 1, .wide = x->dtype == MD_F64};
    if (e.dims == 1 && e.shape[0] == 1) e.stride[1][0] = 0;
    int d = 0;
    const int kept_last = e.stride[1][e.dims - 1] != 0;
    /* from the innermost: [kept] reduced [kept] [reduced] */
    d = e.dims - 1;
    if (kept_last) {
        r->b = e.shape[d];
        r->b_out = e.stride[1][d];
        if (e.stride[0][d--] != 1) return MD_NOT_MINE;
    }
    if (d >= 0 && e.stride[1][d] == 0) {
        r->r1 = e.shape[d];
        r->r1_stride = e.stride[0][d--];
        if (!kept_last && r->r1_stride != 1) return MD_NOT_MINE;
    }
    if (d >= 0 && e.stride[1][d] != 0) {
        r->a = e.shape[d];
        r->a_stride = e.stride[0][d];
        r->a_out = e.stride[1][d--];
    }
    if (d >= 0 && e.stride[1][d] == 0) {
        r->r0 = e.shape[d];
        r->r0_stride = e.stride[0][d--];
    }
    if (d >= 0) return MD_NOT_MINE;
    r->rows = md_max(md_ceil_div(TASK, r->b), md_ceil_div(r->r1, MAX_CHUNKS));
    r->chunks = md_ceil_div(r->r1, r->rows);
    r->lines = r->chunks > 1 ? 1 : md_ceil_div(TASK, r->r1 * r->b);
    r->parts = md_scratch(MD_SLOT_A, (size_t)(r->r0 * r->a * r->chunks * r->b) * sizeof(double));
    return r->parts ? MD_DONE : MD_NO_MEMORY;
}

/* The results of the chunks to r->parts. */
static void reduce_chunks(reduction *r, int kind, const void *center) {
    r->kind = kind;
    r->center = center;
    const int64_t tasks = md_ceil_div(r->r0 * r->a, r->lines) * r->chunks;
    void (*const body)(int64_t, void *) = r->wide ? task_double : task_float;
    if (r->r0 * r->a * r->r1 * r->b * (r->wide ? 8 : 4) <= MD_SMALL_BYTES)
        for (int64_t i = 0; i < tasks; i++) body(i, r);
    else md_parallel(tasks, body, r);
}

/* The whole results, (a, b), to the front of r->parts: chunks and r0 are joined pairwise. */
static void reduce(reduction *r, int kind, const void *center) {
    reduce_chunks(r, kind, center);
    const int64_t width = r->a * r->b;
    for (int64_t n = r->chunks * r->r0, half; n > 1; n -= half) {
        half = n / 2;
        double *const to = r->parts, *const from = r->parts + (n - half) * width;
        if (kind == LARGEST || kind == SMALLEST) for (int64_t i = 0; i < half * width; i++) to[i] = joined(to[i], from[i], kind);
        else for (int64_t i = 0; i < half * width; i++) to[i] += from[i];
    }
}

INLINE void put(const reduction *r, const md_array *out, int64_t i, double value) {
    const int64_t at = r->b == 1 ? i * r->a_out : r->a == 1 ? i * r->b_out : i / r->b * r->a_out + i % r->b * r->b_out;
    if (r->wide) ((double *)out->data)[at] = value;
    else ((float *)out->data)[at] = (float)value;
}

static int run(const md_array *a, const double *p, int kind, double scale) {
    reduction r;
    const int status = describe(&r, &a[0], &a[1], (int64_t)p[0]);
    if (status != MD_DONE) return status;
    reduce(&r, kind, NULL);
    for (int64_t i = 0; i < r.a * r.b; i++) put(&r, &a[0], i, r.parts[i] * scale);
    return MD_DONE;
}

MD_KERNEL(sum, 1, 1) { return run(a, p, SUM, 1); }
MD_KERNEL(mean, 1, 1) { return run(a, p, SUM, (double)md_size(&a[0]) / (double)md_max(1, md_size(&a[1]))); }
MD_KERNEL(sum_squares, 1, 1) { return run(a, p, SQUARES, 1); }
MD_KERNEL(max, 1, 1) { return run(a, p, LARGEST, 1); }
MD_KERNEL(min, 1, 1) { return run(a, p, SMALLEST, 1); }

/* A first reduction, whose results are kept and make the centers of a second one. */
static int first_pass(reduction *r, int kind, double **first, void **center) {
    const int64_t n = r->a * r->b;
    *first = md_scratch(MD_SLOT_B, (size_t)n * 2 * sizeof(double));
    if (!*first) return MD_NO_MEMORY;
    *center = *first + n;
    reduce(r, kind, NULL);
    memcpy(*first, r->parts, (size_t)n * sizeof(double));
    return MD_DONE;
}

MD_KERNEL(var, 1, 1) {
    reduction r;
    double *first;
    void *center;
    int status = describe(&r, &a[0], &a[1], (int64_t)p[0]);
    if (status == MD_DONE) status = first_pass(&r, SUM, &first, &center);
    if (status != MD_DONE) return status;
    const double size = (double)(r.r0 * r.r1), count = size - p[1];
    for (int64_t i = 0; i < r.a * r.b; i++) {
        first[i] /= size;
        if (r.wide) ((double *)center)[i] = first[i];
        else ((float *)center)[i] = (float)first[i];
    }
    reduce(&r, ABOUT, center);
    for (int64_t i = 0; i < r.a * r.b; i++) {
        const double off = first[i] - (r.wide ? ((double *)center)[i] : ((float *)center)[i]);
        put(&r, &a[0], i, (r.parts[i] - size * off * off) / (count > 0 ? count : 0));
    }
    return MD_DONE;
}

MD_KERNEL(logsumexp, 1, 1) {
    reduction r;
    double *first;
    void *center;
    if (a[1].dtype != MD_F32) return MD_NOT_MINE;
    int status = describe(&r, &a[0], &a[1], (int64_t)p[0]);
    if (status == MD_DONE) status = first_pass(&r, LARGEST, &first, &center);
    if (status != MD_DONE) return status;
    for (int64_t i = 0; i < r.a * r.b; i++) ((float *)center)[i] = isfinite(first[i]) ? (float)first[i] : 0;
    reduce(&r, EXPONENTIALS, center);
    for (int64_t i = 0; i < r.a * r.b; i++)
        put(&r, &a[0], i, isfinite(first[i]) ? log(r.parts[i]) + ((float *)center)[i] : first[i]);
    return MD_DONE;
}

/* The first place of the largest or smallest element in some lines: the first chunk that has it is looked through. */
typedef struct { const reduction *r; int64_t *out; } places;

static void find_task(int64_t task, void *ctx) {
    const places *q = ctx;
    const reduction *r = q->r;
    for (int64_t i = task * r->lines; i < md_min(r->a, (task + 1) * r->lines); i++) {
        double best = r->parts[i];
        int64_t chunk = 0;
        for (int64_t c = 1; c < r->chunks && best == best; c++) {
            const double both = joined(best, r->parts[c * r->a + i], r->kind);
            if (both != best) {
                best = both;
                chunk = c;
            }
        }
        const int64_t first = chunk * r->rows, n = md_min(r->rows, r->r1 - first), from = i * r->a_stride + first;
        q->out[i * r->a_out] = first + (r->wide ? find_double((const double *)r->x + from, n, best)
                                                : find_float((const float *)r->x + from, n, (float)best));
    }
}

static int find(const md_array *a, const double *p, int kind) {
    reduction r;
    const int status = describe(&r, &a[0], &a[1], (int64_t)p[0]);
    if (status != MD_DONE) return status;
    if (r.b != 1 || r.r0 != 1) return MD_NOT_MINE;
    reduce_chunks(&r, kind, NULL);
    md_parallel(md_ceil_div(r.a, r.lines), find_task, &(places){&r, (int64_t *)a[0].data});
    return MD_DONE;
}
MD_KERNEL(argmax, 1, 1) { return find(a, p, LARGEST); }
MD_KERNEL(argmin, 1, 1) { return find(a, p, SMALLEST); }
