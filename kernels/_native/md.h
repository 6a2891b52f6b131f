/* What every native kernel shares: array descriptors, registration, threads, scratch memory.
 *
 * All kernels have one C signature, so the Cython module that calls them is written once:
 *     int kernel(const md_array *a, int n, const double *p)
 * a[0..n) are the outputs and then the inputs in the order of the specification (an absent input has data == NULL);
 * p are the specification's parameters. The return value is MD_DONE, or MD_NOT_MINE before anything was written:
 * the dispatcher then runs the reference; or MD_NO_MEMORY, which becomes a MemoryError.
 */
#ifndef MD_H
#define MD_H
#include <stddef.h>
#include <stdint.h>

#define MD_MAX_DIMS 8
enum { MD_DONE = 0, MD_NOT_MINE = 1, MD_NO_MEMORY = 2 };

/* A dtype is its NumPy kind letter and its item size: 'f' 4 is float32. */
#define MD_DTYPE(kind, size) ((kind) << 8 | (size))
enum {
    MD_F32 = MD_DTYPE('f', 4), MD_F64 = MD_DTYPE('f', 8),
    MD_I32 = MD_DTYPE('i', 4), MD_I64 = MD_DTYPE('i', 8),
    MD_U8 = MD_DTYPE('u', 1), MD_BOOL = MD_DTYPE('b', 1),
};

typedef struct {
    char *data;
    int64_t shape[MD_MAX_DIMS];
    int64_t stride[MD_MAX_DIMS]; /* in elements */
    int ndim, dtype;
    int constant; /* the same values at every run of a prepared plan: a weight */
} md_array;

typedef int (*md_kernel)(const md_array *a, int n, const double *p);

/* MD_KERNEL(name, outs, ins) { ... } defines a kernel of so many outputs and inputs (a list of arrays counts as one) and
 * registers it for the instruction set this file is compiled for. */
typedef struct {
    const char *name, *isa;
    md_kernel fn;
    int outs, ins;
} md_entry;
#define MD_STR_(x) #x
#define MD_STR(x) MD_STR_(x)
#define MD_KERNEL(name, outs, ins)                                                              \
    static int k_##name(const md_array *a, int n, const double *p);                              \
    __attribute__((constructor)) static void register_##name(void) {                            \
        md_register((md_entry){#name, MD_STR(MD_ISA), k_##name, outs, ins});                    \
    }                                                                                           \
    static int k_##name(const md_array *a, __attribute__((unused)) int n, __attribute__((unused)) const double *p)

/* The name of a function that several files of a family share, for one instruction set: int MD_LOCAL(gemm)(...). */
#define MD_JOIN_(a, b) a##_##b
#define MD_JOIN(a, b) MD_JOIN_(a, b)
#define MD_LOCAL(name) MD_JOIN(name, MD_ISA)

void md_register(md_entry kernel);
const md_entry *md_find(const char *name, const char *isa); /* NULL where this instruction set has no such kernel */
int md_has_isa(const char *isa);                      /* was anything built for isa? */
int md_cpu_has(const char *isa);                      /* may this processor run code built for isa? */
int md_has_amx(void);                                 /* may this process use matrix tiles? amx.h */

/* Runs body(i, ctx) for i in [0, n), spread over the pool. Tasks must not depend on each other's order. Returns when
 * all are done. A call from inside a task, or while another thread uses the pool, runs on the calling thread. */
void md_parallel(int64_t n, void (*body)(int64_t i, void *ctx), void *ctx);
/* Each thread begins with a share of neighbouring tasks. md_mirror(i, n) is the task as far from the end of its share as task i is
 * from the beginning: a second job in this order meets first what the first job left in the thread's cache. */
int md_get_threads(void);
void md_set_threads(int n);

/* Work below this many flops (or bytes) is not worth waking a thread for. */
#define MD_SMALL_FLOPS 350000
#define MD_SMALL_BYTES 65536

/* The calling thread's own scratch memory, 64-byte aligned, kept between calls; NULL if there is no memory: the kernel then
 * returns MD_NO_MEMORY, and a task says so in its context. A kernel may hold one block of each slot at a time. */
enum { MD_SLOT_A, MD_SLOT_B, MD_SLOT_C, MD_SLOT_D, MD_SLOTS };
void *md_scratch(int slot, size_t bytes);

/* Memory for what a kernel derives from shapes, parameters and one array `of` alone (NULL: from none): packed weights, tables
 * of offsets. *filled says that it still holds what this step of a prepared plan put there at its first run; in an ordinary
 * call, or where `of` is not constant, it is scratch memory of the slot and *filled is 0. Called once per slot in a kernel
 * call, by the thread that the kernel was called on, outside of tasks. NULL if there is no memory. */
void *md_keep(int slot, size_t bytes, const md_array *of, int *filled);

/* What the steps of a plan keep: one of these per step. A thread that runs a step names it first, and NULL afterwards. */
typedef struct { void *block[MD_SLOTS]; size_t size[MD_SLOTS]; } md_kept;
void md_keep_in(md_kept *step);
void md_forget(md_kept *step); /* frees what the step kept */
size_t md_kept_bytes(const md_kept *step);

/* One call of a plan, and what it keeps: plan.c. */
typedef struct { md_kernel fn; const md_array *a; int n; const double *p; md_kept kept; } md_step;
int64_t md_run(md_step *steps, int64_t first, int64_t count, int *status);

/* Memory for arrays, 64-byte aligned, from blocks that earlier arrays gave back. *given is the block's true size. */
void *md_take(size_t bytes, size_t *given);
void md_give(void *block, size_t given);
size_t md_pooled(void);

static inline int64_t md_size(const md_array *a) {
    int64_t n = 1;
    for (int d = 0; d < a->ndim; d++) n *= a->shape[d];
    return n;
}
static inline int64_t md_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t md_max(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t md_ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t md_mirror(int64_t i, int64_t n) {
    const int64_t shares = md_min(n, md_get_threads()), share = ((i + 1) * shares - 1) / n;
    return n * share / shares + n * (share + 1) / shares - 1 - i;
}

/* C order without gaps, axes of length one aside. */
static inline int md_contiguous(const md_array *a) {
    int64_t expect = 1;
    for (int d = a->ndim - 1; d >= 0; d--) {
        if (a->shape[d] != 1 && a->stride[d] != expect) return 0;
        expect *= a->shape[d];
    }
    return 1;
}

/* An (N, C, H, W) array whose memory is N, H, W, C without gaps: the layout of images on the CPU. */
static inline int md_channels_last(const md_array *a) {
    if (a->ndim != 4) return 0;
    const int order[4] = {1, 3, 2, 0};
    int64_t expect = 1;
    for (int i = 0; i < 4; i++) {
        int d = order[i];
        if (a->shape[d] != 1 && a->stride[d] != expect) return 0;
        expect *= a->shape[d];
    }
    return 1;
}
#endif
