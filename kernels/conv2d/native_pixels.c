/* Few pixels and many channels, as in the last layers of a small image: there are more weights than caches hold, and to read
 * them takes as long as their products. So they are read once, in the order in which they lie (kh, kw, C, O), and a tap of the
 * window meets just the pixels that it reaches: windows at the edges have fewer.
 *
 *   forward     y[pixel][o]        = sum over taps and c of x[pixel + tap][c] * w[tap][c][o]    a task: some of the rows [tap][c]
 *   by data     dx[pixel + tap][c] = sum over taps and o of g[pixel][o] * w[tap][c][o]          a task: some channels c
 *   by weights  dw[tap][c][o]      = sum over pixels of x[pixel + tap][c] * g[pixel][o]         a task: some rows of one tap
 *
 * Forward, vectors lie along o; the sums of a few parts of the rows, as many whatever the threads, are added at the end. Panels of
 * these sums, and some channels of the pixels of x, are gathered: in rows of many channels they would meet in few sets of the
 * first cache. So are narrow panels of w, while the second cache fetches the next rows. By data vectors lie along o too, which is
 * summed over: a tile is dot products. */
#include "conv.h"

enum {
    MOST_PIXELS = 100,       /* of y */
    MOST_BY_DATA = 64, MOST_BESIDE_TILES = 32, /* the same, by data; there, where matrix tiles are the other way */
    LEAST_WEIGHTS = 1 << 20, /* floats: fewer stay in the second caches, and other ways have more from them */
    PARTS = 4,
    BLOCK = 64,              /* rows of w at a time */
    DOT_CHANNELS = 4, DOT_PIXELS = VL / DOT_CHANNELS, /* of a tile of dot products */
};

typedef struct { int64_t in, out; } meeting; /* pixels of x and y, that a tap joins */

typedef struct {
    conv_shape s;
    const float *x, *w, *g; /* x: or, by data, the gradient of y, which g is */
    float *y;               /* or that of x or w */
    const float *bias, *residual;
    const meeting *met; /* of each tap, `pixels` of them at most */
    const int64_t *count;
    int64_t pixels, tasks; /* of y; by data */
    int64_t cols;       /* of a task, forward */
    float *sums;        /* [part][panel][pixel][o] */
    _Atomic int status;
} few;

static int suits(const conv_shape *s, const md_array *w, int64_t most) {
    return s->G == 1 && lies_flat(w) && s->kh * s->kw > 1 && s->O % VL == 0 && s->C % DOT_CHANNELS == 0 &&
           s->N * s->oh * s->ow <= most && s->K * s->O >= LEAST_WEIGHTS;
}

/* Lists for each tap the pixels that meet. */
static void list_meetings(meeting *met, int64_t *count, const conv_shape *s) {
    const int64_t pixels = s->N * s->oh * s->ow;
    for (int64_t tap = 0; tap < s->kh * s->kw; tap++, met += pixels) {
        count[tap] = 0;
        for (int64_t i = 0; i < pixels; i++) {
            const int64_t row = i / s->ow % s->oh * s->sh + tap / s->kw * s->dh - s->ph;
            const int64_t column = i % s->ow * s->sw + tap % s->kw * s->dw - s->pw;
            if (row >= 0 && row < s->H && column >= 0 && column < s->W)
                met[count[tap]++] = (meeting){(i / s->ow / s->oh * s->H + row) * s->W + column, i};
        }
    }
}

/* The lists, and `sums` floats of memory; NULL without memory. */
static float *prepare(few *f, int64_t sums) {
    const conv_shape *s = &f->s;
    const int64_t taps = s->kh * s->kw;
    f->pixels = s->N * s->oh * s->ow;
    float *const memory = md_scratch(MD_SLOT_A, (size_t)sums * sizeof(float) + (size_t)(taps * f->pixels) * sizeof(meeting) +
                                                    (size_t)taps * sizeof(int64_t));
    if (!memory) return NULL;
    meeting *const met = (meeting *)(memory + sums);
    int64_t *const count = (int64_t *)(met + taps * f->pixels);
    list_meetings(met, count, s);
    f->met = met;
    f->count = count;
    return memory;
}

/* ---- forward ---- */

/* Asks the second cache for some columns of rows [k0, k1) of w. */
static void fetch_rows(const few *f, int64_t k0, int64_t k1, int64_t j0, int64_t j1) {
    for (int64_t k = k0; k < k1; k++)
        for (int64_t j = j0; j < j1; j += 16) __builtin_prefetch(f->w + k * f->s.O + j, 0, 2);
}

static void rows_task(int64_t task, void *ctx) {
    const few *f = ctx;
    const conv_shape *s = &f->s;
    const int64_t O = s->O, part = task % PARTS, end = s->K * (part + 1) / PARTS;
    const int64_t j0 = task / PARTS * f->cols, j1 = md_min(O, j0 + f->cols);
    float *const sums = f->sums + part * f->pixels * O, x[MOST_PIXELS * BLOCK], panel[NARROW ? PANEL * BLOCK : 1];
    int64_t along[BLOCK];
    for (int64_t k = 0; k < BLOCK; k++) along[k] = k;
    memset(sums + j0 * f->pixels, 0, (size_t)((j1 - j0) * f->pixels) * sizeof(float));
    for (int64_t k = s->K * part / PARTS, next; k < end; k = next) {
        const int64_t tap = k / s->C, c = k % s->C, count = f->count[tap];
        const meeting *const met = f->met + tap * f->pixels;
        next = md_min(md_min(end, k + BLOCK), (tap + 1) * s->C);
        for (int64_t i = 0; i < count; i++)
            memcpy(x + i * BLOCK, f->x + met[i].in * s->C + c, (size_t)(next - k) * sizeof(float));
        for (int64_t j = j0; j < j1; j += PANEL) {
            const float *a[PANEL_ROWS];
            float *y[PANEL_ROWS];
            const int64_t cols = md_min(PANEL, j1 - j);
            const int nv = (int)(cols / VL);
            panel_args t = {.k = next - k, .a = a, .off = along, .b = f->w + k * O + j, .ldb = O, .y = y, .cols = (int)cols, .add = 1};
            if (NARROW) {
                const int64_t from = next + BLOCK * (j - j0) / (j1 - j0), to = next + BLOCK * (j - j0 + cols) / (j1 - j0);
                fetch_rows(f, from, md_min(end, to), j0, j1); /* a share of the next rows */
                copy_vectors(panel, nv, t.b, O, t.k);
                t.b = panel, t.ldb = nv * VL;
            }
            for (int64_t i = 0, rows; i < count; i += rows) {
                rows = panel_rows(nv, count - i);
                list_factors(a, x + i * BLOCK, BLOCK);
                for (int r = 0; r < rows; r++) y[r] = sums + j * f->pixels + met[i + r].out * cols;
                panel_tile(nv, (int)rows, &t);
            }
        }
    }
}

static void finish_pixel(int64_t i, void *ctx) {
    const few *f = ctx;
    const int64_t O = f->s.O, all = f->pixels * O;
    for (int64_t j = 0; j < O; j += PANEL) {
        const int64_t cols = md_min(PANEL, O - j);
        const float *const sums = f->sums + j * f->pixels + i * cols;
        for (int64_t v = 0; v < cols; v += VL) {
            vf sum = f->bias ? vload(f->bias + j + v) : (vf){0};
            for (int part = 0; part < PARTS; part++) sum += vload(sums + part * all + v);
            if (f->residual) sum += vload(f->residual + i * O + j + v);
            vstore(f->y + i * O + j + v, activated(sum, f->s.activation));
        }
    }
}

int MD_LOCAL(pixels_forward)(const md_array *y, const md_array *x, const md_array *w, const md_array *bias, const md_array *residual,
                             const conv_shape *s) {
    if (!suits(s, w, MOST_PIXELS) || (residual->data && !md_channels_last(residual))) return MD_NOT_MINE;
    const int64_t threads = md_get_threads(), groups = md_ceil_div(threads, PARTS);
    few f = {.s = *s, .w = (const float *)w->data, .y = (float *)y->data, .bias = (const float *)bias->data,
             .residual = (const float *)residual->data, .cols = md_ceil_div(md_ceil_div(s->O, PANEL), groups) * PANEL};
    f.sums = prepare(&f, PARTS * md_size(y));
    if (!f.sums || !(f.x = dense(x, MD_SLOT_D, threads))) return MD_NO_MEMORY;
    run_tasks(threads, PARTS * md_ceil_div(s->O, f.cols), rows_task, &f);
    run_tasks(threads, f.pixels, finish_pixel, &f);
    return MD_DONE;
}

/* ---- by data ---- */

/* Lane p * DOT_CHANNELS + c is the dot product of g[p] with row c of w; `ahead` is fetched, O floats. */
INLINE vf dots(const float *const *g, const float *w, int64_t O, const float *ahead) {
    vf acc[VL];
#pragma GCC unroll 16
    for (int i = 0; i < VL; i++) acc[i] = (vf){0};
    for (int64_t o = 0; o < O; o += VL) {
        vf factor[DOT_PIXELS];
        vfetch(ahead + o);
#pragma GCC unroll 4
        for (int p = 0; p < DOT_PIXELS; p++) factor[p] = vload(g[p] + o);
#pragma GCC unroll 4
        for (int c = 0; c < DOT_CHANNELS; c++) {
            vf row = vload(w + c * O + o);
            IN_REGISTER(row);
#pragma GCC unroll 4
            for (int p = 0; p < DOT_PIXELS; p++) acc[p * DOT_CHANNELS + c] += factor[p] * row;
        }
    }
    return vsums(acc);
}

static void channels_task(int64_t task, void *ctx) {
    const few *f = ctx;
    const conv_shape *s = &f->s;
    const int64_t tiles = s->C / DOT_CHANNELS, c0 = tiles * task / f->tasks * DOT_CHANNELS, c1 = tiles * (task + 1) / f->tasks * DOT_CHANNELS;
    for (int64_t i = 0; i < s->N * s->H * s->W; i++) memset(f->y + i * s->C + c0, 0, (size_t)(c1 - c0) * sizeof(float));
    for (int64_t tap = 0; tap < s->kh * s->kw; tap++)
        for (int64_t c = c0; c < c1; c += DOT_CHANNELS) {
            const meeting *const met = f->met + tap * f->pixels;
            const int64_t count = f->count[tap];
            const float *const w = f->w + (tap * s->C + c) * s->O, *ahead = w + DOT_CHANNELS * s->O;
            for (int64_t i = 0; i < count; i += DOT_PIXELS, ahead += s->O) {
                const float *g[DOT_PIXELS];
                float sums[VL];
                for (int p = 0; p < DOT_PIXELS; p++) g[p] = f->x + met[md_min(i + p, count - 1)].out * s->O;
                vstore(sums, dots(g, w, s->O, ahead));
                for (int p = 0; p < md_min(DOT_PIXELS, count - i); p++) {
                    float *const to = f->y + met[i + p].in * s->C + c;
                    for (int e = 0; e < DOT_CHANNELS; e++) to[e] += sums[p * DOT_CHANNELS + e];
                }
            }
        }
}

int MD_LOCAL(pixels_data)(const md_array *dx, const md_array *g, const md_array *w, const conv_shape *s) {
    if (!suits(s, w, md_has_amx() ? MOST_BESIDE_TILES : MOST_BY_DATA) || !md_channels_last(dx)) return MD_NOT_MINE;
    const int64_t threads = md_get_threads();
    few f = {.s = *s, .w = (const float *)w->data, .y = (float *)dx->data};
    if (!prepare(&f, 0) || !(f.x = dense(g, MD_SLOT_D, threads))) return MD_NO_MEMORY;
    f.tasks = md_min(s->C / DOT_CHANNELS, 4 * threads);
    run_tasks(threads, f.tasks, channels_task, &f);
    return MD_DONE;
}

/* ---- by weights ---- */

/* BLOCK rows of dw, all of one tap: each row is written once, from its begin to its end. */
static void outer_task(int64_t task, void *ctx) {
    few *f = ctx;
    const conv_shape *s = &f->s;
    const int64_t O = s->O, blocks = md_ceil_div(s->C, BLOCK), tap = task / blocks, c0 = task % blocks * BLOCK;
    const int64_t channels = md_min(BLOCK, s->C - c0), count = f->count[tap];
    const meeting *const met = f->met + tap * f->pixels;
    float x[MOST_PIXELS * BLOCK], *const g = md_scratch(MD_SLOT_C, (size_t)(count * O) * sizeof(float) + 64);
    int64_t off[MOST_PIXELS];
    if (!g) {
        f->status = MD_NO_MEMORY;
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        off[i] = i * BLOCK;
        memcpy(x + off[i], f->x + met[i].in * s->C + c0, (size_t)channels * sizeof(float));
        for (int64_t j = 0; j < O; j += PANEL) {
            const int64_t cols = md_min(PANEL, O - j);
            copy_vectors(g + j * count + i * cols, (int)(cols / VL), f->g + met[i].out * O + j, O, 1);
        }
    }
    for (int64_t c = 0, rows; c < channels; c += rows) {
        rows = panel_rows(PANEL_NV, channels - c);
        for (int64_t j = 0; j < O; j += PANEL) {
            const float *a[PANEL_ROWS];
            float *y[PANEL_ROWS];
            const int64_t cols = md_min(PANEL, O - j);
            const panel_args t = {.k = count, .a = a, .off = off, .b = g + j * count, .ldb = cols, .y = y, .cols = (int)cols};
            list_factors(a, x + c, 1);
            list_results(y, f->y + (tap * s->C + c0 + c) * O + j, O);
            panel_tile((int)(cols / VL), (int)rows, &t);
        }
    }
}

/* Where panels are wide, other ways write whole lines too. */
int MD_LOCAL(pixels_weight)(const md_array *dw, const md_array *db, const md_array *g, const md_array *x, const conv_shape *s) {
    if (!NARROW || !suits(s, dw, MOST_PIXELS)) return MD_NOT_MINE;
    const int64_t threads = md_get_threads();
    few f = {.s = *s, .y = (float *)dw->data};
    if (!prepare(&f, 0) || !(f.x = dense(x, MD_SLOT_D, threads)) || !(f.g = dense(g, MD_SLOT_B, threads))) return MD_NO_MEMORY;
    run_tasks(threads, s->kh * s->kw * md_ceil_div(s->C, BLOCK), outer_task, &f);
    for (int64_t j = 0; j < s->O; j += PANEL) {
        double sums[PANEL] = {0};
        const int64_t cols = md_min(PANEL, s->O - j);
        add_columns(sums, (int)(cols / VL), (int)cols, f.g + j, s->O, f.pixels);
        for (int64_t i = 0; i < cols; i++) ((float *)db->data)[(j + i) * db->stride[0]] = (float)sums[i];
    }
    return f.status;
}
