/*
 * Executes instructions on the host's own CPU. Reads cases from standard input, writes one result for each to standard output;
 * both records are laid out below and, by the same names, in case.ts.
 *
 * There is no assembly: cases start and end in one signal handler. To start a case the handler writes its registers into the signal
 * frame and returns; the code is followed by INT3 (as is everything around it), so that any way out of it, and any fault, is a signal
 * again. The handler then takes the registers out of the frame and starts the next case.
 *
 * Linear addresses are fixed: CODE, and from WINDOW_PAGES on two writable pages, one that is read-only and one that is not there.
 * 16-bit code runs in segments of its own, with base CODE and base WINDOW_PAGES, and a 16-bit stack. Otherwise segments are flat.
 *
 * The window is the 512 bytes around the border of the two writable pages; the rest of them is zero when a case starts. GS has its base
 * on the border in 64-bit code and is null otherwise. FS has its base in the first page; outside 64-bit code that is a segment with a
 * limit, and the only one that 32-bit code can reach with 16-bit addresses. FS is the C library's too: the handler gives it back while it
 * runs.
 */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <asm/prctl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/ucontext.h>
#include <ucontext.h>
#include <unistd.h>

#define CODE 0x20000000ull
#define CODE_SIZE 0x1000
#define CODE_START (CODE + 0x800)
#define WINDOW_PAGES 0x10000000ull
#define WINDOW_SIZE 512
#define WINDOW (WINDOW_PAGES + 0x1000 - WINDOW_SIZE / 2)
#define TIMEOUT 0xff
/* Segments of the LDT. Of 16-bit code: entries 0 and 1. */
#define CODE16 0x7
#define DATA16 0xf
#define DATA16_LIMIT 0x3fff
/* FS, entry 2. Its base is no multiple of 16, and its limit lies in the read-only page. */
#define FS_SELECTOR 0x17
#define FS_BASE (WINDOW_PAGES + 0x7f8)
#define FS_LIMIT 0x1fff
#define CODE32 0x23
#define FLAT 0x2b

struct test_case {
	uint32_t bits; /* 64, or 32 or 16 for compatibility mode */
	uint32_t length;
	uint8_t code[512];
	uint64_t gpr[16]; /* in encoding order */
	uint64_t rflags;
	uint64_t reserved;
	uint8_t fxsave[512];
	uint8_t window[WINDOW_SIZE];
};

struct test_result {
	uint32_t vector; /* 3 when the code ran through */
	uint32_t error_code;
	uint64_t cr2;
	uint64_t gpr[16];
	uint64_t rip;
	uint64_t rflags;
	uint8_t fxsave[512];
	uint8_t window[WINDOW_SIZE];
};

static const int order[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
			       REG_R8,  REG_R9,	 REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };

static struct test_case *cases;
static struct test_result *results;
static size_t count, next;
static int started;
static uint16_t host_cs;
static unsigned long host_fs;

static void set_fs(uint32_t selector, unsigned long base)
{
	__asm__ volatile("movl %0, %%fs" : : "r"(selector));
	/* A selector of the LDT has loaded the base from there. syscall() touches FS only to report an error. */
	if (!selector)
		syscall(SYS_arch_prctl, ARCH_SET_FS, base);
}

static void take(ucontext_t *uc)
{
	struct test_result *r = &results[next];
	greg_t *g = uc->uc_mcontext.gregs;

	for (int i = 0; i < 16; i++)
		r->gpr[i] = g[order[i]];
	r->rip = g[REG_RIP];
	r->rflags = g[REG_EFL];
	r->vector = g[REG_TRAPNO];
	r->error_code = g[REG_ERR];
	r->cr2 = g[REG_CR2];
	memcpy(r->fxsave, uc->uc_mcontext.fpregs, 512);
	memcpy(r->window, (void *)WINDOW, WINDOW_SIZE);
	next++;
}

static void start(ucontext_t *uc)
{
	struct test_case *c = &cases[next];
	greg_t *g = uc->uc_mcontext.gregs;
	uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
	uint64_t cs, data;

	memset((void *)CODE, 0xcc, CODE_SIZE);
	memcpy((void *)CODE_START, c->code, c->length);
	memset((void *)WINDOW_PAGES, 0, 0x2000);
	memcpy((void *)WINDOW, c->window, WINDOW_SIZE);
	for (int i = 0; i < 16; i++)
		g[order[i]] = c->gpr[i];
	g[REG_RIP] = c->bits == 16 ? CODE_START - CODE : CODE_START;
	g[REG_EFL] = c->rflags;
	/* CS, GS, FS and SS from the low word up; the kernel takes SS from there if these flags ask it to (UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS). */
	cs = c->bits == 64 ? host_cs : c->bits == 32 ? CODE32 : CODE16;
	data = c->bits == 16 ? DATA16 : FLAT;
	g[REG_CSGSFS] = (g[REG_CSGSFS] & 0x0000ffffffff0000ull) | cs | data << 48;
	uc->uc_flags |= 6;
	__asm__ volatile("movl %0, %%ds; movl %0, %%es" : : "r"((uint32_t)data));
	set_fs(c->bits == 64 ? 0 : FS_SELECTOR, FS_BASE);
	g[REG_CR2] = 0;
	/* Bytes 464 to 511 of the image are the kernel's; the two low bits after it tell that x87 and SSE state is there to load. */
	memcpy(fp, c->fxsave, 464);
	if (*(uint32_t *)(fp + 464) == 0x46505853)
		*(uint64_t *)(fp + 512) |= 3;
}

static void finish(void)
{
	size_t left = count * sizeof *results;
	char *p = (char *)results;

	while (left) {
		ssize_t n = write(1, p, left);

		if (n <= 0)
			_exit(2);
		p += n;
		left -= n;
	}
	_exit(0);
}

static void handler(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)info;
	if (started)
		set_fs(0, host_fs);
	if (!started) {
		host_cs = uc->uc_mcontext.gregs[REG_CSGSFS];
		started = 1;
	} else {
		if (sig == SIGPROF)
			uc->uc_mcontext.gregs[REG_TRAPNO] = TIMEOUT;
		take(uc);
	}
	if (next == count)
		finish();
	/* A case that does not end is interrupted after a second of processor time. */
	if (next % 64 == 0 || sig == SIGPROF) {
		struct itimerval t = { { 0, 0 }, { 1, 0 } };

		setitimer(ITIMER_PROF, &t, 0);
	}
	start(uc);
}

static void *map(uint64_t at, size_t size, int prot)
{
	void *p = mmap((void *)at, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	if (p == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
	return p;
}

static void define_segment(int entry, uint32_t base, uint32_t limit, int contents)
{
	struct user_desc d = { .entry_number = entry, .base_addr = base, .limit = limit, .contents = contents };

	/* A kernel without LDTs can still do everything else. */
	syscall(SYS_modify_ldt, 0x11, &d, sizeof d);
}

int main(void)
{
	static const int signals[] = { SIGTRAP, SIGSEGV, SIGILL, SIGFPE, SIGBUS, SIGPROF };
	static char stack[1 << 16];
	stack_t alternate = { .ss_sp = stack, .ss_size = sizeof stack };
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	size_t size = 0, room = 1 << 20;
	char *input = malloc(room);

	for (;;) {
		ssize_t n = read(0, input + size, room - size);

		if (n < 0)
			return 2;
		if (n == 0)
			break;
		size += n;
		if (size == room)
			input = realloc(input, room *= 2);
	}
	cases = (struct test_case *)input;
	count = size / sizeof *cases;
	results = calloc(count, sizeof *results);

	map(CODE, CODE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC);
	map(WINDOW_PAGES, 0x2000, PROT_READ | PROT_WRITE);
	map(WINDOW_PAGES + 0x2000, 0x1000, PROT_READ);
	/* Present pages, so that the error codes of faults do not depend on what was touched before. */
	memset((void *)WINDOW_PAGES, 0, 0x2000);
	(void)*(volatile char *)(WINDOW_PAGES + 0x2000);
	if (mmap((void *)(WINDOW_PAGES + 0x3000), 0x1000, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		return 2;
	if (syscall(SYS_arch_prctl, ARCH_SET_GS, WINDOW_PAGES + 0x1000))
		return 2;
	if (syscall(SYS_arch_prctl, ARCH_GET_FS, &host_fs))
		return 2;

	define_segment(0, CODE, 0xffff, 2);
	define_segment(1, WINDOW_PAGES, DATA16_LIMIT, 0);
	define_segment(2, FS_BASE, FS_LIMIT, 0);

	sigaltstack(&alternate, 0);
	sigfillset(&sa.sa_mask);
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		sigaction(signals[i], &sa, 0);
	if (count)
		raise(SIGTRAP);
	return 0;
}
