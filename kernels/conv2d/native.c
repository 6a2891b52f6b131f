/* Convolution without an im2col buffer: a matrix product of panel.h whose left operand is addressed through tables of offsets
 * into the image.
 *
 *   y[pixel][o]  = sum over k  of x[corner(pixel) + way(k)] * w[k][o]              k = (a, b, channel)
 *
 * Images lie as N, H, W, C. A border of zeros (padding) or another layout is made by copying a strip to scratch memory. Where
 * maxima of 2x2 windows are wanted, pixels come window by window, four rows of a tile each: they never reach memory. */
#include "conv.h"
#include "pool.h"

enum {
    FORWARD_PIXELS = 384, /* pixels of a task, at least */
    FEW_PIXELS = 64,      /* so few are not shared out */
    VERY_FEW_PIXELS = 32, /* of them the weights' own bytes decide: matrix tiles read half as many more */
    UNPACKED_PIXELS = 400, /* for so few, threads would fetch packed weights from one another for longer than they save */
    LONG_SUM = NARROW ? 320 : 1024, /* longer ones are cut into blocks: the error stays small, a narrow panel in the first cache */
    SUM_BLOCK = NARROW ? 288 : 512,
};

typedef struct {
    conv_shape s;
    const md_array *x, *w;
    float *y;
    uint8_t *taps;        /* of the maxima of 2x2 windows, which y then holds; or NULL */
    ptrdiff_t residual;   /* from y */
    const float *bias, *packed, *direct; /* direct: weights that lie as K rows of O columns */
    int64_t down, across; /* rows of y and what they hold: pixels, or windows of four */
    int64_t images, rows; /* of a task; rows of y */
    int64_t panels, parts; /* of columns, of all groups; tasks that share them */
    int in_place;         /* the images need neither border nor copy */
    const int64_t *way, *corner; /* to the taps of a window; to the windows of an image, or of a strip of it */
    _Atomic int status;
} forward;

/* Column panels of PANEL_NV vectors, group by group; each K rows of zero-padded columns. */
static void pack_forward(int64_t task, void *ctx) {
    const forward *f = ctx;
    const conv_shape *s = &f->s;
    const int64_t panels = md_ceil_div(s->og, PANEL), g = task / panels, j = task % panels * PANEL;
    const int64_t cols = md_min(PANEL, s->og - j), width = panel_vectors(cols) * VL;
    const int64_t *st = f->w->stride;
    float *to = (float *)f->packed + task * s->K * PANEL;
    const float *from = (const float *)f->w->data + (g * s->og + j) * st[0];
    for (int64_t a = 0; a < s->kh; a++)
        for (int64_t b = 0; b < s->kw; b++)
            for (int64_t c = 0; c < s->cg; c++, to += width) {
                const float *row = from + a * st[2] + b * st[3] + c * st[1];
                if (st[0] == 1) memcpy(to, row, (size_t)cols * sizeof(float));
                else for (int64_t i = 0; i < cols; i++) to[i] = row[i * st[0]];
                for (int64_t i = cols; i < width; i++) to[i] = 0;
            }
}

/* The sums of some images or strips for one panel of columns: the first pixel of y0 has the corner `from` + corner[0]. */
static void forward_panel(const forward *f, const float *from, int64_t image, float *y0, int64_t per_image, int64_t pixels,
                          int64_t g, int64_t j) {
    const conv_shape *s = &f->s;
    const int64_t cols = md_min(PANEL, s->og - j), o = g * s->og + j, block = s->K > LONG_SUM && !f->taps ? SUM_BLOCK : s->K;
    const int nv = panel_vectors(cols), windows = panel_mr[nv] / 4;
    const float *a[PANEL_ROWS];
    float *y[PANEL_ROWS];
    uint8_t *taps[PANEL_ROWS];
    for (int64_t k = 0; k < s->K; k += block) {
        const int last = k + block >= s->K;
        panel_args t = {.k = md_min(block, s->K - k), .a = a, .off = f->way + k, .y = y, .bias = f->bias && !k ? f->bias + o : NULL,
                        .cols = (int)cols, .add = k > 0, .relu = last ? s->activation : 0, .residual = last ? f->residual : 0};
        if (f->direct) t.b = f->direct + k * s->O + o, t.ldb = s->O;
        else t.ldb = nv * VL, t.b = f->packed + (g * md_ceil_div(s->og, PANEL) + j / PANEL) * s->K * PANEL + k * t.ldb;
        const float *x = from + g * s->cg; /* of the image under way */
        int64_t in_image = 0;
        for (int64_t pixel = 0, rows; pixel < pixels; pixel += rows) {
            rows = f->taps ? md_min(4 * windows, pixels - pixel) : panel_rows(nv, pixels - pixel);
            if (in_image + PANEL_ROWS < per_image) {
#pragma GCC unroll 12
                for (int i = 0; i < PANEL_ROWS; i++) a[i] = x + f->corner[in_image + i];
                in_image += rows;
            } else
                for (int i = 0; i < rows; i++) {
                    a[i] = x + f->corner[in_image];
                    if (++in_image == per_image) in_image = 0, x += image;
                }
            if (f->taps) {
                for (int i = 0; i < rows / 4; i++) {
                    y[i] = y0 + (pixel / 4 + i) * s->O + o;
                    taps[i] = f->taps + (y[i] - f->y);
                }
                panel_pool_functions[nv - 1][rows / 4 - 1](&t, taps);
            } else {
                list_results(y, y0 + pixel * s->O + o, s->O);
                panel_tile(nv, (int)rows, &t);
            }
        }
    }
}

static void forward_task(int64_t task, void *ctx) {
    forward *f = ctx;
    const conv_shape *s = &f->s;
    const int64_t width = s->W + 2 * s->pw, strips = md_ceil_div(f->down, f->rows), each = f->taps ? 2 : 1;
    const int64_t part = task % f->parts, at = task / f->parts, per_group = f->panels / s->G;
    const int64_t n0 = at / strips * f->images, n1 = md_min(s->N, n0 + f->images);
    const int64_t u0 = at % strips * f->rows, u1 = md_min(f->down, u0 + f->rows);
    const float *x = (const float *)f->x->data;
    int64_t image = s->H * width * s->C; /* floats between two images */
    if (f->in_place) x += n0 * image + each * u0 * s->sh * width * s->C;
    else {
        const int64_t rows = (each * (u1 - u0) - 1) * s->sh + (s->kh - 1) * s->dh + 1;
        image = rows * width * s->C;
        float *strip = md_scratch(MD_SLOT_C, (size_t)((n1 - n0) * image) * sizeof(float));
        if (!strip) {
            f->status = MD_NO_MEMORY;
            return;
        }
        for (int64_t n = n0; n < n1; n++)
            copy_padded(strip + (n - n0) * image, f->x, n, each * u0 * s->sh, each * u0 * s->sh + rows, s->ph, s->pw);
        x = strip;
    }
    const int64_t per_image = (u1 - u0) * f->across * each * each; /* of the task: they are neighbours in y */
    for (int64_t i = f->panels * part / f->parts; i < f->panels * (part + 1) / f->parts; i++)
        forward_panel(f, x, image, f->y + (n0 * f->down + u0) * f->across * s->O, per_image, (n1 - n0) * per_image, i / per_group,
                      i % per_group * PANEL);
}

/* The way from the first window of an image to each, in the order of y: row by row, or four by four. */
static void corners(int64_t *corner, const forward *f) {
    const conv_shape *s = &f->s;
    const int64_t each = f->taps ? 2 : 1;
    for (int64_t u = 0; u < f->rows; u++)
        for (int64_t v = 0; v < f->across; v++)
            for (int64_t i = 0; i < each * each; i++) {
                const int64_t row = each * u + i / each, column = each * v + i % each;
                *corner++ = (row * s->sh * (s->W + 2 * s->pw) + column * s->sw) * s->C;
            }
}

/* y, or the maxima of its 2x2 windows and their taps. */
static int convolve(const md_array *y, const md_array *taps, const md_array *x, const md_array *w, const md_array *bias,
                    const md_array *residual, const conv_shape *s) {
    if (!md_size(y)) return MD_DONE;
    const int plain = !taps && !(residual && residual->data), very_few = s->N * s->oh * s->ow <= VERY_FEW_PIXELS;
    int done = plain ? MD_LOCAL(depthwise_forward)(y, x, w, bias, s) : MD_NOT_MINE;
    if (done == MD_NOT_MINE && plain) done = MD_LOCAL(groups_forward)(y, x, w, bias, s);
    if (done == MD_NOT_MINE && !taps) done = MD_LOCAL(product_forward)(y, x, w, bias, residual, s);
    if (done == MD_NOT_MINE && !taps) done = MD_LOCAL(pixels_forward)(y, x, w, bias, residual, s);
    if (done == MD_NOT_MINE && !(residual && residual->data)) done = MD_LOCAL(grey_forward)(y, taps, x, w, bias, s);
    if (done == MD_NOT_MINE && !taps && !very_few) done = MD_LOCAL(tiles_forward)(y, x, w, bias, residual, s);
    if (done == MD_NOT_MINE && !very_few) done = MD_LOCAL(winograd_forward)(y, taps, x, w, bias, residual, s);
    if (done != MD_NOT_MINE) return done;
    forward f = {.s = *s, .x = x, .w = w, .y = (float *)y->data, .taps = taps ? (uint8_t *)taps->data : NULL,
                 .bias = (float *)bias->data, .down = y->shape[2], .across = y->shape[3]};
    f.in_place = !s->ph && !s->pw && md_channels_last(x);
    const int64_t each = taps ? 4 : 1, in_row = f.across * each, pixels = f.down * in_row, all = s->N * pixels;
    const int64_t threads = threads_for(2 * all * s->O * s->K);
    if (residual && residual->data) {
        const float *other = dense(residual, MD_SLOT_D, threads);
        if (!other) return MD_NO_MEMORY;
        f.residual = other - f.y;
    }
    f.panels = s->G * md_ceil_div(s->og, PANEL);
    /* A task: some images, or a strip of rows where one image is enough; about four tasks a thread at most. For few pixels the weights
     * are what takes time to read: a task has some columns of them and all pixels. */
    f.parts = all <= FEW_PIXELS ? md_min(f.panels, 2 * threads) : 1;
    const int64_t one = threads == 1 || f.parts > 1; /* task has all pixels */
    const int64_t fair = md_max(one ? all : md_ceil_div(all, 4 * threads), md_min(FORWARD_PIXELS, md_ceil_div(all, threads)));
    f.images = md_max(1, fair / pixels);
    f.rows = f.images > 1 || fair >= pixels ? f.down : md_max(1, md_ceil_div(fair, in_row));
    /* Weights that lie as K rows of O columns, in whole vectors, are read where they lie. */
    int packed = 1, listed;
    const int64_t unpacked = s->O <= 4 * PANEL ? UNPACKED_PIXELS : FEW_PIXELS;
    if (lies_flat(w) && s->og % VL == 0 && (s->O <= 2 * PANEL || (all <= unpacked && !w->constant))) f.direct = (const float *)w->data;
    else if (!(f.packed = md_keep(MD_SLOT_A, (size_t)(f.panels * s->K * PANEL) * sizeof(float), w, &packed))) return MD_NO_MEMORY;
    int64_t *way = md_keep(MD_SLOT_B, (size_t)(s->K + f.rows * in_row) * sizeof(int64_t), NULL, &listed);
    if (!way) return MD_NO_MEMORY;
    f.way = way;
    f.corner = way + s->K;
    if (!listed) {
        ways(way, s, s->W + 2 * s->pw);
        corners(way + s->K, &f);
    }
    if (!packed) run_tasks(threads, f.panels, pack_forward, &f);
    run_tasks(threads, md_ceil_div(s->N, f.images) * md_ceil_div(f.down, f.rows) * f.parts, forward_task, &f);
    return f.status;
}

static int serves(const md_array *y, const md_array *x, const md_array *w, const md_array *bias) {
    if (!md_size(w)) return 0; /* without channels there are no tiles, and y would not be written: it is the bias */
    return y->dtype == MD_F32 && x->dtype == MD_F32 && w->dtype == MD_F32 && md_channels_last(y) &&
           (!bias->data || (bias->dtype == MD_F32 && (bias->stride[0] == 1 || bias->shape[0] == 1)));
}

MD_KERNEL(conv2d, 1, 4) {
    const md_array *y = &a[0], *x = &a[1], *w = &a[2], *bias = &a[3], *residual = &a[4];
    const conv_shape s = read_shape(x, w, p);
    if (!serves(y, x, w, bias) || (residual->data && residual->dtype != MD_F32)) return MD_NOT_MINE;
    return convolve(y, NULL, x, w, bias, residual, &s);
}

/* Other windows than 2x2: the convolution to scratch memory, then the maxima of that. */
static int convolve_then_pool(const md_array *a, const double *p, const conv_shape *s) {
    md_array pooling[3] = {a[0], a[1], a[0]}, convolution[5] = {{0}, a[2], a[3], a[4], {0}};
    md_array *whole = &pooling[2];
    const md_entry *pool = md_find("max_pool2d", MD_STR(MD_ISA));
    const double window[9] = {p[8], p[9], p[10], p[11], 0, 0, 1, 1, p[7]};
    double plain[8];
    size_t given;
    memcpy(plain, p, sizeof plain);
    plain[7] = 0; /* the pooling applies the activation */
    if (!pool) return MD_NOT_MINE;
    whole->shape[2] = s->oh, whole->shape[3] = s->ow;
    whole->stride[1] = 1, whole->stride[3] = s->O, whole->stride[2] = s->ow * s->O, whole->stride[0] = s->oh * s->ow * s->O;
    if (!(whole->data = md_take((size_t)md_size(whole) * sizeof(float) + 64, &given))) return MD_NO_MEMORY;
    convolution[0] = *whole;
    int status = k_conv2d(convolution, 5, plain);
    if (status == MD_DONE) status = pool->fn(pooling, 3, window);
    md_give(whole->data, given);
    return status;
}

MD_KERNEL(conv2d_max_pool2d, 2, 3) {
    const md_array *y = &a[0], *taps = &a[1], *x = &a[2], *w = &a[3], *bias = &a[4];
    const conv_shape s = read_shape(x, w, p);
    if (!serves(y, x, w, bias) || taps->dtype != MD_U8 || !md_channels_last(taps)) return MD_NOT_MINE;
    const int halves = p[8] == 2 && p[9] == 2 && p[10] == 2 && p[11] == 2;
    return halves ? convolve(y, taps, x, w, bias, NULL, &s) : convolve_then_pool(a, p, &s);
}
