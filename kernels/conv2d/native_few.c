/* The gradient by weights where images have few channels, as those that a network is given: a window's row is a short run in
 * memory, and the sums of some rows of the window for one or two vectors of output channels stay in registers while a row of
 * the result is read once:
 *
 *   dw[a][l][o] = sum over pixels of x[(u sh + a dh) line + v sw C + l] * g[u][v][o]        l < kw C
 *
 * Of maxima (taps) g is read pooled: it is one of the four pixels of its window. */
#include "../_native/taps.h"
#include "conv.h"

enum { MOST_SUMS = 27, MOST_PARTS = 16, PART_FLOPS = 1 << 19, PART_ROWS = 4 }; /* of a part of the batch that is summed apart, at least */

typedef struct {
    conv_shape s;
    const md_array *image;
    const float *g;
    const uint8_t *taps;     /* or NULL: g is that of all pixels */
    float *parts;            /* sums of each part of the batch: K + 1 rows of `padded` columns, the last those of g */
    int64_t rows, across;    /* rows of g in all, and their pixels */
    int64_t count, padded;   /* parts; O in whole vectors */
    int64_t line, each;      /* floats of a row of the image with its border; pixels of a window's side */
    _Atomic int status;
} few;

enum { WHOLE, RAGGED, POOLED }; /* how g lies: in whole vectors, in `left` floats less than that, as maxima */

/* The sums of some channels of one pixel of g and R rows of the window, L taps each, that lie `row` floats apart. */
INLINE void add_pixel(const int L, const int R, const int nv, const float *x, int64_t row, const vf *g, vf acc[MOST_SUMS][2]) {
#pragma GCC unroll 32
    for (int k = 0; k < R * L; k++) {
        const vf factor = vset(x[k / L * row + k % L]);
#pragma GCC unroll 2
        for (int v = 0; v < nv; v++) acc[k][v] += factor * g[v];
    }
}

/* A row of g. */
INLINE void add_row(const int L, const int R, const int nv, const int how, const few *f, const float *x, const float *g,
                    const uint8_t *taps, int64_t left, float *dw, float *db) {
    const conv_shape *s = &f->s;
    const int64_t step = s->sw * s->C, down = s->sh * f->line, row = s->dh * f->line, across = f->across, O = s->O;
    const int64_t padded = f->padded, next = how == POOLED ? 2 * step : step;
    vf acc[MOST_SUMS][2], sum[2];
#pragma GCC unroll 32
    for (int k = 0; k < R * L; k++)
#pragma GCC unroll 2
        for (int v = 0; v < nv; v++) acc[k][v] = sum[v] = (vf){0};
    for (int64_t pixel = 0; pixel < across; pixel++, g += O, x += next) {
        vf part[2];
        if (how != POOLED) {
#pragma GCC unroll 2
            for (int v = 0; v < nv; v++) {
                part[v] = how == RAGGED ? load_cols(g + v * VL, (int)left - v * VL) : vload(g + v * VL);
                sum[v] += part[v];
            }
            add_pixel(L, R, nv, x, row, part, acc);
            continue;
        }
#pragma GCC unroll 4
        for (int t = 0; t < 4; t++) {
#pragma GCC unroll 2
            for (int v = 0; v < nv; v++) {
                part[v] = at_tap(vload(g + v * VL), load_taps(taps + pixel * O + v * VL), t);
                sum[v] += part[v];
            }
            add_pixel(L, R, nv, x + (t / 2 ? down : 0) + (t % 2 ? step : 0), row, part, acc);
        }
    }
#pragma GCC unroll 2
    for (int v = 0; v < nv; v++) {
#pragma GCC unroll 32
        for (int k = 0; k < R * L; k++) {
            float *to = dw + k * padded + v * VL;
            vstore(to, vload(to) + acc[k][v]);
        }
        if (db) vstore(db + v * VL, vload(db + v * VL) + sum[v]);
    }
}

typedef void row_function(const few *, const float *, const float *, const uint8_t *, int64_t, float *, float *);
typedef struct { int run, rows, vectors; row_function *whole, *ragged, *pooled; } kind;

#define FEW_ROW(L, R, nv, how)                                                                                       \
    static void how##_##L##_##R##_##nv(const few *f, const float *x, const float *g, const uint8_t *taps, int64_t left, \
                                       float *dw, float *db) {                                                      \
        add_row(L, R, nv, how, f, x, g, taps, left, dw, db);                                                          \
    }
#define FEW(L, R, nv) FEW_ROW(L, R, nv, WHOLE) FEW_ROW(L, R, nv, RAGGED) FEW_ROW(L, R, nv, POOLED)
#define KIND(L, R, nv) {L, R, nv, WHOLE_##L##_##R##_##nv, RAGGED_##L##_##R##_##nv, POOLED_##L##_##R##_##nv}
FEW(3, 3, 1)
#if VREGS == 32
FEW(3, 3, 2)
FEW(5, 5, 1)
FEW(7, 1, 2)
FEW(7, 1, 1)
FEW(9, 3, 1)
FEW(15, 1, 1)
FEW(21, 1, 1)
#else
FEW(5, 1, 1)
FEW(7, 1, 1)
FEW(9, 1, 1)
#endif

/* Longer runs of channels first among those alike. */
static const kind kinds[] = {
#if VREGS == 32
    KIND(3, 3, 2), KIND(3, 3, 1), KIND(5, 5, 1), KIND(7, 1, 2), KIND(7, 1, 1), KIND(9, 3, 1), KIND(15, 1, 1), KIND(21, 1, 1),
#else
    KIND(3, 3, 1), KIND(5, 1, 1), KIND(7, 1, 1), KIND(9, 1, 1),
#endif
};

/* The kind for a run of L taps, kh of them and so many vectors of channels; or NULL. */
static const kind *find_kind(int64_t run, int64_t kh, int64_t vectors) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].run == run && kh % kinds[i].rows == 0 && kinds[i].vectors <= vectors) return &kinds[i];
    return NULL;
}

static void part_task(int64_t part, void *ctx) {
    few *f = ctx;
    const conv_shape *s = &f->s;
    const int64_t begin = f->rows * part / f->count, end = f->rows * (part + 1) / f->count, down = f->rows / s->N;
    const int64_t run = s->kw * s->C, reach = (s->kh - 1) * s->dh + 1;
    float *sums = f->parts + part * (s->K + 1) * f->padded;
    memset(sums, 0, (size_t)((s->K + 1) * f->padded) * sizeof(float));
    for (int64_t row = begin, last; row < end; row = last) { /* those of one image */
        const int64_t n = row / down, top = row % down * f->each * s->sh;
        last = md_min(end, (n + 1) * down);
        const float *x = bordered(f->image, s, n, top, ((last - row) * f->each - 1) * s->sh + reach);
        if (!x) {
            f->status = MD_NO_MEMORY;
            return;
        }
        for (int64_t r = row; r < last; r++, x += f->each * s->sh * f->line)
            for (int64_t j = 0, width; j < s->O; j += width) {
                const kind *k = find_kind(run, s->kh, md_ceil_div(s->O - j, VL));
                const float *g = f->g + r * f->across * s->O + j;
                width = k->vectors * VL;
                for (int64_t a = 0; a < s->kh; a += k->rows) {
                    const float *from = x + a * s->dh * f->line;
                    float *dw = sums + a * run * f->padded + j, *db = a ? NULL : sums + s->K * f->padded + j;
                    if (f->taps) k->pooled(f, from, g, f->taps + (g - f->g), 0, dw, db);
                    else if (s->O - j < width) k->ragged(f, from, g, NULL, s->O - j, dw, db);
                    else k->whole(f, from, g, NULL, 0, dw, db);
                }
            }
    }
}

int MD_LOCAL(few_weight)(const md_array *dw, const md_array *db, const md_array *g, const md_array *taps, const md_array *x,
                         const conv_shape *s) {
    const int64_t padded = md_ceil_div(s->O, VL) * VL;
    if (s->G != 1 || s->dw != 1 || !find_kind(s->kw * s->C, s->kh, 1) || (taps->data && s->O % VL) || (db->stride[0] != 1 && s->O > 1)) return MD_NOT_MINE;
    few f = {.s = *s, .image = x, .taps = (const uint8_t *)taps->data, .padded = padded, .line = (s->W + 2 * s->pw) * s->C,
             .each = taps->data ? 2 : 1};
    f.across = s->ow / f.each;
    f.rows = s->N * (s->oh / f.each);
    const int64_t flops = 2 * s->N * s->oh * s->ow * s->K * s->O, threads = threads_for(flops);
    f.count = md_max(1, md_min(MOST_PARTS, md_min(flops / PART_FLOPS, f.rows / PART_ROWS)));
    if (!(f.parts = md_scratch(MD_SLOT_A, (size_t)(f.count * (s->K + 1) * padded) * sizeof(float)))) return MD_NO_MEMORY;
    if (!(f.g = dense(g, MD_SLOT_B, threads))) return MD_NO_MEMORY;
    run_tasks(threads, f.count, part_task, &f);
    for (int64_t k = 0; k <= s->K; k++)
        for (int64_t j = 0; j < s->O; j += VL) {
            float *to = (float *)(k < s->K ? dw->data : db->data) + (k < s->K ? k * s->O + j : j);
            const float *from = f.parts + k * padded + j;
            vf sum = vload(from);
            for (int64_t part = 1; part < f.count; part++) sum += vload(from + part * (s->K + 1) * padded);
            store_cols(to, sum, (int)(s->O - j));
        }
    return f.status;
}
