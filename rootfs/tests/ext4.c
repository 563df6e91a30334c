/* Files on a disk. DISK: ext4 (scripts/testtree.py makes it, and knows what is on it). */
#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#define DISK "/dev/vda"
#define TOP "/mnt"

enum { WORDS = 3000000 / 4, ENTRIES = 1000, PAGE = 4096, MODIFIED = 1600000000 };

/* Each case has a process of its own, but what it mounts stays. */
static void need_mount(void)
{
    struct statfs status;

    if (access(DISK, F_OK) != 0) {
        mkdir("/dev", 0755);
        REQUIRE(mount("devtmpfs", "/dev", "devtmpfs", 0, NULL) == 0);
    }
    mkdir(TOP, 0755);
    REQUIRE(statfs(TOP, &status) == 0);
    if (status.f_type != 0xef53)
        REQUIRE(mount(DISK, TOP, "ext4", MS_RDONLY, NULL) == 0);
}

static uint32_t word_at(const void *bytes, size_t index)
{
    uint32_t word;

    memcpy(&word, (const char *)bytes + index * 4, 4);
    return word;
}

CASE(mounting_says_what_is_wrong)
{
    mkdir("/dev", 0755);
    if (access(DISK, F_OK) != 0)
        REQUIRE(mount("devtmpfs", "/dev", "devtmpfs", 0, NULL) == 0);
    CHECK_FAILS(mount("/dev/nonesuch", TOP, "ext4", MS_RDONLY, NULL), ENOENT);
    CHECK_FAILS(mount("/init", TOP, "ext4", MS_RDONLY, NULL), ENOTBLK);
    CHECK_FAILS(mount(DISK, TOP, "nonesuch", MS_RDONLY, NULL), ENODEV);
    CHECK_FAILS(mount(DISK, "/nonesuch", "ext4", MS_RDONLY, NULL), ENOENT);
    CHECK_FAILS(mount(DISK, "/init", "ext4", MS_RDONLY, NULL), ENOTDIR);
    CHECK_FAILS(mount(DISK, TOP, "ext4", MS_RDONLY, "frobnicate"), EINVAL);
}

CASE(files_are_what_was_put_there)
{
    char text[64];
    struct stat status;

    need_mount();
    int file = open(TOP "/small", O_RDONLY);
    REQUIRE(file >= 0);
    CHECK_EQUAL(read(file, text, sizeof text), 6);
    CHECK(memcmp(text, "hello\n", 6) == 0);
    CHECK_EQUAL(read(file, text, sizeof text), 0);
    CHECK(fstat(file, &status) == 0);
    CHECK_EQUAL(status.st_mode, S_IFREG | 0640);
    CHECK_EQUAL(status.st_size, 6);
    CHECK_EQUAL(status.st_mtim.tv_sec, MODIFIED);
    CHECK_EQUAL(status.st_blksize, 4096);
    CHECK_EQUAL(status.st_blocks, 8);
    CHECK(status.st_ino > 10);
    close(file);
    struct stat disk;
    CHECK(stat(DISK, &disk) == 0);
    CHECK_EQUAL(status.st_dev, disk.st_rdev);
    CHECK_EQUAL(major(disk.st_rdev), 254);
}

CASE(a_large_file_read_in_pieces_of_every_size)
{
    static char bytes[200000];
    static const size_t pieces[] = {1, 3, 4095, 4096, 4097, 65536, 199999};

    need_mount();
    int file = open(TOP "/large", O_RDONLY);
    REQUIRE(file >= 0);
    long long at = 0;
    for (int turn = 0;; turn++) {
        size_t want = pieces[turn % 7];
        ssize_t got = read(file, bytes, want);
        REQUIRE(got >= 0);
        if (got == 0)
            break;
        CHECK(got == (ssize_t)want || at + got == WORDS * 4);
        for (ssize_t i = 0; i < got; i++) {
            long long place = at + i;
            if ((unsigned char)bytes[i] != (unsigned char)((uint32_t)(place / 4) >> (place % 4 * 8))) {
                printf("  byte %lld is wrong\n", place);
                exit(FAILED);
            }
        }
        at += got;
    }
    CHECK_EQUAL(at, WORDS * 4);
    CHECK_EQUAL(lseek(file, 0, SEEK_END), WORDS * 4);
    CHECK_EQUAL(pread(file, bytes, 8, WORDS * 4 - 4), 4);
    CHECK_EQUAL(word_at(bytes, 0), WORDS - 1);
}

CASE(a_mapping_shows_the_same)
{
    need_mount();
    int file = open(TOP "/large", O_RDONLY);
    REQUIRE(file >= 0);
    char *map = mmap(NULL, WORDS * 4, PROT_READ, MAP_SHARED, file, 0);
    REQUIRE(map != MAP_FAILED);
    for (size_t at = 0; at < WORDS; at += 997)
        CHECK_EQUAL(word_at(map, (at * 7919) % WORDS), (at * 7919) % WORDS);
    /* Behind the end of the file the last page is zero. */
    for (size_t at = WORDS * 4; at % PAGE; at++)
        CHECK_EQUAL(map[at], 0);
    CHECK_FAILS(mprotect(map, PAGE, PROT_READ | PROT_WRITE), EACCES);
    /* Reading a file into a private mapping of the same page. */
    char *own = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    REQUIRE(own != MAP_FAILED);
    CHECK_EQUAL(pread(file, own + 8 * PAGE, PAGE, 8 * PAGE), PAGE);
    CHECK_EQUAL(word_at(own, 8 * PAGE / 4), 8 * PAGE / 4);
    CHECK_EQUAL(pread(file, own, 3 * PAGE, PAGE), 3 * PAGE);
    CHECK_EQUAL(word_at(own, 0), PAGE / 4);
    CHECK_EQUAL(word_at(map, 0), 0);
}

CASE(holes_are_zero)
{
    char bytes[PAGE];
    struct stat status;

    need_mount();
    int file = open(TOP "/sparse", O_RDONLY);
    REQUIRE(file >= 0);
    CHECK(fstat(file, &status) == 0);
    CHECK_EQUAL(status.st_size, (8 << 20) + 5);
    CHECK(status.st_blocks * 512 < 1 << 20);
    CHECK_EQUAL(pread(file, bytes, PAGE, 12345), PAGE);
    for (int i = 0; i < PAGE; i++)
        CHECK_EQUAL(bytes[i], 0);
    CHECK_EQUAL(pread(file, bytes, 20, 1 << 20), 20);
    CHECK(memcmp(bytes, "behind a hole\0\0\0\0\0\0", 20) == 0);
    CHECK_EQUAL(pread(file, bytes, PAGE, 8 << 20), 5);
}

CASE(links_lead_where_they_say)
{
    char text[200];
    struct stat direct, linked;

    need_mount();
    CHECK_EQUAL(readlink(TOP "/short-link", text, sizeof text), 5);
    CHECK(memcmp(text, "small", 5) == 0);
    CHECK_EQUAL(readlink(TOP "/long-link", text, sizeof text), 155);
    CHECK(stat(TOP "/small", &direct) == 0);
    CHECK(stat(TOP "/short-link", &linked) == 0);
    CHECK_EQUAL(direct.st_ino, linked.st_ino);
    CHECK(stat(TOP "/long-link", &linked) == 0);
    CHECK_EQUAL(direct.st_ino, linked.st_ino);
}

CASE(directories_are_listed_once_and_can_be_searched)
{
    static char seen[ENTRIES];
    char path[64], text[8];
    int count = 0;

    need_mount();
    DIR *directory = opendir(TOP "/many");
    REQUIRE(directory != NULL);
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        int number;
        if (sscanf(entry->d_name, "entry-%d", &number) != 1)
            continue;
        REQUIRE(number >= 0 && number < ENTRIES);
        CHECK_EQUAL(seen[number], 0);
        CHECK_EQUAL(entry->d_type, DT_REG);
        seen[number] = 1;
        count++;
    }
    CHECK_EQUAL(count, ENTRIES);
    closedir(directory);
    for (int number = 0; number < ENTRIES; number += 37) {
        snprintf(path, sizeof path, TOP "/many/entry-%d", number);
        int file = open(path, O_RDONLY);
        REQUIRE(file >= 0);
        ssize_t got = read(file, text, sizeof text - 1);
        REQUIRE(got > 0);
        text[got] = 0;
        CHECK_EQUAL(atoi(text), number);
        close(file);
    }
    CHECK_FAILS(open(TOP "/many/entry-1000", O_RDONLY), ENOENT);
    CHECK_FAILS(open(TOP "/small/x", O_RDONLY), ENOTDIR);
}

CASE(nothing_can_be_changed)
{
    need_mount();
    CHECK_FAILS(open(TOP "/small", O_WRONLY), EROFS);
    CHECK_FAILS(open(TOP "/small", O_RDWR | O_TRUNC), EROFS);
    CHECK_FAILS(open(TOP "/new", O_CREAT | O_WRONLY, 0600), EROFS);
    CHECK_FAILS(mkdir(TOP "/new", 0700), EROFS);
    CHECK_FAILS(mkdir(TOP "/many", 0700), EEXIST);
    CHECK_FAILS(unlink(TOP "/small"), EROFS);
    CHECK_FAILS(rmdir(TOP "/many"), EROFS);
    CHECK_FAILS(rename(TOP "/small", TOP "/new"), EROFS);
    CHECK_FAILS(link(TOP "/small", TOP "/new"), EROFS);
    CHECK_FAILS(symlink("x", TOP "/new"), EROFS);
    CHECK_FAILS(truncate(TOP "/small", 0), EROFS);
    CHECK_FAILS(access(TOP "/small", W_OK), EROFS);
    CHECK(access(TOP "/small", R_OK) == 0);
}

CASE(status_of_the_file_system)
{
    struct statfs status;
    struct statx more;

    need_mount();
    CHECK(statfs(TOP "/many", &status) == 0);
    CHECK_EQUAL(status.f_type, 0xef53);
    CHECK_EQUAL(status.f_bsize, 4096);
    CHECK_EQUAL(status.f_namelen, 255);
    CHECK(status.f_blocks > 1000 && status.f_blocks < 6144);
    CHECK(status.f_bfree > 0 && status.f_bfree < status.f_blocks && status.f_bavail <= status.f_bfree);
    CHECK(status.f_ffree > 0 && status.f_ffree < status.f_files);
    CHECK(statx(AT_FDCWD, TOP "/small", 0, STATX_BASIC_STATS | STATX_BTIME, &more) == 0);
    CHECK(more.stx_mask & STATX_BTIME);
    CHECK(more.stx_btime.tv_sec > MODIFIED);
    CHECK_EQUAL(more.stx_dev_major, 254);
}

CASE(a_program_runs_from_the_disk)
{
    need_mount();
    pid_t child = fork();
    if (child == 0) {
        execl(TOP "/busybox", "busybox", "true", (char *)NULL);
        _exit(99);
    }
    int status;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void *read_everything(void *failures)
{
    static _Thread_local uint32_t words[16384];
    int file = open(TOP "/large", O_RDONLY);

    for (size_t at = 0; at < WORDS;) {
        ssize_t got = read(file, words, sizeof words);
        if (got <= 0) {
            __atomic_add_fetch((int *)failures, 1, __ATOMIC_RELAXED);
            break;
        }
        for (ssize_t i = 0; i < got / 4; i++)
            if (words[i] != at + i)
                __atomic_add_fetch((int *)failures, 1, __ATOMIC_RELAXED);
        at += got / 4;
    }
    close(file);
    return NULL;
}

CASE(many_read_the_same_at_once)
{
    pthread_t threads[8];
    int failures = 0;

    need_mount();
    for (int i = 0; i < 8; i++)
        REQUIRE(pthread_create(&threads[i], NULL, read_everything, &failures) == 0);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQUAL(failures, 0);
}

CASE(the_disk_itself_is_a_file)
{
    uint64_t bytes;
    unsigned long sectors;
    int number;
    static char block[2 * PAGE] __attribute__((aligned(PAGE))), again[2 * PAGE];

    need_mount();
    int disk = open(DISK, O_RDONLY);
    REQUIRE(disk >= 0);
    CHECK(ioctl(disk, BLKGETSIZE64, &bytes) == 0);
    CHECK_EQUAL(bytes, 24 << 20);
    CHECK(ioctl(disk, BLKGETSIZE, &sectors) == 0);
    CHECK_EQUAL(sectors, (24 << 20) / 512);
    CHECK(ioctl(disk, BLKSSZGET, &number) == 0);
    CHECK_EQUAL(number, 512);
    CHECK(ioctl(disk, BLKROGET, &number) == 0);
    CHECK_EQUAL(number, 0);
    CHECK_FAILS(ioctl(disk, 0x12345678, &number), ENOTTY);
    CHECK_FAILS(ioctl(disk, BLKGETSIZE64, NULL), EFAULT);
    CHECK_EQUAL(lseek(disk, 0, SEEK_END), 24 << 20);
    CHECK_EQUAL(read(disk, block, PAGE), 0);
    CHECK_EQUAL(pread(disk, block, sizeof block, 0), (ssize_t)sizeof block);
    CHECK_EQUAL((unsigned char)block[1024 + 56] | (unsigned char)block[1024 + 57] << 8, 0xef53);
    memcpy(again, block, sizeof again);
    close(disk);
    /* Past the cache. */
    disk = open(DISK, O_RDONLY | O_DIRECT);
    REQUIRE(disk >= 0);
    memset(block, 1, sizeof block);
    CHECK_EQUAL(pread(disk, block, sizeof block, 0), (ssize_t)sizeof block);
    CHECK(memcmp(again, block, sizeof block) == 0);
    CHECK_EQUAL(pread(disk, block, 512, 1024), 512);
    CHECK(memcmp(again + 1024, block, 512) == 0);
    CHECK_FAILS(pread(disk, block, 512, 100), EINVAL);
    CHECK_FAILS(pread(disk, block, 100, 0), EINVAL);
    CHECK_EQUAL(pread(disk, block, PAGE, 24 << 20), 0);
    close(disk);
}

CASE(what_is_written_to_a_disk_is_there)
{
    static char block[PAGE] __attribute__((aligned(PAGE))), before[PAGE], found[PAGE] __attribute__((aligned(PAGE)));

    need_mount();
    /* The end of the disk, which holds nothing of the file system; the machine throws it away anyway. */
    off_t place = (24 << 20) - PAGE;
    int disk = open(DISK, O_RDWR);
    REQUIRE(disk >= 0);
    CHECK_EQUAL(pread(disk, before, PAGE, place), PAGE);
    for (int i = 0; i < PAGE; i++)
        block[i] = (char)(i * 7);
    CHECK_EQUAL(pwrite(disk, block, PAGE, place), PAGE);
    CHECK_EQUAL(pwrite(disk, "xyz", 3, place + 100), 3);
    memcpy(block + 100, "xyz", 3);
    CHECK(fsync(disk) == 0);
    CHECK(fdatasync(disk) == 0);
    CHECK_EQUAL(pread(disk, found, PAGE, place), PAGE);
    CHECK(memcmp(found, block, PAGE) == 0);
    int direct = open(DISK, O_RDONLY | O_DIRECT);
    REQUIRE(direct >= 0);
    memset(found, 0, PAGE);
    CHECK_EQUAL(pread(direct, found, PAGE, place), PAGE);
    CHECK(memcmp(found, block, PAGE) == 0);
    CHECK_FAILS(pwrite(disk, block, PAGE, 24 << 20), ENOSPC);
    CHECK_EQUAL(pwrite(disk, block, PAGE, place + 512), PAGE - 512);
    CHECK_EQUAL(pwrite(disk, before, PAGE, place), PAGE);
    CHECK(ioctl(disk, BLKFLSBUF, 0) == 0);
}

static void ignore(int signal)
{
    (void)signal;
}

CASE(a_signal_does_not_cut_a_read_short)
{
    static char bytes[256 * 1024];
    struct sigaction action = {.sa_handler = ignore};
    int failures = 0;

    need_mount();
    REQUIRE(sigaction(SIGUSR1, &action, NULL) == 0);
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) {
        for (;;)
            kill(parent, SIGUSR1);
    }
    int disk = open(DISK, O_RDONLY);
    REQUIRE(disk >= 0);
    for (int turn = 0; turn < 8; turn++) {
        ioctl(disk, BLKFLSBUF, 0);
        failures += pread(disk, bytes, sizeof bytes, turn * (1 << 20)) != sizeof bytes;
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    CHECK_EQUAL(failures, 0);
}
