/* The gradients of a convolution, by weights and by data, as products of panel.h: no im2col buffer exists.
 *
 *   by weights    dw[k][o]     = sum over pixels of x[corner(pixel) + way(k)] * g[pixel][o]
 *   by data       dx[corner(pixel) + way(j)] += sum over o of g[pixel][o] * w^T[o][j]             rows added in order
 *
 * The order of every sum is fixed by the shapes, not by the threads. */
#include "conv.h"

enum {
    PART_FLOATS = 1 << 17, /* of all parts of the gradient by weights, which are summed at the end */
    PART_PIXELS = 2 * 192, /* of a part, at least */
    WEIGHT_PIXELS = NARROW ? 256 : 192, /* pixels that the gradient by weights sums at a time: their g rows stay in the first cache */
    STRIP_BYTES = 32768,   /* of dx that a task of the gradient by data owns at a time */
    FEW_PIXELS = 64,       /* of g, whose gradient by data stays on one thread */
};

/* ---------------------------------------------------------------- of maxima ---- */

/* Where taps are given and no file of this family reads them: the gradient g of maxima of 2x2 windows becomes that of all
 * pixels, in memory that is then given back. */
typedef struct { md_array whole; size_t given; } unpooled;

static int unpool(unpooled *u, const md_array *g, const md_array *taps, const conv_shape *s) {
    const md_entry *spread = md_find("max_pool2d_backward", MD_STR(MD_ISA));
    const double window[9] = {2, 2, 2, 2, 0, 0, 1, 1, 0};
    if (!spread) return MD_NOT_MINE;
    u->whole = *g;
    u->whole.shape[2] = s->oh, u->whole.shape[3] = s->ow;
    const int64_t strides[4] = {s->oh * s->ow * s->O, 1, s->ow * s->O, s->O};
    memcpy(u->whole.stride, strides, sizeof strides);
    if (!(u->whole.data = md_take((size_t)md_size(&u->whole) * sizeof(float) + 64, &u->given))) return MD_NO_MEMORY;
    const md_array arrays[3] = {u->whole, *g, *taps};
    return spread->fn(arrays, 3, window);
}

static int readable(const md_array *taps) { return !taps->data || (taps->dtype == MD_U8 && md_channels_last(taps)); }

/* ---------------------------------------------------------------- by weights ---- */

typedef struct {
    conv_shape s;
    const float *x, *g;
    float *dw, *packed; /* packed: g rows of a block where g's own are not whole vectors, or too far apart */
    int64_t rows; /* k rows of a task */
    int64_t image, images, splits, split, cuts; /* floats of an image; images whose corners are listed; parts of
                                                        the batch, split images each, or cuts of one */
    double *sums;            /* of g's columns, for each split */
    const int64_t *way, *corner;
} weights;

/* Some k rows of one panel of dw, summed over one part of the batch, a block of pixels at a time. */
static void weight_task(int64_t task, void *ctx) {
    const weights *w = ctx;
    const conv_shape *s = &w->s;
    const int64_t panels = md_ceil_div(s->og, PANEL), blocks = md_ceil_div(s->K, w->rows);
    const int64_t k0 = task % blocks * w->rows, k1 = md_min(s->K, k0 + w->rows);
    const int64_t panel = task / blocks % panels, group = task / blocks / panels % s->G, j = panel * PANEL;
    const int64_t part = task / blocks / panels / s->G;
    const int64_t cols = md_min(PANEL, s->og - j), o = group * s->og + j;
    const int nv = panel_vectors(cols);
    const float *a[PANEL_ROWS];
    float *y[PANEL_ROWS], *dw = w->dw + part * s->K * s->O;
    const int64_t per_image = s->oh * s->ow, all = s->N * per_image, run = part / w->cuts, cut = part % w->cuts;
    const int64_t last = md_min(s->N, (run + 1) * w->split);
    double sums[PANEL] = {0}; /* of g's columns, while a block of them is in the first cache */
    int add = 0;
    for (int64_t n = run * w->split; n < last; n += w->images) {
        const int64_t listed = md_min(w->images, last - n) * per_image, pieces = md_ceil_div(listed, WEIGHT_PIXELS);
        const int64_t end = md_min(listed, pieces * (cut + 1) / w->cuts * WEIGHT_PIXELS);
        for (int64_t first = pieces * cut / w->cuts * WEIGHT_PIXELS; first < end; first += WEIGHT_PIXELS, add = 1) {
            const int64_t pixel = n * per_image + first;
            panel_args t = {.k = md_min(WEIGHT_PIXELS, end - first), .a = a, .off = w->corner + first, .y = y,
                           .cols = (int)cols, .add = add};
            if (w->packed) {
                t.ldb = nv * VL;
                t.b = w->packed + (group * panels + panel) * all * PANEL + pixel * t.ldb;
            } else t.b = w->g + pixel * s->O + o, t.ldb = s->O;
            for (int64_t k = k0, rows; k < k1; k += rows) {
                rows = panel_rows(nv, k1 - k);
                for (int i = 0; i < rows; i++) a[i] = w->x + n * w->image + w->way[k + i] + group * s->cg;
                list_results(y, dw + k * s->O + o, s->O);
                panel_tile(nv, (int)rows, &t);
            }
            if (k0 == 0) add_columns(sums, nv, (int)cols, t.b, t.ldb, t.k);
        }
    }
    if (k0 == 0) for (int64_t i = 0; i < cols; i++) w->sums[part * s->O + o + i] = sums[i];
}

/* g's columns of one panel for all pixels, in whole vectors. */
static void pack_gradient(int64_t task, void *ctx) {
    const weights *w = ctx;
    const conv_shape *s = &w->s;
    const int64_t panels = md_ceil_div(s->og, PANEL), all = s->N * s->oh * s->ow;
    const int64_t group = task / panels, j = task % panels * PANEL, cols = md_min(PANEL, s->og - j);
    float *const to = w->packed + task * all * PANEL;
    const float *const from = w->g + group * s->og + j;
    if (cols % VL) pack_strided(to, panel_vectors(cols), from, all, cols, s->O, 1);
    else copy_vectors(to, panel_vectors(cols), from, s->O, all);
}

static int weight_gradient(const md_array *dw, const md_array *db, const md_array *g, const md_array *x, const conv_shape *s0) {
    const int done = MD_LOCAL(groups_weight)(dw, db, g, x, s0);
    if (done != MD_NOT_MINE) return done;
    weights w = {.s = *s0, .dw = (float *)dw->data};
    conv_shape *s = &w.s;
    const int64_t O = s->O, all = s->N * s->oh * s->ow, PH = s->H + 2 * s->ph, PW = s->W + 2 * s->pw;
    const int64_t flops = 2 * all * O * s->K, threads = threads_for(flops);
    const int64_t panels = s->G * md_ceil_div(s->og, PANEL), image = PH * PW * s->C, size = s->K * O;
    const int64_t packed = s->og % VL || (NARROW && s->O > 2 * PANEL) ? panels * all * PANEL : 0;
    const int mr = panel_mr[panel_vectors(s->og)];
    /* Few tiles: the batch is summed in parts, as many whatever the threads, so that the bits are the same. */
    const int64_t most = panels < 8 ? md_min(PART_FLOATS / size, all / PART_PIXELS) : 1;
    const int64_t parts = most >= 8 ? 8 : most >= 4 ? 4 : most >= 2 ? 2 : 1;
    w.split = md_ceil_div(s->N, md_min(s->N, parts));
    w.splits = md_ceil_div(s->N, w.split);
    w.cuts = w.split > 1 ? 1 : md_max(1, md_min(parts / w.splits, s->oh * s->ow / WEIGHT_PIXELS));
    w.splits *= w.cuts;
    w.image = image;
    w.images = md_min(w.split, md_max(1, WEIGHT_PIXELS / (s->oh * s->ow)));
    /* scratch: the tables, sums and parts, then the images with their border */
    const int64_t corners = w.images * s->oh * s->ow;
    int64_t *tables = md_scratch(MD_SLOT_A, (size_t)(corners + s->K) * sizeof(int64_t) + (size_t)(w.splits * O) * sizeof(double) +
                                                (size_t)(w.splits > 1 ? w.splits * size : 0) * sizeof(float));
    if (!tables || !(w.g = dense(g, MD_SLOT_B, threads))) return MD_NO_MEMORY;
    w.sums = (double *)(tables + corners + s->K);
    if (w.splits > 1) w.dw = (float *)(w.sums + w.splits * O);
    if (s->ph || s->pw || !md_channels_last(x) || packed) {
        float *copy = md_scratch(MD_SLOT_C, (size_t)(s->N * image + packed) * sizeof(float));
        if (!copy) return MD_NO_MEMORY;
        copying c = {.x = x, .to = copy, .rows = PH, .ph = s->ph, .pw = s->pw, .image = image};
        run_tasks(threads, s->N * COPIES, copy_image, &c);
        w.x = copy;
        if (packed) {
            w.packed = copy + s->N * image;
            run_tasks(threads, panels, pack_gradient, &w);
        }
    } else w.x = (const float *)x->data;
    ways(tables, s, PW);
    w.way = tables;
    int64_t *corner = tables + s->K;
    w.corner = corner;
    for (int64_t n = 0; n < w.images; n++)
        for (int64_t u = 0; u < s->oh; u++)
            for (int64_t v = 0; v < s->ow; v++) *corner++ = ((n * PH + u * s->sh) * PW + v * s->sw) * s->C;
    w.rows = w.splits * panels >= 2 * threads ? s->K : md_max(mr, md_ceil_div(md_ceil_div(s->K, 2 * threads), mr) * mr);
    const int64_t tasks = w.splits * panels * md_ceil_div(s->K, w.rows);
    run_tasks(threads, tasks, weight_task, &w);
    if (w.splits > 1) {
        float *total = (float *)dw->data;
        memcpy(total, w.dw, (size_t)size * sizeof(float));
        for (int64_t part = 1; part < w.splits; part++)
            for (int64_t i = 0; i < size; i++) total[i] += w.dw[part * size + i];
    }
    for (int64_t o = 0; o < O; o++) {
        double sum = 0;
        for (int64_t part = 0; part < w.splits; part++) sum += w.sums[part * O + o];
        ((float *)db->data)[o * db->stride[0]] = (float)sum;
    }
    return MD_DONE;
}

MD_KERNEL(conv2d_backward_weight, 2, 3) {
    const md_array *dw = &a[0], *db = &a[1], *g = &a[2], *x = &a[3], *taps = &a[4];
    const conv_shape s = read_shape(x, dw, p);
    if (dw->dtype != MD_F32 || g->dtype != MD_F32 || x->dtype != MD_F32 || !readable(taps) || !lies_flat(dw)) return MD_NOT_MINE;
    if (!md_size(dw)) return MD_NOT_MINE; /* no tiles: db is left to the reference */
    if (!s.N) {
        memset(dw->data, 0, (size_t)md_size(dw) * sizeof(float));
        for (int64_t o = 0; o < s.O; o++) ((float *)db->data)[o * db->stride[0]] = 0;
        return MD_DONE;
    }
    int done = taps->data ? MD_NOT_MINE : MD_LOCAL(depthwise_weight)(dw, db, g, x, &s);
    if (done == MD_NOT_MINE && !taps->data) done = MD_LOCAL(product_weight)(dw, db, g, x, &s);
    if (done == MD_NOT_MINE && !taps->data) done = MD_LOCAL(pixels_weight)(dw, db, g, x, &s);
    if (done == MD_NOT_MINE) done = MD_LOCAL(few_weight)(dw, db, g, taps, x, &s);
    if (done == MD_NOT_MINE && !taps->data) done = MD_LOCAL(tiles_weight)(dw, db, g, x, &s);
    if (done == MD_NOT_MINE) done = MD_LOCAL(winograd_weight)(dw, db, g, taps, x, &s);
    if (done != MD_NOT_MINE || !taps->data) return done == MD_NOT_MINE ? weight_gradient(dw, db, g, x, &s) : done;
    unpooled u;
    done = unpool(&u, g, taps, &s);
    if (done == MD_DONE) done = weight_gradient(dw, db, &u.whole, x, &s);
    if (u.whole.data) md_give(u.whole.data, u.given);
    return done;
}

/* ---------------------------------------------------------------- by data ---- */

typedef struct {
    conv_shape s;
    const md_array *dx, *w;
    const float *g;
    float *panels;      /* per group and run of taps: columns j = (tap in run, channel), og rows */
    int64_t runs, run;  /* a run: taps of a window row that are neighbours in memory, `run` floats long */
    int64_t rows;       /* padded dx rows of a task */
    const int64_t *identity;
    _Atomic int status;
} data;

static int64_t run_panels(const data *d) { return md_ceil_div(d->run, PANEL); }

/* One panel of w^T: column j = (tap b, channel c) of the run, row o. A panel's columns of one tap are rows of w. */
static void pack_data(int64_t task, void *ctx) {
    const data *d = ctx;
    const conv_shape *s = &d->s;
    const int64_t *st = d->w->stride, panel = task % run_panels(d), r = task / run_panels(d) % d->runs;
    const int64_t group = task / run_panels(d) / d->runs, joined = d->run > s->cg, a = joined ? r : r / s->kw;
    const int64_t j0 = panel * PANEL, cols = md_min(PANEL, d->run - j0), width = panel_vectors(cols) * VL;
    float *to = d->panels + task * s->og * PANEL;
    const float *from = (const float *)d->w->data + a * st[2] + group * s->og * st[0];
    for (int64_t j = 0, next; j < cols; j = next) {
        const int64_t b = joined ? (j0 + j) / s->cg : r % s->kw, c = (j0 + j) % s->cg;
        const float *rows = from + b * st[3] + c * st[1];
        next = md_min(cols, j + s->cg - c);
        if (st[0] == 1) pack_transposed(to + j, width, rows, st[1], s->og, next - j);
        else
            for (int64_t o = 0; o < s->og; o++)
                for (int64_t i = j; i < next; i++) to[o * width + i] = rows[o * st[0] + (i - j) * st[1]];
    }
    for (int64_t o = 0; o < s->og && cols < width; o++)
        memset(to + o * width + cols, 0, (size_t)(width - cols) * sizeof(float));
}

/* One strip of dx rows: the task owns it and adds every output row that reaches into it. */
static void data_task(int64_t task, void *ctx) {
    data *d = ctx;
    const conv_shape *s = &d->s;
    const int64_t PW = s->W + 2 * s->pw, PH = s->H + 2 * s->ph, strips = md_ceil_div(PH, d->rows), line = PW * s->C;
    const int64_t n = task / strips, r0 = task % strips * d->rows, r1 = md_min(PH, r0 + d->rows);
    const int in_place = !s->ph && !s->pw && md_channels_last(d->dx);
    float *strip = in_place ? (float *)d->dx->data + (n * PH + r0) * line
                            : md_scratch(MD_SLOT_C, (size_t)((r1 - r0) * line) * sizeof(float));
    if (!strip) {
        d->status = MD_NO_MEMORY;
        return;
    }
    memset(strip, 0, (size_t)((r1 - r0) * line) * sizeof(float));
    const float *a[PANEL_ROWS];
    float *y[PANEL_ROWS];
    for (int64_t group = 0; group < s->G; group++)
        for (int64_t r = 0; r < d->runs; r++) {
            const int joined = d->run > s->cg;
            const int64_t tap_row = joined ? r : r / s->kw, down = tap_row * s->dh;
            const int64_t right = (joined ? 0 : r % s->kw) * s->dw * s->C + group * s->cg;
            const int64_t u0 = md_max(0, r0 - down > 0 ? md_ceil_div(r0 - down, s->sh) : 0);
            const int64_t u1 = md_min(s->oh, r1 - down > 0 ? md_ceil_div(r1 - down, s->sh) : 0);
            for (int64_t panel = 0; panel < run_panels(d) && u0 < u1; panel++) {
                const int64_t j = panel * PANEL, cols = md_min(PANEL, d->run - j);
                const int nv = panel_vectors(cols);
                panel_args t = {.k = s->og, .a = a, .off = d->identity, .y = y, .cols = (int)cols, .add = 1, .ldb = nv * VL,
                               .b = d->panels + ((group * d->runs + r) * run_panels(d) + panel) * s->og * PANEL};
                const int64_t pixels = (u1 - u0) * s->ow;
                int64_t u = u0, v = 0;
                for (int64_t pixel = 0, rows; pixel < pixels; pixel += rows) {
                    rows = panel_rows(nv, pixels - pixel);
                    if (v + PANEL_ROWS < s->ow) {
                        list_factors(a, d->g + ((n * s->oh + u) * s->ow + v) * s->O + group * s->og, s->O);
                        list_results(y, strip + (u * s->sh + down - r0) * line + v * s->sw * s->C + right + j, s->sw * s->C);
                        v += rows;
                    } else
                        for (int i = 0; i < rows; i++) {
                            a[i] = d->g + ((n * s->oh + u) * s->ow + v) * s->O + group * s->og;
                            y[i] = strip + (u * s->sh + down - r0) * line + v * s->sw * s->C + right + j;
                            if (++v == s->ow) v = 0, u++;
                        }
                    panel_tile(nv, (int)rows, &t);
                }
            }
        }
    if (in_place) return;
    const int64_t *st = d->dx->stride;
    for (int64_t r = md_max(r0, s->ph); r < md_min(r1, s->ph + s->H); r++) {
        float *to = (float *)d->dx->data + n * st[0] + (r - s->ph) * st[2];
        const float *from = strip + (r - r0) * line + s->pw * s->C;
        for (int64_t q = 0; q < s->W; q++)
            for (int64_t c = 0; c < s->C; c++) to[q * st[3] + c * st[1]] = from[q * s->C + c];
    }
}

static int data_gradient(const md_array *dx, const md_array *g, const md_array *w, const conv_shape *s0) {
    int done = MD_LOCAL(few_data)(dx, g, w, s0);
    if (done == MD_NOT_MINE) done = MD_LOCAL(groups_data)(dx, g, w, s0);
    if (done != MD_NOT_MINE) return done;
    data d = {.s = *s0, .dx = dx, .w = w};
    conv_shape *s = &d.s;
    /* For few pixels, fetching weights that another core packed takes longer than their products. */
    const int64_t threads = s->N * s->oh * s->ow < FEW_PIXELS ? 1 : threads_for(2 * md_size(g) * s->K);
    const int joined = s->dw == 1 && s->G == 1 && s->kw > 1; /* the taps of a window row are neighbours in memory */
    d.run = joined ? s->kw * s->C : s->cg;
    d.runs = joined ? s->kh : s->kh * s->kw;
    const int64_t PH = s->H + 2 * s->ph, line = (s->W + 2 * s->pw) * s->C * (int64_t)sizeof(float);
    d.rows = md_min(PH, md_max(1, STRIP_BYTES / line));
    if (threads > 1 && s->N < threads) d.rows = md_min(d.rows, md_ceil_div(PH, threads));
    const int64_t packs = s->G * d.runs * run_panels(&d);
    d.panels = md_scratch(MD_SLOT_A, (size_t)(packs * s->og * PANEL) * sizeof(float) +
                                         (size_t)s->og * sizeof(int64_t));
    if (!d.panels || !(d.g = dense(g, MD_SLOT_B, threads))) return MD_NO_MEMORY;
    int64_t *identity = (int64_t *)(d.panels + packs * s->og * PANEL);
    for (int64_t o = 0; o < s->og; o++) identity[o] = o;
    d.identity = identity;
    const int64_t tasks = s->N * md_ceil_div(PH, d.rows);
    if (threads == 1) {
        for (int64_t i = 0; i < packs; i++) pack_data(i, &d);
        for (int64_t i = 0; i < tasks; i++) data_task(i, &d);
    } else {
        md_parallel(packs, pack_data, &d);
        md_parallel(tasks, data_task, &d);
    }
    return d.status;
}

MD_KERNEL(conv2d_backward_data, 1, 3) {
    const md_array *dx = &a[0], *g = &a[1], *w = &a[2], *taps = &a[3];
    const conv_shape s = read_shape(dx, w, p);
    if (dx->dtype != MD_F32 || g->dtype != MD_F32 || w->dtype != MD_F32 || !readable(taps)) return MD_NOT_MINE;
    if (!md_size(dx)) return MD_DONE;
    int done = taps->data ? MD_NOT_MINE : MD_LOCAL(depthwise_data)(dx, g, w, &s);
    if (done == MD_NOT_MINE && !taps->data) done = MD_LOCAL(product_data)(dx, g, w, &s);
    if (done == MD_NOT_MINE && !taps->data) done = MD_LOCAL(pixels_data)(dx, g, w, &s);
    if (done == MD_NOT_MINE && !taps->data) done = MD_LOCAL(tiles_data)(dx, g, w, &s);
    if (done == MD_NOT_MINE) done = MD_LOCAL(winograd_data)(dx, g, taps, w, &s);
    if (done != MD_NOT_MINE || !taps->data) return done == MD_NOT_MINE ? data_gradient(dx, g, w, &s) : done;
    unpooled u;
    done = unpool(&u, g, taps, &s);
    if (done == MD_DONE) done = data_gradient(dx, &u.whole, w, &s);
    if (u.whole.data) md_give(u.whole.data, u.given);
    return done;
}
