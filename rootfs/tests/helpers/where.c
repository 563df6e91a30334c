/* Says where its parts lie. */
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

int main(void)
{
    int local;
    void *mapped = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    dprintf(1, "%p %p %p %p %lx\n", (void *)&local, mapped, sbrk(0), (void *)main, getauxval(AT_SYSINFO_EHDR));
    return 0;
}
