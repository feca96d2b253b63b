/* Random reads of a block device for `npm run bench -- io`: COUNT reads of 4 KiB past the page cache, at places that a generator of fixed
 * seed chooses, by DEPTH processes at once. Prints a sum over what was read, which is the same wherever the disk is. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCK = 4096 };

int main(int argc, char **argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: io-load DEVICE COUNT DEPTH\n");
    return 2;
  }
  long count = atol(argv[2]), depth = atol(argv[3]);
  int fd = open(argv[1], O_RDONLY | O_DIRECT);
  if (fd < 0) {
    perror(argv[1]);
    return 1;
  }
  off_t blocks = lseek(fd, 0, SEEK_END) / BLOCK;
  uint64_t *sums = mmap(0, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  for (long p = 0; p < depth; p++) {
    if (fork() != 0) continue;
    unsigned char *buffer = aligned_alloc(BLOCK, BLOCK);
    uint32_t x = 12345 + (uint32_t)p;
    for (long i = 0; i < count / depth; i++) {
      x = x * 1664525 + 1013904223;
      if (pread(fd, buffer, BLOCK, (off_t)(x >> 4) % blocks * BLOCK) != BLOCK) {
        perror("pread");
        _exit(1);
      }
      sums[p] += *(uint32_t *)(buffer + (x >> 20 & 0xffc) % BLOCK);
    }
    _exit(0);
  }
  int bad = 0, status;
  while (wait(&status) > 0) bad |= status;
  uint64_t sum = 0;
  for (long p = 0; p < depth; p++) sum += sums[p];
  printf("%llx\n", (unsigned long long)sum);
  return bad != 0;
}
