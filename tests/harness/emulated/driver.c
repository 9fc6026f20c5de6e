/*
 * Runs kernels for a test in another process: reads calls from stdin, answers on stdout.
 *
 * Linked with an object file of kernels and a table of them, for any machine; where that is
 * another than the test's, an emulator runs it, or a board at the other end of a pipe.
 *
 * All numbers are little-endian. A call is
 *
 *     u32 kernel, u32 back, u32 buffers, u32 scalars
 *     { u32 bytes, u32 written } for each buffer
 *     i64                        for each scalar
 *     the bytes of each buffer
 *
 * Every buffer lies flush against an inaccessible page, behind it where `back` is 1 and before
 * it where it is 0; a buffer that the kernel must not write is in pages that cannot be written.
 * The answer is
 *
 *     u32 length, then so many bytes of text: what went wrong; length 0 where nothing did, then
 *     the bytes of each written buffer
 *
 * A kernel that touches memory of no buffer ends the process, with a line on stderr.
 */
#define _DEFAULT_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef void kernel(uint8_t *const *buffers, const int64_t *scalars);

/* The table of kernels, from the file that the test writes. */
extern kernel *const kernels[];
extern const uint32_t kernel_count;

enum { MOST = 64, POISON = 0xa5 };

struct buffer {
    uint8_t *map; /* a guard page, the usable pages, a guard page */
    size_t usable, start, bytes;
    uint32_t written;
};

static struct buffer buffers[MOST];
static uint32_t buffer_count;
static uint32_t called;
static size_t page;

static void fail(const char *what)
{
    fprintf(stderr, "driver: %s\n", what);
    exit(2);
}

static void take(void *into, size_t bytes)
{
    if (fread(into, 1, bytes, stdin) != bytes) {
        fail("the call ends early");
    }
}

static void give(const void *from, size_t bytes)
{
    if (fwrite(from, 1, bytes, stdout) != bytes) {
        fail("the answer cannot be written");
    }
}

/* Tells which buffer a kernel strayed from. Only what is safe in a handler: the line is short. */
static void on_fault(int signal, siginfo_t *info, void *context)
{
    const uint8_t *at = info->si_addr;
    char line[160];
    int length = snprintf(line, sizeof line, "driver: signal %d in kernel %u at %p\n", signal,
                          called, (const void *)at);
    (void)context;
    for (uint32_t i = 0; i < buffer_count; i++) {
        const struct buffer *b = &buffers[i];
        if (at >= b->map && at < b->map + b->usable + 2 * page) {
            length = snprintf(line, sizeof line,
                              "driver: signal %d in kernel %u at byte %ld of buffer %u of %zu bytes\n",
                              signal, called, (long)(at - (b->map + page + b->start)), i, b->bytes);
        }
    }
    if (write(STDERR_FILENO, line, (size_t)length) < 0) {
        _exit(4);
    }
    _exit(3);
}

static void watch_faults(void)
{
    static uint8_t stack[65536];
    const stack_t alternate = { .ss_sp = stack, .ss_size = sizeof stack };
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaltstack(&alternate, NULL);
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGILL, &action, NULL);
}

/* What differs from the default of the floating-point unit: rounding, flushing, traps. */
static uint32_t float_control(void)
{
#if defined(__aarch64__)
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    return (uint32_t)fpcr;
#elif defined(__x86_64__)
    uint32_t mxcsr;
    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    return (mxcsr & ~0x3fu) ^ 0x1f80u;
#else
#error "a machine that there are kernels for"
#endif
}

/* Maps a buffer, poisons its surroundings and reads its bytes. */
static void place(struct buffer *b, uint32_t back)
{
    const size_t words = (b->bytes + 3) / 4 * 4;
    b->usable = (words + page - 1) / page * page;
    b->map = mmap(NULL, b->usable + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (b->map == MAP_FAILED || mprotect(b->map + page, b->usable, PROT_READ | PROT_WRITE) != 0) {
        fail("no memory for a buffer");
    }
    b->start = back ? b->usable - words : 0;
    memset(b->map + page, POISON, b->usable);
    take(b->map + page + b->start, b->bytes);
}

static void protect(const struct buffer *b)
{
    if (!b->written && mprotect(b->map + page, b->usable, PROT_READ) != 0) {
        fail("a buffer cannot be protected");
    }
}

/* The first byte beside a buffer that lost its poison, counted from the buffer; 0 for none. */
static long stray(const struct buffer *b)
{
    for (size_t i = 0; i < b->usable; i++) {
        const int inside = i >= b->start && i < b->start + b->bytes;
        if (!inside && b->map[page + i] != POISON) {
            return (long)i - (long)b->start;
        }
    }
    return 0;
}

/* Runs one call; 0 where there is none any more. */
static int call(void)
{
    uint32_t head[4];
    int64_t scalars[MOST];
    uint8_t *pointers[MOST];
    char wrong[160] = "";

    if (fread(head, 1, sizeof head, stdin) != sizeof head) {
        return 0;
    }
    called = head[0];
    if (called >= kernel_count || head[2] > MOST || head[3] > MOST) {
        fail("no such call");
    }
    for (uint32_t i = 0; i < head[2]; i++) {
        uint32_t declared[2];
        take(declared, sizeof declared);
        buffers[i].bytes = declared[0];
        buffers[i].written = declared[1];
    }
    take(scalars, head[3] * sizeof scalars[0]);
    for (buffer_count = 0; buffer_count < head[2]; buffer_count++) {
        place(&buffers[buffer_count], head[1]);
        pointers[buffer_count] = buffers[buffer_count].map + page + buffers[buffer_count].start;
    }
    for (uint32_t i = 0; i < buffer_count; i++) {
        protect(&buffers[i]);
    }
    if (float_control() != 0) {
        fail("the floating-point environment is not the default");
    }
    kernels[called](pointers, scalars);
    if (float_control() != 0) {
        snprintf(wrong, sizeof wrong, "the floating-point environment was changed");
    }
    for (uint32_t i = 0; i < buffer_count; i++) {
        const long at = stray(&buffers[i]);
        if (at != 0) {
            snprintf(wrong, sizeof wrong, "byte %ld of buffer %u of %zu bytes was written", at, i,
                     buffers[i].bytes);
        }
    }
    const uint32_t length = (uint32_t)strlen(wrong);
    give(&length, sizeof length);
    give(wrong, length);
    for (uint32_t i = 0; i < buffer_count; i++) {
        if (length == 0 && buffers[i].written) {
            give(pointers[i], buffers[i].bytes);
        }
        munmap(buffers[i].map, buffers[i].usable + 2 * page);
    }
    fflush(stdout);
    return 1;
}

int main(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    watch_faults();
    while (call()) {
    }
    return 0;
}
