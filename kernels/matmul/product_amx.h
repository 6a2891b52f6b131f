/* The product on matrix tiles (amx.h). A task splits and packs its rows of a, a block of k at a time, and multiplies them with its
 * columns of that block. b is packed whole first, by all threads, or, where few tasks share columns, each panel by each task just
 * before its use. */
enum {
    AMX_KC = 512,
    AMX_BLOCK = 256 * 512, /* rows times k of a, packed, beside a panel of b: they share the second-level cache */
    AMX_WHOLE = 384 * 512 /* up to here a task may hold all rows, so that b, packed for each panel, never goes through memory */
};

typedef struct {
    const product *c;
    char *b; /* packed, or NULL */
    amx_range *ranges; /* of each packed panel of b, behind them */
    int64_t kc, panels, blocks, rows, cols, across;
    int own; /* each task packs the panels of b that it needs, for itself */
    _Atomic int result;
} amx_product;

INLINE char *amx_panel(const amx_product *w, int64_t k0, int64_t kc, int64_t j) {
    return w->b + amx_bytes(w->c->N, k0) + amx_bytes(j, kc);
}

static amx_range amx_pack_columns(const product *c, char *to, int64_t k0, int64_t kc, int64_t j) {
    return amx_pack_panels(to, c->b + k0 * c->b_ks + j * c->b_ns, c->b_ns, c->b_ks, md_min(AMX_SIDE, c->N - j), kc, 1);
}
static void amx_pack_b(int64_t index, void *ctx) {
    amx_product *w = ctx;
    const int64_t k0 = index / w->panels * w->kc, j = index % w->panels * AMX_SIDE, kc = md_min(w->kc, w->c->K - k0);
    w->ranges[index] = amx_pack_columns(w->c, amx_panel(w, k0, kc, j), k0, kc, j);
}

/* One panel of a times one of b. The sums go by way of `edge` where y has no whole vectors for them or they are not the result yet:
 * rows of y may lie so that they push each other out of the first-level cache. */
static void amx_block(const product *c, amx_args *t, part p, int64_t k0, int last) {
    static const float zeros[AMX_SIDE];
    float edge[AMX_SIDE * AMX_SIDE], bias[AMX_SIDE];
    const int to_finish = last && (c->residual || c->activation);
    const int whole = p.rows % AMX_ROWS == 0 && p.cols % AMX_ROWS == 0;
    float *const y = c->y + p.m * c->y_ms + p.j;
    t->to = y;
    t->to_row = c->y_ms;
    t->y = whole && !to_finish ? y : edge;
    t->ldy = whole && !to_finish ? c->y_ms : AMX_SIDE;
    t->start = !k0 ? zeros : whole ? y : edge;
    t->start_row = !k0 ? 0 : whole ? c->y_ms : AMX_SIDE;
    if (!k0 && c->bias) {
        t->start = c->bias + p.j;
        if (!whole) t->start = memcpy(bias, c->bias + p.j, (size_t)p.cols * 4);
    }
    for (int64_t i = 0; i < p.rows && k0 && !whole; i++) memcpy(edge + i * AMX_SIDE, y + i * c->y_ms, (size_t)p.cols * 4);
    amx_multiply(amx_strips(p.rows), amx_strips(p.cols), t);
    if (to_finish) finish(c, edge, AMX_SIDE, p);
    else
        for (int64_t i = 0; i < p.rows && !whole; i++) memcpy(y + i * c->y_ms, edge + i * AMX_SIDE, (size_t)p.cols * 4);
}

AMX_CODE static void amx_task(int64_t index, void *ctx) {
    amx_product *w = ctx;
    const product *c = w->c;
    const int64_t m0 = index / w->across * w->rows, m1 = md_min(c->M, m0 + w->rows);
    const int64_t n0 = index % w->across * w->cols, n1 = md_min(c->N, n0 + w->cols);
    char *const a = md_scratch(MD_SLOT_A, (size_t)amx_bytes(m1 - m0, w->kc));
    char *const own = w->b ? NULL : md_scratch(MD_SLOT_B, (size_t)amx_bytes(AMX_SIDE, w->kc));
    if (!a || (!w->b && !own)) {
        w->result = MD_NO_MEMORY;
        return;
    }
    amx_begin();
    for (int64_t k0 = 0; k0 < c->K && w->result == MD_DONE; k0 += w->kc) {
        const int64_t kc = md_min(w->kc, c->K - k0);
        const amx_range range = amx_pack_panels(a, c->a + m0 * c->a_ms + k0 * c->a_ks, c->a_ms, c->a_ks, m1 - m0, kc, 0);
        for (int64_t j = n0; j < n1; j += AMX_SIDE) {
            const char *const b = own ? own : amx_panel(w, k0, kc, j);
            const char *const next = own ? own : amx_panel(w, k0, kc, md_min(j + AMX_SIDE, n1));
            /* Asked for each block of k and panel, so that the answer does not depend on how rows are shared out. */
            if (!amx_fits(range, own ? amx_pack_columns(c, own, k0, kc, j) : w->ranges[k0 / w->kc * w->panels + j / AMX_SIDE])) {
                w->result = MD_NOT_MINE;
                break;
            }
            amx_args t = {.b = b, .next_b = b, .steps = md_ceil_div(kc, AMX_K), .a_row = 64, .a_tile = AMX_TILE, .far = next};
            t.far_lines = own ? 0 : (int)(AMX_PARTS * AMX_SIDE / md_ceil_div(m1 - m0, AMX_SIDE));
            for (int64_t m = m0; m < m1; m += AMX_SIDE, t.far += t.far_lines * t.steps * 64) {
                const int64_t rows = md_min(AMX_SIDE, m1 - m);
                const int down = amx_strips(rows), last = m + AMX_SIDE >= m1;
                t.a = a + amx_bytes(m - m0, kc);
                t.next_a = last ? a : a + amx_bytes(m + AMX_SIDE - m0, kc);
                t.next_b = last ? next : b;
                t.a_part = down * AMX_TILE;
                amx_block(c, &t, (part){m, rows, j, md_min(AMX_SIDE, c->N - j)}, k0, k0 + kc == c->K);
            }
        }
    }
    amx_end();
}

static void amx_all(const product *c, int64_t tasks, void (*body)(int64_t, void *), void *ctx) {
    if (c->threads > 1) md_parallel(tasks, body, ctx);
    else for (int64_t i = 0; i < tasks; i++) body(i, ctx);
}

/* Rows and columns of a task, so that the slowest thread has least to do, and whether each task packs b for itself: costs are in
 * turns of a number of y through K. To split a row of a costs as much as 40 columns, and so for a column of b, but twice that where
 * it goes through memory to other threads. */
static void amx_share_out(amx_product *w, int threads) {
    const int64_t M = w->c->M, N = w->c->N, fewest = M * w->kc <= AMX_WHOLE ? 1 : md_ceil_div(M, AMX_BLOCK / w->kc);
    int64_t least = INT64_MAX;
    for (int64_t down = fewest; down <= fewest + 2 * threads; down++)
        for (int64_t across = 1; across <= 2 * threads; across++) {
            const int64_t rows = amx_whole(md_ceil_div(M, down), AMX_SIDE), cols = amx_whole(md_ceil_div(N, across), AMX_SIDE);
            const int64_t tasks = md_ceil_div(M, rows) * md_ceil_div(N, cols), turns = md_ceil_div(tasks, threads);
            const int64_t own = 40 * turns * cols, shared = 80 * N / threads + 500000 / w->c->K;
            const int64_t cost = turns * (rows * (cols + 40) + 4000) + (w->b ? 0 : md_min(own, shared));
            if (cost < least) least = cost, w->rows = rows, w->cols = cols, w->own = !w->b && own <= shared;
        }
    w->across = md_ceil_div(N, w->cols);
}

static amx_product amx_layout(const product *c) {
    amx_product w = {.c = c, .b = c->amx_b, .panels = md_ceil_div(c->N, AMX_SIDE)};
    w.kc = amx_whole(md_ceil_div(c->K, md_ceil_div(c->K, AMX_KC)), AMX_K);
    w.blocks = md_ceil_div(c->K, w.kc);
    return w;
}
/* Bytes of b, packed, and the ranges of its panels. */
static size_t amx_size(const product *c) {
    const amx_product w = amx_layout(c);
    return (size_t)amx_bytes(c->N, c->K) + (size_t)(w.blocks * w.panels) * sizeof(amx_range);
}

/* MD_NOT_MINE: the numbers do not fit, and y is to be written anew. */
static int multiply_by_tiles(const product *c) {
    amx_product w = amx_layout(c);
    amx_share_out(&w, c->threads);
    const int64_t tasks = md_ceil_div(c->M, w.rows) * w.across;
    if (!w.own) {
        if (!w.b) w.b = md_scratch(MD_SLOT_B, amx_size(c));
        if (!w.b) return MD_NO_MEMORY;
        w.ranges = (amx_range *)(w.b + amx_bytes(c->N, c->K));
        if (!c->amx_filled) amx_all(c, w.blocks * w.panels, amx_pack_b, &w);
    }
    amx_all(c, tasks, amx_task, &w);
    return w.result;
}

/* Estimates in cycles: vectors do 52 flops in one, tiles 100; to split and pack a number costs 0.8, with a change of order 1.3. */
static int amx_pays(const product *c) {
    if (!md_has_amx() || (c->a_ks != 1 && c->a_ms != 1) || (c->b_ks != 1 && c->b_ns != 1)) return 0;
    const double M = (double)c->M, N = (double)c->N, K = (double)c->K;
    const double padded = (double)amx_whole(c->M, AMX_ROWS) * (double)amx_whole(c->N, AMX_ROWS) * (double)amx_whole(c->K, AMX_K);
    const double packing = M * K * (c->a_ks == 1 ? 0.8 : 1.3) + N * K * (c->b_ns == 1 ? 0.8 : 1.3);
    return 2 * padded / 100 + packing + 10000 < 2 * M * N * K / 52;
}
