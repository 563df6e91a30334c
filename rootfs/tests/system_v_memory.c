/* shmget, shmat, shmdt, shmctl: segments of shared memory. */
#include "check.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/shm.h>

enum { PAGE = 4096, KEY = 0x7a630001 };

static struct shmid_ds status_of(int id)
{
    struct shmid_ds status;

    memset(&status, 0xff, sizeof status);
    CHECK_EQUAL(shmctl(id, IPC_STAT, &status), 0);
    return status;
}

static int ended_with(pid_t child)
{
    int status = -1;

    waitpid(child, &status, 0);
    return status;
}

CASE(processes_share_a_segment)
{
    int id = shmget(KEY, 3 * PAGE - 100, IPC_CREAT | IPC_EXCL | 0600);

    REQUIRE(id >= 0);
    CHECK_EQUAL(shmget(KEY, 0, 0), id);
    CHECK_EQUAL(shmget(KEY, 3 * PAGE - 100, IPC_CREAT | 0600), id);
    pid_t child = fork();
    if (child == 0) {
        char *theirs = shmat(shmget(KEY, 1, 0), NULL, 0);
        /* The last page is there as a whole. */
        strcpy(theirs + 3 * PAGE - 50, "hello");
        _exit(theirs[0] == 0 ? 0 : 1);
    }
    CHECK_EQUAL(ended_with(child), 0);
    char *mine = shmat(id, NULL, SHM_RDONLY);
    REQUIRE(mine != (void *)-1);
    CHECK(strcmp(mine + 3 * PAGE - 50, "hello") == 0);
    struct shmid_ds status = status_of(id);
    CHECK_EQUAL(status.shm_segsz, 3 * PAGE - 100);
    CHECK_EQUAL(status.shm_nattch, 1);
    CHECK_EQUAL(status.shm_cpid, getpid());
    CHECK_EQUAL(status.shm_lpid, getpid());
    CHECK_EQUAL(status.shm_perm.mode, 0600);
    CHECK_EQUAL(status.shm_perm.uid, 0);
    CHECK(status.shm_atime > 0 && status.shm_dtime > 0 && status.shm_ctime > 0);
    CHECK_EQUAL(shmdt(mine), 0);
    CHECK_FAILS(shmdt(mine), EINVAL);
    CHECK_EQUAL(shmctl(id, IPC_RMID, NULL), 0);
    CHECK_FAILS(shmget(KEY, 0, 0), ENOENT);
}

CASE(attachments_are_counted_over_fork_and_exit)
{
    int id = shmget(IPC_PRIVATE, 2 * PAGE, 0600), go[2];
    char byte = 0, *first = shmat(id, NULL, 0), *second = shmat(id, NULL, 0);

    REQUIRE(first != (void *)-1 && second != (void *)-1 && pipe(go) == 0);
    CHECK_EQUAL(status_of(id).shm_nattch, 2);
    pid_t child = fork();
    if (child == 0)
        _exit(read(go[0], &byte, 1) == 1 ? 0 : 1);
    CHECK_EQUAL(status_of(id).shm_nattch, 4);
    CHECK_EQUAL(write(go[1], &byte, 1), 1);
    CHECK_EQUAL(ended_with(child), 0);
    CHECK_EQUAL(status_of(id).shm_nattch, 2);
    /* Detaching takes all pieces, wherever the middle went. */
    CHECK_EQUAL(mprotect(first, PAGE, PROT_READ), 0);
    CHECK_EQUAL(shmdt(first), 0);
    CHECK_EQUAL(status_of(id).shm_nattch, 1);
    CHECK_FAILS(msync(first + PAGE, PAGE, MS_ASYNC), ENOMEM);
    CHECK_EQUAL(munmap(second, 2 * PAGE), 0);
    CHECK_EQUAL(status_of(id).shm_nattch, 0);
    CHECK_EQUAL(shmctl(id, IPC_RMID, NULL), 0);
}

CASE(a_removed_segment_lives_as_long_as_it_is_attached)
{
    int id = shmget(KEY, PAGE, IPC_CREAT | 0600);
    char *address = shmat(id, NULL, 0);

    REQUIRE(address != (void *)-1);
    strcpy(address, "still here");
    CHECK_EQUAL(shmctl(id, IPC_RMID, NULL), 0);
    CHECK_FAILS(shmget(KEY, 0, 0), ENOENT);
    CHECK_EQUAL(status_of(id).shm_perm.mode, 0600 | SHM_DEST);
    CHECK_EQUAL(status_of(id).shm_perm.__key, IPC_PRIVATE);
    char *again = shmat(id, NULL, 0);
    REQUIRE(again != (void *)-1);
    CHECK(strcmp(again, "still here") == 0);
    CHECK_EQUAL(shmdt(address), 0);
    CHECK_EQUAL(shmdt(again), 0);
    struct shmid_ds status;
    CHECK_FAILS(shmctl(id, IPC_STAT, &status), EINVAL);
    CHECK_FAILS(shmat(id, NULL, 0), EINVAL);
    /* Its number is not used again at once. */
    int other = shmget(IPC_PRIVATE, PAGE, 0600);
    CHECK(other != id);
    CHECK_EQUAL(shmctl(other, IPC_RMID, NULL), 0);
}

CASE(addresses_that_are_asked_for)
{
    int id = shmget(IPC_PRIVATE, 2 * PAGE, 0600);
    char *room = mmap(NULL, 4 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK_FAILS(shmat(id, room, 0), EINVAL);
    CHECK(shmat(id, room, SHM_REMAP) == room);
    CHECK_EQUAL(shmdt(room), 0);
    CHECK_FAILS(shmat(id, room + 1, 0), EINVAL);
    CHECK(shmat(id, room + 1, SHM_RND) == room);
    CHECK_FAILS(shmdt(room + PAGE), EINVAL);
    CHECK_FAILS(shmdt(room + 1), EINVAL);
    CHECK_EQUAL(shmdt(room), 0);
    CHECK_FAILS(shmat(id, NULL, SHM_REMAP), EINVAL);
    char *constant = shmat(id, NULL, SHM_RDONLY);
    CHECK_FAILS(mprotect(constant, PAGE, PROT_READ | PROT_WRITE), EACCES);
    CHECK_EQUAL(shmdt(constant), 0);
    CHECK_EQUAL(shmctl(id, IPC_RMID, NULL), 0);
}

CASE(who_may_what)
{
    int id = shmget(KEY, PAGE, IPC_CREAT | 0640);
    struct shmid_ds status = status_of(id);
    pid_t child = fork();

    if (child == 0) {
        REQUIRE(setgid(1234) == 0 && setuid(1234) == 0);
        CHECK_FAILS(shmget(KEY, 0, 0400), EACCES);
        CHECK_EQUAL(shmget(KEY, 0, 0), id);
        CHECK_FAILS(shmat(id, NULL, SHM_RDONLY), EACCES);
        CHECK_FAILS(shmctl(id, IPC_STAT, &status), EACCES);
        CHECK_FAILS(shmctl(id, IPC_SET, &status), EPERM);
        CHECK_FAILS(shmctl(id, IPC_RMID, NULL), EPERM);
        CHECK_FAILS(shmctl(id, SHM_LOCK, NULL), EPERM);
        exit(check_failures ? FAILED : 0);
    }
    CHECK_EQUAL(ended_with(child), 0);
    status.shm_perm.uid = 1234;
    status.shm_perm.mode = 0440;
    CHECK_EQUAL(shmctl(id, IPC_SET, &status), 0);
    CHECK_EQUAL(status_of(id).shm_perm.uid, 1234);
    CHECK_EQUAL(status_of(id).shm_perm.cuid, 0);
    CHECK_EQUAL(shmctl(id, SHM_LOCK, NULL), 0);
    CHECK_EQUAL(status_of(id).shm_perm.mode, 0440 | SHM_LOCKED);
    CHECK_EQUAL(shmctl(id, SHM_UNLOCK, NULL), 0);
    child = fork();
    if (child == 0) {
        REQUIRE(setuid(1234) == 0);
        CHECK_FAILS(shmat(id, NULL, 0), EACCES);
        CHECK(shmat(id, NULL, SHM_RDONLY) != (void *)-1);
        CHECK_EQUAL(shmctl(id, IPC_RMID, NULL), 0);
        exit(check_failures ? FAILED : 0);
    }
    CHECK_EQUAL(ended_with(child), 0);
    CHECK_FAILS(shmget(KEY, 0, 0), ENOENT);
}

CASE(what_there_is_is_listed)
{
    struct shminfo limits;
    struct shm_info usage;
    struct shmid_ds status;
    char line[256], wanted[64];
    int id = shmget(KEY, 5 * PAGE, IPC_CREAT | 0600), index, found = 0;

    REQUIRE(id >= 0);
    index = shmctl(0, SHM_INFO, (struct shmid_ds *)&usage);
    CHECK(index >= 0 && usage.used_ids >= 1 && usage.shm_tot >= 5);
    CHECK_EQUAL(shmctl(0, IPC_INFO, (struct shmid_ds *)&limits), index);
    CHECK(limits.shmmin == 1 && limits.shmmni == 4096);
    for (int i = 0; i <= index; i++)
        found += shmctl(i, SHM_STAT, &status) == id && status.shm_segsz == 5 * PAGE;
    CHECK_EQUAL(found, 1);
    FILE *table = fopen("/proc/sysvipc/shm", "r");
    REQUIRE(table != NULL);
    snprintf(wanted, sizeof wanted, "%10d %10d  %4o %21d", KEY, id, 0600, 5 * PAGE);
    found = 0;
    while (fgets(line, sizeof line, table))
        found += strncmp(line, wanted, strlen(wanted)) == 0;
    CHECK_EQUAL(found, 1);
    fclose(table);
    CHECK(shmat(id, NULL, 0) != (void *)-1);
    FILE *maps = fopen("/proc/self/maps", "r");
    found = 0;
    while (fgets(line, sizeof line, maps))
        found += strstr(line, "/SYSV7a630001 (deleted)") != NULL && strstr(line, "rw-s 00000000 00:01 ") != NULL;
    CHECK_EQUAL(found, 1);
    fclose(maps);
    CHECK_EQUAL(shmctl(id, IPC_RMID, NULL), 0);
}

CASE(bad_arguments_are_refused)
{
    int id = shmget(KEY, PAGE, IPC_CREAT | 0600);

    CHECK_FAILS(shmget(KEY, PAGE, IPC_CREAT | IPC_EXCL | 0600), EEXIST);
    CHECK_FAILS(shmget(KEY, PAGE + 1, 0), EINVAL);
    CHECK_FAILS(shmget(IPC_PRIVATE, 0, 0600), EINVAL);
    CHECK_FAILS(shmget(IPC_PRIVATE, SIZE_MAX, 0600), EINVAL);
    CHECK_FAILS(shmget(IPC_PRIVATE, 1UL << 45, 0600), ENOMEM);
    CHECK_FAILS(shmat(-1, NULL, 0), EINVAL);
    CHECK_FAILS(shmat(id + 1, NULL, 0), EINVAL);
    CHECK_FAILS(shmctl(id, 99, NULL), EINVAL);
    CHECK_FAILS(shmctl(id, IPC_STAT, (void *)8), EFAULT);
    CHECK_FAILS(shmctl(id, IPC_SET, (void *)8), EFAULT);
    CHECK_FAILS(shmctl(-1, IPC_RMID, NULL), EINVAL);
    CHECK_EQUAL(shmctl(id, IPC_RMID, NULL), 0);
    CHECK_FAILS(shmctl(id, IPC_RMID, NULL), EINVAL);
}
