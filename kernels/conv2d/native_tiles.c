/* Convolution on matrix tiles (amx.h, tiles.h), forward and by data.
 *
 * By data with a stride the results have phases too: those of a phase are a convolution of their own, of the taps that reach them.
 * For each phase and 32 columns the weights are split and packed as they are needed, tap by tap. A task holds the planes of a band and
 * multiplies them with some columns, some steps of all taps at a time, so that their weights stay in the second-level cache. */
#include "tiles.h"
#include "winograd.h"

#if MD_AMX
enum {
    MOST_STEPS = 40,            /* at a time */
    MOST_PLANES = 800 << 10,    /* bytes of a band */
    MOST_WEIGHTS = 500 << 10,   /* bytes that a block meets in turn */
    MOST_STRIDE = 4,
};

typedef struct { int64_t plane, down, right, weight; } tap; /* the phase's number; the way in it; floats from the weights */
typedef struct { int64_t row, column, rows, columns, first, taps; } phase; /* of results; its taps */
typedef struct { int64_t from, tile, rows, u, q; } block; /* up to 32 results: bytes to its first tile, from there to the second; its place */

typedef struct {
    planes p;
    const md_array *weight;
    float *y;
    const float *bias;
    ptrdiff_t residual; /* from y, or 0 */
    int relu; /* as activated() takes it */
    int64_t OH, OW, O, G, out, zr, zc; /* y: pixels, channels, groups, channels of a group, its strides for a phase */
    int64_t out_stride, in_stride;     /* of the weights, for columns and what is summed */
    int64_t group_stride;
    phase *phases;
    tap *taps;
    int64_t n_phases, n_taps, down, right; /* the farthest ways of taps */
    double met; /* share of the taps that meet pixels, with images abreast */
    char *b; /* packed weights for all, or NULL where a task packs its own */
    amx_range *ranges;
    amx_range of_b;
    int64_t images, rows, cols; /* of a task */
    int64_t bands, parts;
    _Atomic int result;
} tiled;

/* ---- weights ---- */

static int64_t panels(const tiled *t) { return md_ceil_div(t->out, AMX_SIDE); }
static int64_t column_bytes(const tiled *t) { return t->p.steps * AMX_K * 2 * AMX_PARTS; } /* for one tap */

/* To the packed weights of a panel: group by group, phase by phase. */
static int64_t panel_at(const tiled *t, int64_t group, const phase *f, int64_t j) {
    const int64_t padded = amx_whole(t->out, AMX_ROWS);
    return column_bytes(t) * (padded * (group * t->n_taps + f->first) + j * f->taps);
}

/* Taps [first, last) of a panel of columns. */
static amx_range pack_taps(const tiled *t, char *to, int64_t group, const phase *f, int64_t j, int64_t first, int64_t last) {
    const int64_t cols = md_min(AMX_SIDE, t->out - j), across = amx_strips(cols), step = across * AMX_PARTS * AMX_TILE;
    amx_range range = amx_no_numbers;
    for (int64_t i = first; i < last; i++, to += t->p.steps * step)
        for (int64_t s = 0; s < across; s++) {
            const float *from = (const float *)t->weight->data + t->taps[f->first + i].weight + group * t->group_stride +
                                (j + s * AMX_ROWS) * t->out_stride;
            range = amx_both(range, amx_pack(to + s * AMX_TILE, step, across * AMX_TILE, from, t->out_stride, t->in_stride,
                                             md_min(AMX_ROWS, cols - s * AMX_ROWS), t->p.channels, 1));
        }
    return range;
}

static void pack_panel(int64_t task, void *ctx) {
    const tiled *t = ctx;
    const int64_t j = task % panels(t) * AMX_SIDE, group = task / panels(t) / t->n_phases;
    const phase *f = &t->phases[task / panels(t) % t->n_phases];
    t->ranges[task] = pack_taps(t, t->b + panel_at(t, group, f, j), group, f, j, 0, f->taps);
}

/* ---- a task ---- */

typedef struct { const float *sums; const int64_t *targets; int64_t rows, j, cols; } pending;

typedef struct {
    tiled *t;
    band b;
    int64_t u1;
    char *planes, *own;
    amx_range range;
    block *blocks;
    int64_t *targets; /* floats from y to each row of the blocks, or -1 */
    int64_t count;
    float *sums, *bias; /* bias: of all columns, or zeros */
    pending late;
} work;

/* The blocks of a phase's results in the band, and where they go. */
static void list_blocks(work *w, const phase *f) {
    const tiled *t = w->t;
    const planes *p = &t->p;
    const int64_t rows = md_max(0, md_min(w->u1, f->rows) - w->b.u0), images = w->b.n1 - w->b.n0;
    int64_t *to = w->targets;
    w->count = 0;
    if (!rows || !f->columns) return;
#define TARGET(n, u, q) ((((n) * t->OH + f->row + (u) * t->zr) * t->OW + f->column + (q) * t->zc) * t->O + w->b.group * t->out)
    if (p->abreast > 1) {
        const int64_t both = p->abreast == AMX_ROWS ? 2 : 1; /* columns of a block */
        for (int64_t u = 0; u < rows; u++)
            for (int64_t q = 0; q < f->columns; q += both)
                for (int64_t i = 0; i < p->abreast; i += AMX_SIDE) {
                    const int64_t second = both == 2 && q + 1 == f->columns ? 0 : AMX_ROWS;
                    w->blocks[w->count++] = (block){((u * p->pitch + q) * p->abreast + i) * LINE, AMX_ROWS * LINE, AMX_ROWS + second, u, q};
                    for (int64_t r = 0; r < AMX_SIDE; r++) {
                        const int64_t n = both == 2 ? r % AMX_ROWS : i + r, at = q + (both == 2 ? r / AMX_ROWS : 0);
                        *to++ = n < images && at < f->columns ? TARGET(w->b.n0 + n, w->b.u0 + u, at) : -1;
                    }
                }
        return;
    }
    const int64_t all = ((images - 1) * p->gap + rows - 1) * p->pitch + f->columns;
    for (int64_t v = 0; v < all; v += AMX_SIDE)
        w->blocks[w->count++] = (block){v * LINE, AMX_ROWS * LINE, md_min(AMX_SIDE, amx_whole(all - v, AMX_ROWS)), 0, 0};
    for (int64_t n = 0, u = 0, q = 0, v = 0; v < w->count * AMX_SIDE; v++) {
        *to++ = v < all && u < rows && q < f->columns ? TARGET(w->b.n0 + n, w->b.u0 + u, q) : -1;
        if (++q == p->pitch) q = 0, u++;
        if (u == p->gap && n + 1 < images) u = 0, n++;
    }
}

/* y = act(sums + residual) */
INLINE void finish_as(const tiled *t, const float *sums, const int64_t *targets, int64_t rows, int64_t j, int64_t cols, const int residual,
                      const int relu) {
    for (int64_t i = 0; i < rows; i++, sums += AMX_SIDE) {
        float *const y = t->y + targets[i] + j;
        if (targets[i] < 0) continue;
#pragma GCC unroll 2
        for (int64_t v = 0; v < AMX_SIDE; v += VL) {
            vf x = vload(sums + v);
            if (residual) x += load_cols(y + v + t->residual, (int)(cols - v));
            if (relu) x = activated(x, t->relu);
            if (cols == AMX_SIDE) vstore(y + v, x);
            else store_cols(y + v, x, (int)(cols - v));
        }
    }
}
static void finish(const tiled *t, const float *sums, const int64_t *targets, int64_t rows, int64_t j, int64_t cols) {
    if (t->residual) t->relu ? finish_as(t, sums, targets, rows, j, cols, 1, 1) : finish_as(t, sums, targets, rows, j, cols, 1, 0);
    else t->relu ? finish_as(t, sums, targets, rows, j, cols, 0, 1) : finish_as(t, sums, targets, rows, j, cols, 0, 0);
}

/* Does a tap of a block of images abreast meet their pixels? */
INLINE int meets(const tiled *t, const work *w, const tap *k, const block *b) {
    const planes *p = &t->p;
    if (p->abreast == 1 || p->sr > 1 || p->sc > 1) return 1;
    const int64_t row = w->b.u0 + b->u + k->down - p->top, left = b->q + k->right - p->left;
    const int64_t right = left + (p->abreast == AMX_ROWS && b->rows > AMX_ROWS);
    return row >= 0 && row < p->H && right >= 0 && left < p->W;
}

/* Where the weights of a panel lie, from tap `first` on. */
static const char *weights_at(const work *w, const phase *f, int64_t j, int64_t first) {
    const tiled *t = w->t;
    if (!t->b) return w->own;
    return t->b + panel_at(t, w->b.group, f, j) + first * column_bytes(t) * AMX_ROWS * amx_strips(md_min(AMX_SIDE, t->out - j));
}

/* What has been computed is finished only after the next product was begun: the tiles need not wait for it. */
static void flush(work *w) {
    const pending *l = &w->late;
    if (l->sums) finish(w->t, l->sums, l->targets, l->rows, l->j, l->cols);
    w->late.sums = NULL;
}

/* Columns [j0, j1), taps [first, last) and steps [c0, c1) of each for all blocks; a block meets all of these columns in turn. */
static void multiply_columns(work *w, const phase *f, int64_t j0, int64_t j1, int64_t first, int64_t last, int64_t c0, int64_t c1) {
    const tiled *t = w->t;
    const planes *p = &t->p;
    const int64_t steps = p->steps, turns = md_ceil_div(j1 - j0, AMX_SIDE), all = w->count * turns;
    const int starts = first == 0 && c0 == 0, ends = last == f->taps && c1 == steps;
    int64_t a_steps[MOST_STEPS], b_steps[MOST_STEPS];
    amx_args m = {.a_steps = a_steps, .b_steps = b_steps, .a_row = LINE, .a_part = p->plane, .b_tile = AMX_TILE, .ldy = AMX_SIDE};
    for (int64_t z = 0; z < all; z++) {
        const int64_t i = z / turns, j = j0 + z % turns * AMX_SIDE, next = (z + 1) % all, cols = md_min(AMX_SIDE, t->out - j);
        const int across = amx_strips(cols);
        const block *k = &w->blocks[i];
        m.steps = 0;
        for (int64_t n = first; n < last; n++) {
            const tap *at = &t->taps[f->first + n];
            if (!meets(t, w, at, k)) continue;
            const int64_t way = at->plane * steps * AMX_PARTS * p->plane + (at->down * p->pitch + at->right) * p->abreast * LINE;
            for (int64_t s = c0; s < c1; s++, m.steps++) {
                a_steps[m.steps] = way + s * AMX_PARTS * p->plane;
                b_steps[m.steps] = ((n - first) * steps + s) * across * AMX_PARTS * AMX_TILE;
            }
        }
        m.a = w->planes + k->from;
        m.a_tile = k->tile;
        m.b = weights_at(w, f, j, first);
        m.b_part = across * AMX_TILE;
        m.next_a = w->planes + w->blocks[next / turns].from + (m.steps ? a_steps[0] : 0);
        m.next_b = weights_at(w, f, j0 + next % turns * AMX_SIDE, first) + (m.steps ? b_steps[0] : 0);
        m.y = w->sums + (starts && ends ? z % 2 : i) * AMX_SIDE * AMX_SIDE;
        m.start = starts ? w->bias + j : m.y;
        m.start_row = starts ? 0 : AMX_SIDE;
        amx_multiply(amx_strips(k->rows), across, &m);
        flush(w);
        if (ends) w->late = (pending){m.y, w->targets + i * AMX_SIDE, k->rows, j, cols};
    }
    flush(w);
}

/* Where all taps are multiplied at once, a block meets as many columns in turn as the second-level cache holds weights for. */
static void multiply_phase(work *w, const phase *f, int64_t j0, int64_t j1) {
    const tiled *t = w->t;
    const int64_t steps = t->p.steps, at_once = md_max(1, MOST_STEPS / steps), chunk = md_ceil_div(steps, md_ceil_div(steps, MOST_STEPS));
    const int64_t fit = md_max(1, MOST_WEIGHTS / (column_bytes(t) * md_max(1, f->taps) * AMX_SIDE));
    const int64_t width = t->b && f->taps <= at_once && chunk == steps ? fit * AMX_SIDE : AMX_SIDE;
    list_blocks(w, f);
    for (int64_t j = j0; j < j1 && w->count; j += width)
        for (int64_t first = 0; first < f->taps || !first; first += at_once) {
            const int64_t last = md_min(f->taps, first + at_once);
            if (!t->b && !amx_fits(w->range, pack_taps(t, w->own, w->b.group, f, j, first, last))) {
                w->t->result = MD_NOT_MINE;
                return;
            }
            for (int64_t c = 0; c < steps; c += chunk)
                multiply_columns(w, f, j, md_min(j1, j + width), first, last, c, md_min(steps, c + chunk));
        }
}

/* Results that a band's blocks have room for. */
static int64_t band_room(const tiled *t, int64_t images, int64_t rows) {
    const planes *p = &t->p;
    if (p->abreast > 1) return rows * (p->pitch + 1) * amx_whole(p->abreast, AMX_SIDE);
    return amx_whole(((images - 1) * p->gap + rows) * p->pitch, AMX_SIDE);
}

AMX_CODE static void tiled_task(int64_t index, void *ctx) {
    tiled *t = ctx;
    const int64_t part = index % t->parts, group = index / t->parts % t->G, at = index / t->parts / t->G;
    const int64_t strip = at % t->bands, n0 = at / t->bands * t->images, j0 = part * t->cols;
    work w = {.t = t, .u1 = (strip + 1) * t->rows};
    w.b = (band){n0, md_min(t->p.N, n0 + t->images), strip * t->rows, t->rows + t->down, group};
    if (t->result != MD_DONE) return;
    const int64_t room = band_room(t, t->images, t->rows), own = t->b ? 0 : column_bytes(t) * AMX_SIDE * md_max(1, MOST_STEPS / t->p.steps);
    const size_t bytes[] = {(size_t)planes_bytes(&t->p), (size_t)own, (size_t)(room + AMX_SIDE) * AMX_SIDE * sizeof(float),
                            (size_t)amx_whole(t->out, AMX_SIDE) * sizeof(float), (size_t)room * sizeof(int64_t),
                            (size_t)(room / AMX_SIDE) * sizeof(block)};
    char *memory = md_scratch(MD_SLOT_A, bytes[0] + bytes[1] + bytes[2] + bytes[3] + bytes[4] + bytes[5]);
    if (!memory) {
        t->result = MD_NO_MEMORY;
        return;
    }
    w.planes = memory;
    w.own = memory + bytes[0];
    w.sums = (float *)(w.own + bytes[1]);
    w.bias = (float *)((char *)w.sums + bytes[2]);
    w.targets = (int64_t *)((char *)w.bias + bytes[3]);
    w.blocks = (block *)((char *)w.targets + bytes[4]);
    memset(w.bias, 0, bytes[3]);
    if (t->bias) memcpy(w.bias, t->bias + group * t->out, (size_t)t->out * sizeof(float));
    w.range = split_band(w.planes, &t->p, &w.b);
    if (!amx_fits(w.range, t->b ? t->of_b : amx_no_numbers)) {
        t->result = MD_NOT_MINE;
        return;
    }
    amx_begin();
    for (int64_t i = 0; i < t->n_phases; i++) multiply_phase(&w, &t->phases[i], j0, md_min(t->out, j0 + t->cols));
    amx_end();
}

/* ---- plan ---- */

/* Sets how a task's band lies: so many images, rows of results of each. */
static void set_band(tiled *t, int64_t abreast, int64_t images, int64_t rows) {
    planes *p = &t->p;
    int64_t most_rows = 0, most_columns = 0;
    for (int64_t i = 0; i < t->n_phases; i++) {
        most_rows = md_max(most_rows, t->phases[i].rows);
        most_columns = md_max(most_columns, t->phases[i].columns);
    }
    t->images = images;
    t->rows = rows;
    t->bands = md_ceil_div(most_rows, rows);
    p->abreast = abreast;
    p->pitch = most_columns + t->right;
    p->gap = rows + t->down;
    if (abreast == 1) p->pitch = md_max(most_columns, spacing(p->pitch, p->W, p->sc, p->left));
    if (abreast == 1 && t->bands == 1) p->gap = md_max(rows, spacing(p->gap, p->H, p->sr, p->top));
    p->plane = ((plane_pixels(p, images, rows + t->down) + SLACK + t->right) | 1) * LINE; /* odd: parts meet in no set of a cache */
}

/* Cycles of the slowest thread. */
static double cost_of(const tiled *t, int64_t threads) {
    const planes *p = &t->p;
    const double bands = (double)(md_ceil_div(p->N, t->images) * t->bands), tasks = bands * (double)(t->G * t->parts);
    const double pixels = (double)plane_pixels(p, t->images, t->rows + t->down) * phases_used(p);
    double sum = pixels * (double)(p->steps * AMX_K) * 0.5 + 4000;
    for (int64_t i = 0; i < t->n_phases; i++) {
        const phase *f = &t->phases[i];
        const int64_t rows = md_min(t->rows, f->rows);
        const double half = p->abreast > 1 ? (double)(rows * f->columns * md_ceil_div(md_min(p->abreast, p->N), AMX_ROWS))
                                     : (double)md_ceil_div(((t->images - 1) * p->gap + rows) * p->pitch, AMX_ROWS);
        const double taps = (double)f->taps * (p->abreast > 1 ? t->met : 1);
        const double cols = (double)md_ceil_div(md_min(t->cols, t->out), AMX_ROWS);
        sum += half * cols * (taps * (double)p->steps * 118 + 110);
    }
    const double weights = (double)(t->n_taps * p->steps * AMX_K * amx_whole(t->out, AMX_ROWS) * t->G);
    const double packing = t->b ? 0 : bands > 1 ? weights * 1.7 / (double)md_min(threads, t->G * t->n_phases * panels(t))
                                                : weights * 1.2 / (double)(t->G * t->parts) * (double)md_ceil_div((int64_t)tasks, threads);
    return (double)md_ceil_div((int64_t)tasks, threads) * sum + packing;
}

/* Cycles in which a thread fetches what other cores hold: half of the images and results (of two threads) where threads share columns,
 * else of the weights. */
static double fetching(const tiled *t, int64_t threads) {
    const planes *p = &t->p;
    const double floats = (double)(p->N * (p->H * p->W * p->C * threads + t->OH * t->OW * t->O)) / (double)threads;
    const double weights = (double)(t->n_taps * t->G * amx_whole(t->out, AMX_ROWS) * column_bytes(t));
    const int shared = md_ceil_div(p->N, t->images) * t->bands < threads;
    return (shared ? floats / VL * 50 : weights / LINE * 20) * (1 - 1 / (double)threads);
}

/* Considers some images and rows for a task, and how many tasks share the columns. */
static void consider(tiled *t, tiled *best, double *least, int64_t abreast, int64_t images, int64_t rows, int64_t threads) {
    set_band(t, abreast, images, rows);
    for (int64_t parts = 1; parts <= md_min(panels(t), 2 * threads); parts *= 2) {
        t->cols = md_ceil_div(panels(t), parts) * AMX_SIDE;
        t->parts = md_ceil_div(t->out, t->cols);
        const double cost = cost_of(t, threads) * (planes_bytes(&t->p) > MOST_PLANES ? 2 : 1) + fetching(t, threads);
        if (cost < *least) *least = cost, *best = *t;
    }
}

/* Chooses what a task does; returns its cost, without what any other way would fetch too. */
static double share_out(tiled *t, int64_t threads) {
    const int64_t wide[] = {1, AMX_ROWS, AMX_SIDE};
    int64_t rows = 0;
    double least = 1e300;
    tiled best = *t;
    for (int64_t i = 0; i < t->n_phases; i++) rows = md_max(rows, t->phases[i].rows);
    for (int i = 0; i < 3; i++) {
        const int64_t abreast = wide[i];
        if (abreast > 1 && t->p.N <= abreast / 2) break;
        set_band(t, abreast, abreast, rows);
        const int64_t fit = planes_bytes(&t->p) / MOST_PLANES + 1;
        for (int64_t n = fit; n <= fit + 3 && n <= rows; n++) consider(t, &best, &least, abreast, abreast, md_ceil_div(rows, n), threads);
        if (abreast == 1 && fit == 1)
            for (int64_t n = 1; n <= 8; n *= 2) {
                const int64_t images = md_min(md_ceil_div(t->p.N, n * threads), MOST_PLANES / planes_bytes(&t->p));
                if (images > 1) consider(t, &best, &least, 1, images, rows, threads), set_band(t, 1, 1, rows);
            }
    }
    *t = best;
    return least - fetching(t, threads);
}

/* Cycles of the other ways: vectors do 68 flops in one; Winograd's transforms take 0.6 for a place of a tile and a channel, by data of few
 * images 0.75, and 28 for a filter, which each of two threads transforms where the filters are few. */
static double without_tiles(const conv_shape *s, int by_data) {
    const double pairs = (double)s->C * (double)s->O, pixels = (double)(s->N * s->oh * s->ow);
    if (!fits(s, 150)) return pixels * (double)s->O * (double)s->K * 2 / 68 + 1.2 * (double)s->K * (double)s->O;
    const double places = (double)(PLACES * s->N * md_ceil_div(s->oh, OUT) * md_ceil_div(s->ow, OUT));
    return places * (pairs * 2 / 85 + (double)(s->C + s->O) * (by_data && s->N < 8 ? 0.75 : 0.6)) + 28 * pairs * (narrow(s) ? 2 : 1);
}

/* The share of the taps of all windows that meet pixels. */
static double meeting(int64_t results, int64_t size, int64_t taps, int64_t dilation, int64_t pad, int64_t stride) {
    int64_t met = 0;
    for (int64_t a = 0; a < taps && stride == 1; a++)
        met += md_max(0, md_min(results, size + pad - a * dilation) - md_max(0, pad - a * dilation));
    return stride == 1 ? (double)met / (double)(results * taps) : 1;
}

static int run(tiled *t, const md_array *x, const conv_shape *s, int by_data, tap *taps, phase *phases, int64_t threads) {
    int filled = 0;
    t->taps = taps;
    t->phases = phases;
    t->met = meeting(s->oh, s->H, s->kh, s->dh, s->ph, s->sh) * meeting(s->ow, s->W, s->kw, s->dw, s->pw, s->sw);
    const int constant = t->weight->constant;
    /* Which way is taken follows neither from the number of threads nor from what a plan keeps, or bits would. */
    if (share_out(t, 2) > without_tiles(s, by_data) / 2) return MD_NOT_MINE;
    t->b = constant ? (char *)taps : NULL; /* nothing to pack */
    if (threads != 2 || constant) share_out(t, threads);
    if (!(t->p.x = dense(x, MD_SLOT_D, threads))) return MD_NO_MEMORY;
    t->b = NULL;
    const int64_t bands = md_ceil_div(t->p.N, t->images) * t->bands, all = t->G * t->n_phases * panels(t);
    if (constant || bands > 1) {
        const size_t bytes = (size_t)(column_bytes(t) * amx_whole(t->out, AMX_ROWS) * t->n_taps * t->G);
        t->b = md_keep(MD_SLOT_B, bytes + (size_t)all * sizeof(amx_range), t->weight, &filled);
        if (!t->b) return MD_NO_MEMORY;
        t->ranges = (amx_range *)(t->b + bytes);
        if (!filled) run_tasks(threads, all, pack_panel, t);
        t->of_b = amx_no_numbers;
        for (int64_t i = 0; i < all; i++) t->of_b = amx_both(t->of_b, t->ranges[i]);
        if (!amx_fits(amx_no_numbers, t->of_b)) return MD_NOT_MINE;
    }
    run_tasks(threads, bands * t->G * t->parts, tiled_task, t);
    return t->result;
}

enum { MOST_TAPS = 169 };

static int suits(const conv_shape *s, const md_array *w, int64_t in, int64_t out) {
    if (!md_has_amx() || in < 16 || out < 16 || s->kh * s->kw > MOST_TAPS || s->sh > MOST_STRIDE || s->sw > MOST_STRIDE) return 0;
    return w->stride[0] == 1 || w->stride[1] == 1;
}

int MD_LOCAL(tiles_forward)(const md_array *y, const md_array *x, const md_array *w, const md_array *bias, const md_array *residual,
                            const conv_shape *s) {
    if (!suits(s, w, s->cg, s->og)) return MD_NOT_MINE;
    if (residual && residual->data && !md_channels_last(residual)) return MD_NOT_MINE;
    const int64_t threads = threads_for(2 * md_size(y) * s->K);
    tap taps[MOST_TAPS];
    phase all = {0, 0, s->oh, s->ow, 0, s->kh * s->kw};
    tiled t = {.p = {.N = s->N, .H = s->H, .W = s->W, .C = s->C, .channels = s->cg, .sr = s->sh, .sc = s->sw, .top = s->ph, .left = s->pw,
                     .steps = md_ceil_div(s->cg, AMX_K)},
               .weight = w, .y = (float *)y->data, .bias = (const float *)bias->data, .relu = s->activation, .OH = s->oh, .OW = s->ow,
               .O = s->O, .G = s->G, .out = s->og, .zr = 1, .zc = 1, .out_stride = w->stride[0], .in_stride = w->stride[1],
               .group_stride = s->og * w->stride[0], .n_phases = 1, .n_taps = all.taps};
    if (residual && residual->data) t.residual = (const float *)residual->data - t.y;
    for (int64_t a = 0; a < s->kh; a++)
        for (int64_t b = 0; b < s->kw; b++) t.p.used |= (uint16_t)(1u << (a * s->dh % s->sh * s->sw + b * s->dw % s->sw));
    for (int64_t a = 0; a < s->kh; a++)
        for (int64_t b = 0; b < s->kw; b++)
            taps[a * s->kw + b] = (tap){phase_index(&t.p, a * s->dh % s->sh, b * s->dw % s->sw), a * s->dh / s->sh, b * s->dw / s->sw,
                                        a * w->stride[2] + b * w->stride[3]};
    t.down = (s->kh - 1) * s->dh / s->sh;
    t.right = (s->kw - 1) * s->dw / s->sw;
    return run(&t, x, s, 0, taps, &all, threads);
}

/* (e + p - a d) / s where that is whole. */
static int reaches(int64_t e, int64_t pad, int64_t tap, int64_t stride, int64_t *way) {
    const int64_t n = e + pad - tap;
    *way = (n - (n % stride + stride) % stride) / stride;
    return n % stride == 0;
}

int MD_LOCAL(tiles_data)(const md_array *dx, const md_array *g, const md_array *w, const conv_shape *s) {
    if (!suits(s, w, s->og, s->cg) || !md_channels_last(dx)) return MD_NOT_MINE;
    const int64_t threads = threads_for(2 * md_size(g) * s->K);
    tap taps[MOST_TAPS];
    phase phases[MOST_STRIDE * MOST_STRIDE];
    tiled t = {.p = {.N = s->N, .H = s->oh, .W = s->ow, .C = s->O, .channels = s->og, .sr = 1, .sc = 1,
                     .steps = md_ceil_div(s->og, AMX_K), .used = 1},
               .weight = w, .y = (float *)dx->data, .OH = s->H, .OW = s->W, .O = s->C, .G = s->G, .out = s->cg, .zr = s->sh, .zc = s->sw,
               .out_stride = w->stride[1], .in_stride = w->stride[0], .group_stride = s->og * w->stride[0]};
    int64_t top = INT64_MAX, left = INT64_MAX, bottom = INT64_MIN, right = INT64_MIN;
    for (int64_t er = 0; er < s->sh; er++)
        for (int64_t ec = 0; ec < s->sw; ec++) {
            phase *f = &phases[t.n_phases];
            *f = (phase){er, ec, md_ceil_div(s->H - er, s->sh), md_ceil_div(s->W - ec, s->sw), t.n_taps, 0};
            if (s->H <= er || s->W <= ec) continue;
            t.n_phases++;
            for (int64_t a = 0; a < s->kh; a++)
                for (int64_t b = 0; b < s->kw; b++) {
                    int64_t down, across;
                    if (!reaches(er, s->ph, a * s->dh, s->sh, &down) || !reaches(ec, s->pw, b * s->dw, s->sw, &across)) continue;
                    taps[t.n_taps++] = (tap){0, down, across, a * w->stride[2] + b * w->stride[3]};
                    f->taps++;
                    top = md_min(top, down), bottom = md_max(bottom, down);
                    left = md_min(left, across), right = md_max(right, across);
                }
        }
    for (int64_t i = 0; i < t.n_taps; i++) taps[i].down -= top, taps[i].right -= left;
    t.p.top = -top, t.p.left = -left;
    t.down = bottom - top, t.right = right - left;
    return run(&t, g, s, 1, taps, phases, threads);
}
#else
int MD_LOCAL(tiles_forward)(__attribute__((unused)) const md_array *y, __attribute__((unused)) const md_array *x,
                            __attribute__((unused)) const md_array *w, __attribute__((unused)) const md_array *bias,
                            __attribute__((unused)) const md_array *residual, __attribute__((unused)) const conv_shape *s) {
    return MD_NOT_MINE;
}
int MD_LOCAL(tiles_data)(__attribute__((unused)) const md_array *dx, __attribute__((unused)) const md_array *g,
                         __attribute__((unused)) const md_array *w, __attribute__((unused)) const conv_shape *s) {
    return MD_NOT_MINE;
}
#endif
