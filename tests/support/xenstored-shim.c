/*
 * Lets Debian's own xenstored run without Xen, for tests: preloaded, it takes the place of what the daemon calls of libxenctrl,
 * libxenevtchn and libxengnttab. Rings are files (mapped shared, so that reading and writing them reaches the daemon), events come
 * through a FIFO as port numbers, and which domains there are is said by files, too. All of them lie in $XENSTORED_SHIM.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xenctrl.h>
#include <xenevtchn.h>
#include <xengnttab.h>

#define PAGE 4096
/* Local ports: the VIRQ's, and one for each domain. */
#define VIRQ_PORT 1
#define DOMAIN_PORT 1000

static char handle;
static int events = -1;

static int open_ours(const char *name, int flags)
{
    static int (*next)(const char *, int, ...);
    char path[4096];

    if (!next)
        next = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    snprintf(path, sizeof(path), "%s/%s", getenv("XENSTORED_SHIM"), name);
    return next(path, flags);
}

/* The two files by which Linux hands dom0's ring to the daemon. */
int open(const char *path, int flags, ...)
{
    static int (*next)(const char *, int, ...);
    va_list ap;
    mode_t mode;

    if (!next)
        next = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    va_start(ap, flags);
    mode = va_arg(ap, mode_t);
    va_end(ap);
    if (!strcmp(path, "/proc/xen/xsd_port"))
        return open_ours("port-0", O_RDONLY);
    if (!strcmp(path, "/proc/xen/xsd_kva") || !strcmp(path, "/dev/xen/xenbus"))
        return open_ours("ring-0", O_RDWR);
    return next(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list ap;
    mode_t mode;

    va_start(ap, flags);
    mode = va_arg(ap, mode_t);
    va_end(ap);
    return open(path, flags, mode);
}

xenevtchn_handle *xenevtchn_open(struct xentoollog_logger *logger, unsigned int flags)
{
    events = open_ours("events", O_RDWR);
    return events < 0 ? NULL : (xenevtchn_handle *)&handle;
}

xenevtchn_handle *xenevtchn_fdopen(struct xentoollog_logger *logger, int fd, unsigned open_flags)
{
    return NULL;
}

int xenevtchn_fd(xenevtchn_handle *xce)
{
    return events;
}

/* All that wait, as one: of the ports, the daemon tells only the VIRQ from the rest. */
xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle *xce)
{
    uint32_t ports[1024];
    ssize_t i, n = read(events, ports, sizeof(ports)) / (ssize_t)sizeof(*ports);

    for (i = 0; i < n; i++)
        if (ports[i] == VIRQ_PORT)
            return VIRQ_PORT;
    return n > 0 ? (int)ports[n - 1] : -1;
}

int xenevtchn_unmask(xenevtchn_handle *xce, evtchn_port_t port)
{
    return 0;
}

int xenevtchn_notify(xenevtchn_handle *xce, evtchn_port_t port)
{
    return 0;
}

int xenevtchn_unbind(xenevtchn_handle *xce, evtchn_port_t port)
{
    return 0;
}

xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle *xce, uint32_t domid, evtchn_port_t remote_port)
{
    return DOMAIN_PORT + domid;
}

xenevtchn_port_or_error_t xenevtchn_bind_virq(xenevtchn_handle *xce, unsigned int virq)
{
    return VIRQ_PORT;
}

xengnttab_handle *xengnttab_open(struct xentoollog_logger *logger, unsigned open_flags)
{
    return (xengnttab_handle *)&handle;
}

int xengnttab_close(xengnttab_handle *xgt)
{
    return 0;
}

int xengnttab_set_max_grants(xengnttab_handle *xgt, uint32_t nr_grants)
{
    return 0;
}

void *xengnttab_map_grant_ref(xengnttab_handle *xgt, uint32_t domid, uint32_t ref, int prot)
{
    char name[32];
    int fd;
    void *page;

    snprintf(name, sizeof(name), "ring-%u", domid);
    fd = open_ours(name, O_RDWR);
    if (fd < 0)
        return NULL;
    page = mmap(NULL, PAGE, prot, MAP_SHARED, fd, 0);
    close(fd);
    return page == MAP_FAILED ? NULL : page;
}

int xengnttab_unmap(xengnttab_handle *xgt, void *start, uint32_t count)
{
    return munmap(start, (size_t)count * PAGE);
}

xc_interface *xc_interface_open(struct xentoollog_logger *logger, struct xentoollog_logger *dombuild_logger, unsigned open_flags)
{
    return (xc_interface *)&handle;
}

int xc_interface_close(xc_interface *xch)
{
    return 0;
}

/* domain-<id> holds 'r' (running), 's' (shut down) or 'd' (dying); no file, no domain. */
int xc_domain_getinfo(xc_interface *xch, uint32_t first_domid, unsigned int max_doms, xc_dominfo_t *info)
{
    char name[32], state = 0;
    int fd;

    memset(info, 0, sizeof(*info));
    info->domid = first_domid;
    snprintf(name, sizeof(name), "domain-%u", first_domid);
    fd = open_ours(name, O_RDONLY);
    if (fd < 0)
        return 0;
    if (read(fd, &state, 1) != 1)
        state = 'r';
    close(fd);
    info->running = state == 'r';
    info->shutdown = state != 'r';
    info->dying = state == 'd';
    return 1;
}
