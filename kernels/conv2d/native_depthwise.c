/* Depthwise convolution: vectors of channels, each with weights of its own, so nothing is multiplied as a matrix.
 *
 * Forward, a block of R x Q pixels of the result stays in registers while the taps run; what two windows share is loaded once.
 * Taps outside of the image are read from zeros. The gradient by data of stride 1 is the same with the window turned round.
 * Other windows, and the gradient by data of larger strides, gather pixel by pixel from lists of taps. The gradient by weights
 * keeps the sums of all taps of a window row or more in registers while the pixels run. Every sum has one order, whatever the
 * threads. */
#include "conv.h"

#if VREGS == 32
#define ROWS 2
#else
#define ROWS 1
#endif
enum {
    COLUMNS = 4,
    VECTORS = ROWS,          /* of channels, whose sums of the taps of a window are in registers together */
    LARGEST = 7,             /* window that has blocks of its own */
    TASK_BYTES = 1 << 16,    /* of the result, at least, unless threads would idle */
    PART_BYTES = 1 << 18,    /* of the images, at least, whose sums by weights are a part of the whole */
    PARTS = 16,              /* at most: as many whatever the threads */
    BLOCK_BYTES = 1 << 17,   /* of the images that go through the passes over channels together */
};

/* Has every channel a window of its own, and are there enough for a vector? */
static int depthwise(const conv_shape *s) { return s->G == s->C && s->O == s->C && s->C >= VL; }

/* The weights as kh kw rows of C: where they lie, or a copy; NULL without memory. */
static const float *rows_of_weights(const md_array *w, int slot) {
    const int64_t C = w->shape[0], kh = w->shape[2], kw = w->shape[3], *st = w->stride;
    if (st[0] == 1 && (kw == 1 || st[3] == C) && (kh == 1 || st[2] == kw * C)) return (const float *)w->data;
    int filled;
    float *to = md_keep(slot, (size_t)(kh * kw * C) * sizeof(float), w, &filled);
    if (!to || filled) return to;
    for (int64_t c = 0; c < C; c++)
        for (int64_t t = 0; t < kh * kw; t++)
            to[t * C + c] = ((const float *)w->data)[c * st[0] + t / kw * st[2] + t % kw * st[3]];
    return to;
}

/* ---------------------------------------------------------------- blocks of the result ---- */

typedef struct {
    const float *x;             /* the first tap of the block's first pixel; or, at an edge, */
    const float *const *at;     /* every place that the block reads, row by row */
    const float *w, *bias;
    float *y;
    int64_t C, x_row, y_row, tap; /* floats between rows of x and of y, and between the weights of two taps */
    int relu;
} block;

INLINE void run_block(const int k, const int s, const int rows, const int edge, const block *t) {
    const int wide = (COLUMNS - 1) * s + k;
    const int64_t C = t->C, tap = t->tap, x_row = t->x_row;
    for (int64_t c = 0; c < C; c += VL) {
        if (c + VL > C) c = C - VL; /* the last vector overlaps */
        vf sum[ROWS][COLUMNS];
        const vf bias = t->bias ? vload(t->bias + c) : (vf){0};
#pragma GCC unroll 2
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int q = 0; q < COLUMNS; q++) sum[r][q] = bias;
#pragma GCC unroll 9
        for (int a = 0; a < (rows - 1) * s + k; a++) {
            vf in[(COLUMNS - 1) * 2 + LARGEST];
#pragma GCC unroll 13
            for (int b = 0; b < wide; b++) in[b] = vload((edge ? t->at[a * wide + b] : t->x + a * x_row + b * C) + c);
#pragma GCC unroll 2
            for (int r = 0; r < rows; r++)
                if (a >= r * s && a < r * s + k) {
#pragma GCC unroll 7
                    for (int b = 0; b < k; b++) {
                        const vf w = vload(t->w + ((a - r * s) * k + b) * tap + c);
#pragma GCC unroll 4
                        for (int q = 0; q < COLUMNS; q++) sum[r][q] += in[q * s + b] * w;
                    }
                }
        }
#pragma GCC unroll 2
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int q = 0; q < COLUMNS; q++)
                vstore(t->y + r * t->y_row + q * C + c, activated(sum[r][q], t->relu));
    }
}

#define BLOCK(k, s, rows)                                                                               \
    static void inside_##k##_##s##_##rows(const block *t) { run_block(k, s, rows, 0, t); }             \
    static void edge_##k##_##s##_##rows(const block *t) { run_block(k, s, rows, 1, t); }
BLOCK(3, 1, 1)
BLOCK(3, 2, 1)
BLOCK(5, 1, 1)
BLOCK(5, 2, 1)
BLOCK(7, 1, 1)
#if ROWS > 1
BLOCK(3, 1, 2)
BLOCK(3, 2, 2)
BLOCK(5, 1, 2)
BLOCK(5, 2, 2)
BLOCK(7, 1, 2)
#endif

typedef struct {
    int k, s, rows;
    void (*inside)(const block *), (*edge)(const block *);
} block_kind;
#define KIND(k, s, rows) {k, s, rows, inside_##k##_##s##_##rows, edge_##k##_##s##_##rows}
/* The taller one of a window first. */
static const block_kind kinds[] = {
#if ROWS > 1
    KIND(3, 1, 2), KIND(3, 1, 1), KIND(3, 2, 2), KIND(3, 2, 1), KIND(5, 1, 2), KIND(5, 1, 1), KIND(5, 2, 2), KIND(5, 2, 1),
    KIND(7, 1, 2), KIND(7, 1, 1),
#else
    KIND(3, 1, 1), KIND(3, 2, 1), KIND(5, 1, 1), KIND(5, 2, 1), KIND(7, 1, 1),
#endif
};

/* What makes results so wide from blocks, or NULL. */
static const block_kind *block_of(const conv_shape *s, int64_t wide) {
    if (s->kh != s->kw || s->sh != s->sw || s->dh != 1 || s->dw != 1 || wide < COLUMNS) return NULL;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].k == s->kh && kinds[i].s == s->sh) return &kinds[i];
    return NULL;
}

/* Along one axis: where the image has a tap of a window, and where that tap's weights are, in floats. */
typedef struct { int64_t at, tap; } place;

typedef struct {
    conv_shape s; /* x is what is read: for the gradient by data, g */
    const float *x, *w, *bias, *zeros;
    float *y;
    int64_t tap, strip; /* floats between the weights of two taps; rows of a task */
    int relu;
    const block_kind *kind;
    const place *rows, *columns; /* of each row and column of y: its taps, kh or kw at most, */
    const int32_t *in_row, *in_column; /* and how many */
} gathering;

static void block_task(int64_t task, void *ctx) {
    const gathering *f = ctx;
    const conv_shape *s = &f->s;
    const int64_t strips = md_ceil_div(s->oh, f->strip), n = task / strips, last = md_min(s->oh, (task % strips + 1) * f->strip);
    const int64_t line = s->W * s->C;
    const float *image = f->x + n * s->H * line, *at[(LARGEST + 2) * ((COLUMNS - 1) * 2 + LARGEST)];
    block t = {.at = at, .w = f->w, .bias = f->bias, .C = s->C, .x_row = line, .y_row = s->ow * s->C, .tap = f->tap,
               .relu = f->relu};
    for (int64_t u = task % strips * f->strip; u < last;) {
        const block_kind *kind = f->kind;
        while (u + kind->rows > last) kind++;
        const int64_t k = kind->k, h0 = u * kind->s - s->ph, h1 = h0 + (kind->rows - 1) * kind->s + k;
        for (int64_t v = 0; v < s->ow; v += COLUMNS) {
            v = md_min(v, s->ow - COLUMNS);
            const int64_t w0 = v * kind->s - s->pw, w1 = w0 + (COLUMNS - 1) * kind->s + k;
            t.y = f->y + ((n * s->oh + u) * s->ow + v) * s->C;
            if (h0 >= 0 && h1 <= s->H && w0 >= 0 && w1 <= s->W) {
                t.x = image + h0 * line + w0 * s->C;
                kind->inside(&t);
                continue;
            }
            const float **to = at;
            for (int64_t h = h0; h < h1; h++)
                for (int64_t w = w0; w < w1; w++)
                    *to++ = h >= 0 && h < s->H && w >= 0 && w < s->W ? image + h * line + w * s->C : f->zeros;
            kind->edge(&t);
        }
        u += kind->rows;
    }
}

/* ---------------------------------------------------------------- pixel by pixel ---- */

INLINE void gather(const gathering *f, float *y, const float *x, const place *rows, int in_row, const place *columns,
                   int in_column, const int vectors, int64_t c) {
    vf sum[4];
#pragma GCC unroll 4
    for (int i = 0; i < vectors; i++) sum[i] = f->bias ? vload(f->bias + c + i * VL) : (vf){0};
    for (int r = 0; r < in_row; r++)
        for (int q = 0; q < in_column; q++) {
            const float *from = x + rows[r].at + columns[q].at + c, *w = f->w + rows[r].tap + columns[q].tap + c;
#pragma GCC unroll 4
            for (int i = 0; i < vectors; i++) sum[i] += vload(from + i * VL) * vload(w + i * VL);
        }
#pragma GCC unroll 4
    for (int i = 0; i < vectors; i++) vstore(y + c + i * VL, activated(sum[i], f->relu));
}

static void gather_task(int64_t task, void *ctx) {
    const gathering *f = ctx;
    const conv_shape *s = &f->s;
    const int64_t strips = md_ceil_div(s->oh, f->strip), n = task / strips, last = md_min(s->oh, (task % strips + 1) * f->strip);
    const float *x = f->x + n * s->H * s->W * s->C;
    for (int64_t u = task % strips * f->strip; u < last; u++)
        for (int64_t v = 0; v < s->ow; v++) {
            float *y = f->y + ((n * s->oh + u) * s->ow + v) * s->C;
            const place *rows = f->rows + u * s->kh, *columns = f->columns + v * s->kw;
            int64_t c = 0;
            for (; c + 4 * VL <= s->C; c += 4 * VL) gather(f, y, x, rows, f->in_row[u], columns, f->in_column[v], 4, c);
            for (; c < s->C; c += VL)
                gather(f, y, x, rows, f->in_row[u], columns, f->in_column[v], 1, md_min(c, s->C - VL));
        }
}

/* The taps of every place along one axis of the result. Of the gradient by data they are the outputs that it went to. */
static void list_taps(place *list, int32_t *count, int64_t places, int64_t k, int64_t s, int64_t pad, int64_t d, int64_t size,
                      int backward, int64_t step, int64_t tap) {
    for (int64_t i = 0; i < places; i++, list += k) {
        count[i] = 0;
        for (int64_t a = 0; a < k; a++) {
            int64_t at = backward ? i + pad - a * d : i * s - pad + a * d;
            if (backward && (at < 0 || at % s)) continue;
            if (backward) at /= s;
            if (at >= 0 && at < size) list[count[i]++] = (place){at * step, a * tap};
        }
    }
}

static int64_t gathering_threads(const conv_shape *s) { return threads_for(2 * s->N * s->oh * s->ow * s->C * s->kh * s->kw); }

static int run_gathering(gathering *f, int backward) {
    conv_shape *s = &f->s;
    const int64_t bytes = s->N * s->oh * s->ow * s->C * (int64_t)sizeof(float);
    const int64_t threads = gathering_threads(s);
    const int64_t rows = s->N * s->oh, least = md_ceil_div(rows, 4 * threads);
    f->strip = threads == 1 ? s->oh : md_min(s->oh, md_max(least, rows * TASK_BYTES / bytes));
    f->kind = backward ? NULL : block_of(s, s->ow);
    void (*body)(int64_t, void *) = f->kind ? block_task : gather_task;
    int filled;
    if (f->kind) {
        if (f->strip > 1 && f->strip < s->oh) f->strip = md_ceil_div(f->strip, ROWS) * ROWS;
        float *zeros = md_keep(MD_SLOT_B, (size_t)s->C * sizeof(float), NULL, &filled);
        if (!zeros) return MD_NO_MEMORY;
        if (!filled) memset(zeros, 0, (size_t)s->C * sizeof(float));
        f->zeros = zeros;
    } else {
        place *rows_of = md_keep(MD_SLOT_B, (size_t)(s->oh * s->kh + s->ow * s->kw) * sizeof(place) +
                                                (size_t)(s->oh + s->ow) * sizeof(int32_t), NULL, &filled);
        if (!rows_of) return MD_NO_MEMORY;
        place *columns_of = rows_of + s->oh * s->kh;
        int32_t *counts = (int32_t *)(columns_of + s->ow * s->kw);
        if (!filled) {
            list_taps(rows_of, counts, s->oh, s->kh, s->sh, s->ph, s->dh, s->H, backward, s->W * s->C, s->kw * s->C);
            list_taps(columns_of, counts + s->oh, s->ow, s->kw, s->sw, s->pw, s->dw, s->W, backward, s->C, s->C);
        }
        f->rows = rows_of, f->columns = columns_of, f->in_row = counts, f->in_column = counts + s->oh;
    }
    run_tasks(threads, s->N * md_ceil_div(s->oh, f->strip), body, f);
    return MD_DONE;
}

int MD_LOCAL(depthwise_forward)(const md_array *y, const md_array *x, const md_array *w, const md_array *bias,
                                const conv_shape *s) {
    if (!depthwise(s)) return MD_NOT_MINE;
    gathering f = {.s = *s, .y = (float *)y->data, .bias = (const float *)bias->data, .tap = s->C, .relu = s->activation};
    f.w = rows_of_weights(w, MD_SLOT_A);
    f.x = dense(x, MD_SLOT_C, gathering_threads(s));
    return f.w && f.x ? run_gathering(&f, 0) : MD_NO_MEMORY;
}

int MD_LOCAL(depthwise_data)(const md_array *dx, const md_array *g, const md_array *w, const conv_shape *s) {
    if (!depthwise(s) || !md_channels_last(dx)) return MD_NOT_MINE;
    gathering f = {.s = *s, .y = (float *)dx->data, .tap = s->C};
    f.w = rows_of_weights(w, MD_SLOT_A);
    f.x = dense(g, MD_SLOT_C, gathering_threads(s));
    if (!f.w || !f.x) return MD_NO_MEMORY;
    f.s.H = s->oh, f.s.W = s->ow, f.s.oh = s->H, f.s.ow = s->W; /* g is read, dx is the result */
    if (!block_of(s, s->W) || s->sh > 1) return run_gathering(&f, 1);
    f.w += (s->kh * s->kw - 1) * s->C; /* the window turned round */
    f.tap = -s->C;
    f.s.ph = s->kh - 1 - s->ph, f.s.pw = s->kw - 1 - s->pw;
    return run_gathering(&f, 0);
}

/* ---------------------------------------------------------------- by weights ---- */

typedef struct {
    conv_shape s;
    const float *x, *g, *zeros;
    float *sums, *rests;  /* of each part: kh kw rows of C, and one for the bias; those of the last channels apart */
    int64_t parts, chunks; /* of the rows of all images; of the channels: a task is one of both */
    int64_t size, vectors, block; /* floats of a part's sums; vectors of channels in a pass; rows of a pass */
} weighing;

/* Adds `pixels` pixels of g, times what lies at their taps, to the sums of `high` x `wide` taps, and g to the sum after them.
 * What lies `ahead` of g and of the taps' last row is fetched meanwhile. */
INLINE void add_taps(const int high, const int wide, const int vectors, const int edge, vf sum[][VECTORS], const float *const *at,
                     const float *g, int64_t C, int64_t step, int64_t pixels, const int64_t *ahead) {
    for (int64_t i = 0; i < pixels; i++) {
        vf gv[VECTORS];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            gv[v] = vload(g + i * C + v * VL);
            sum[high * wide][v] += gv[v];
            if (!edge) __builtin_prefetch(g + i * C + v * VL + ahead[0], 0, 2);
            if (!edge) __builtin_prefetch(at[high - 1] + i * step + v * VL + ahead[1], 0, 2);
        }
#pragma GCC unroll 3
        for (int a = 0; a < high; a++)
#pragma GCC unroll 7
            for (int b = 0; b < wide; b++) {
                const float *x = edge ? at[a * wide + b] : at[a] + b * C;
#pragma GCC unroll 2
                for (int v = 0; v < vectors; v++) sum[a * wide + b][v] += vload(x + i * step + v * VL) * gv[v];
            }
    }
}

/* The sums of window rows [a0, a0 + high) over rows [r0, r1) of all images, for `vectors` vectors of channels from c. */
INLINE void weigh(const int high, const int wide, const int vectors, const weighing *f, int64_t a0, int64_t r0, int64_t r1,
                  int64_t c, int add, float *to) {
    const conv_shape *s = &f->s;
    const int64_t C = s->C, line = s->W * C, ahead[2] = {(r1 - r0) * s->ow * C, (r1 - r0) * s->sh * line};
    /* the pixels whose taps all lie in the row */
    const int64_t v0 = md_min(s->ow, md_ceil_div(s->pw, s->sw)), v1 = md_max(v0, md_min(s->ow, (s->W - wide + s->pw) / s->sw + 1));
    vf sum[3 * 3 + 1][VECTORS];
#pragma GCC unroll 10
    for (int t = 0; t <= high * wide; t++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) sum[t][v] = (vf){0};
    for (int64_t row = r0; row < r1; row++) {
        const int64_t n = row / s->oh, h0 = row % s->oh * s->sh - s->ph + a0;
        const float *g = f->g + row * s->ow * C + c, *lines[3], *at[3 * LARGEST];
        for (int a = 0; a < high; a++)
            lines[a] = h0 + a >= 0 && h0 + a < s->H ? f->x + (n * s->H + h0 + a) * line + c : f->zeros;
        for (int64_t v = 0; v < s->ow; v++) {
            const int64_t w0 = v * s->sw - s->pw;
            if (v == v0 && v0 < v1) {
                for (int a = 0; a < high; a++) at[a] = lines[a] + w0 * C;
                add_taps(high, wide, vectors, 0, sum, at, g + v * C, C, s->sw * C, v1 - v0, ahead);
                v = v1 - 1;
                continue;
            }
            for (int b = 0; b < wide; b++)
                for (int a = 0; a < high; a++)
                    at[a * wide + b] = w0 + b >= 0 && w0 + b < s->W ? lines[a] + (w0 + b) * C : f->zeros;
            add_taps(high, wide, vectors, 1, sum, at, g + v * C, C, 0, 1, ahead);
        }
    }
#pragma GCC unroll 10
    for (int t = 0; t <= high * wide; t++) {
        if (t == high * wide && a0) return; /* g's sum once */
        float *row = to + (t < high * wide ? a0 * wide + t : s->kh * wide) * C + c;
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) vstore(row + v * VL, add ? vload(row + v * VL) + sum[t][v] : sum[t][v]);
    }
}

INLINE void weigh_channels(const int vectors, const weighing *f, int64_t r0, int64_t r1, int64_t c, int add, float *to) {
    const int64_t k = f->s.kh;
    if (k == 3) weigh(3, 3, vectors, f, 0, r0, r1, c, add, to);
    for (int64_t a = 0; k == 5 && a < 5; a++) weigh(1, 5, vectors, f, a, r0, r1, c, add, to);
    for (int64_t a = 0; k == 7 && a < 7; a++) weigh(1, 7, vectors, f, a, r0, r1, c, add, to);
}

/* One part of the rows, a block of them after the other, and some passes of `vectors` vectors of channels. */
static void weight_task(int64_t task, void *ctx) {
    const weighing *f = ctx;
    const int64_t C = f->s.C, width = f->vectors * VL, part = task / f->chunks, rows = f->s.N * f->s.oh;
    const int64_t passes = C / width, first = task % f->chunks * passes / f->chunks, last = (task % f->chunks + 1) * passes / f->chunks;
    const int64_t r0 = part * rows / f->parts, r1 = (part + 1) * rows / f->parts;
    float *to = f->sums + part * f->size, *rest = f->rests + part * f->size;
    for (int64_t row = r0; row < r1; row += f->block)
        for (int64_t pass = first; pass <= last; pass++) {
            const int64_t end = md_min(r1, row + f->block);
            if (pass == last && (last < passes || C % width == 0)) break;
            /* the channels that are left make a last pass that overlaps: its sums are kept apart */
            const int64_t c = pass == passes ? C - width : pass * width;
            float *sums = pass == passes ? rest : to;
            if (f->vectors == VECTORS) weigh_channels(VECTORS, f, row, end, c, row > r0, sums);
            else weigh_channels(1, f, row, end, c, row > r0, sums);
        }
}

/* to[c] = the sum over parts of from[part * step + c], for n channels. */
static void sum_parts(float *to, int64_t stride, const float *from, int64_t step, int64_t parts, int64_t n) {
    enum { AT_ONCE = 64 };
    for (int64_t c = 0; c < n; c += AT_ONCE) {
        double sum[AT_ONCE] = {0};
        const int64_t count = md_min(AT_ONCE, n - c);
        for (int64_t part = 0; part < parts; part++)
            for (int64_t i = 0; i < count; i++) sum[i] += from[part * step + c + i];
        for (int64_t i = 0; i < count; i++) to[(c + i) * stride] = (float)sum[i];
    }
}

int MD_LOCAL(depthwise_weight)(const md_array *dw, const md_array *db, const md_array *g, const md_array *x,
                               const conv_shape *s) {
    if (!depthwise(s) || s->kh != s->kw || (s->kh != 3 && s->kh != 5 && s->kh != 7) || s->dh != 1 || s->dw != 1)
        return MD_NOT_MINE;
    const int64_t C = s->C, taps = s->kh * s->kw, rows = s->N * s->oh, line = s->W * C;
    const int64_t bytes = (md_size(x) + md_size(g)) * (int64_t)sizeof(float), threads = gathering_threads(s);
    weighing f = {.s = *s, .x = dense(x, MD_SLOT_C, threads), .g = dense(g, MD_SLOT_D, threads)};
    if (!f.x || !f.g) return MD_NO_MEMORY;
    f.parts = md_max(1, md_min(PARTS, md_min(rows, bytes / PART_BYTES)));
    f.block = md_max(1, rows * BLOCK_BYTES / bytes);
    f.vectors = C >= VECTORS * VL ? VECTORS : 1;
    f.size = (taps + 1) * C;
    const int64_t width = f.vectors * VL;
    f.chunks = md_min(C / width, md_ceil_div(4 * threads, f.parts));
    float *zeros = md_scratch(MD_SLOT_B, (size_t)(line + 2 * f.parts * f.size) * sizeof(float));
    if (!zeros) return MD_NO_MEMORY;
    memset(zeros, 0, (size_t)line * sizeof(float));
    f.zeros = zeros;
    f.sums = zeros + line;
    f.rests = f.sums + f.parts * f.size;
    const int64_t whole = C / width * width;
    run_tasks(threads, f.parts * f.chunks, weight_task, &f);
    for (int64_t t = 0; t <= taps; t++) {
        float *to = t == taps ? (float *)db->data : (float *)dw->data + t / s->kw * dw->stride[2] + t % s->kw * dw->stride[3];
        const int64_t stride = t == taps ? db->stride[0] : dw->stride[0];
        sum_parts(to, stride, f.sums + t * C, f.size, f.parts, whole);
        sum_parts(to + whole * stride, stride, f.rests + t * C + whole, f.size, f.parts, C - whole);
    }
    return MD_DONE;
}
