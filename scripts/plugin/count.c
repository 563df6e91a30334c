/* A QEMU plugin that counts the guest's instructions by privilege level.
 *
 *     -plugin count.so,out=FILE[,profile=FILE]
 *
 * Per vCPU it counts instructions executed in user, supervisor and machine mode, system calls (ecall
 * from user mode) and firmware calls (ecall from supervisor mode). Whenever the guest executes the
 * hint `slti x0, x0, N` with N from 1 to 2047, one line of JSON with all counts is appended to FILE;
 * another, with mark 0, when the machine ends. The hint does nothing on any processor, so the same
 * programs and the same kernel run without the plugin.
 *
 * With profile=FILE the translated blocks that ran between a mark 1 and the following mark 2 are
 * written at the end, one line each: times executed, instructions, address. Blocks are counted whole
 * and by all vCPUs without synchronisation, so a profile is a picture and the counts above are the
 * measure.
 *
 * How the privilege level is known: translated code belongs to the level it was translated at (the
 * level is part of QEMU's key for it), so it is enough to read the `priv` register when a block is
 * translated. Each instruction adds one to a counter of its own vCPU as it is executed; a block that
 * is left early by a fault is therefore counted exactly. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "qemu-plugin-api.h"

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

enum counter { USER, SUPERVISOR, MACHINE, SYSCALLS, FIRMWARE_CALLS, COUNTERS };
static const char *const counter_names[COUNTERS] = {"user", "supervisor", "machine", "syscalls", "firmware_calls"};

/* The values of `priv`; 2 was the hypervisor's and is not used. */
static const enum counter level_of_privilege[4] = {USER, SUPERVISOR, MACHINE, MACHINE};

enum { ECALL = 0x00000073, HINT_MASK = 0x000fffff, HINT = 0x00002013, HINT_SHIFT = 20, HINT_LIMIT = 2048 };
enum { PROFILE_BEGIN = 1 };

static qemu_plugin_u64 counters[COUNTERS];
static struct qemu_plugin_register *privilege_register;
static FILE *output;
static uint64_t sequence;
/* Blocks are translated, and marks executed, by several threads. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static _Noreturn void give_up(const char *reason)
{
    fprintf(stderr, "count plugin: %s\n", reason);
    exit(EXIT_FAILURE);
}

static void write_snapshot(unsigned int mark, unsigned int vcpu)
{
    struct timespec now;
    int vcpus = qemu_plugin_num_vcpus();

    clock_gettime(CLOCK_MONOTONIC, &now);
    pthread_mutex_lock(&lock);
    fprintf(output, "{\"mark\": %u, \"sequence\": %" PRIu64 ", \"vcpu\": %u, \"nanoseconds\": %" PRIu64,
            mark, sequence++, vcpu, (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec);
    for (int counter = 0; counter < COUNTERS; counter++) {
        fprintf(output, ", \"%s\": [", counter_names[counter]);
        for (int i = 0; i < vcpus; i++)
            fprintf(output, "%s%" PRIu64, i ? ", " : "", qemu_plugin_u64_get(counters[counter], (unsigned int)i));
        fputc(']', output);
    }
    fputs("}\n", output);
    fflush(output);
    pthread_mutex_unlock(&lock);
}

static volatile bool profiling;

static void on_mark(unsigned int vcpu, void *mark)
{
    profiling = (uintptr_t)mark == PROFILE_BEGIN;
    write_snapshot((unsigned int)(uintptr_t)mark, vcpu);
}

/* Finds the register once; the same handle is good for every vCPU of the machine. */
static void on_vcpu(qemu_plugin_id_t id, unsigned int vcpu)
{
    (void)id, (void)vcpu;
    pthread_mutex_lock(&lock);
    if (!privilege_register) {
        GArray *registers = qemu_plugin_get_registers();
        const qemu_plugin_reg_descriptor *descriptor = (const void *)registers->data;

        for (unsigned int i = 0; i < registers->len; i++)
            if (strcmp(descriptor[i].name, "priv") == 0)
                privilege_register = descriptor[i].handle;
        g_array_free(registers, 1);
        if (!privilege_register)
            give_up("this QEMU does not show the privilege level");
    }
    pthread_mutex_unlock(&lock);
}

static enum counter current_level(void)
{
    static _Thread_local GByteArray *buffer;

    if (!buffer)
        buffer = g_byte_array_new();
    g_byte_array_set_size(buffer, 0);
    if (qemu_plugin_read_register(privilege_register, buffer) < 1 || buffer->len < 1)
        give_up("the privilege level cannot be read");
    return level_of_privilege[buffer->data[0] & 3];
}

/* One translation of a block. Never freed: QEMU may still execute it, and there are few. */
struct block {
    struct block *next;
    uint64_t address;
    uint64_t instructions;
    uint64_t executions;
};
static struct block *blocks;
static const char *profile_path;

static void on_block(unsigned int vcpu, void *block)
{
    (void)vcpu;
    if (profiling)
        ((struct block *)block)->executions++;
}

static void profile_block(struct qemu_plugin_tb *translated)
{
    struct block *block = calloc(1, sizeof *block);

    if (!block)
        give_up("out of memory");
    block->address = qemu_plugin_tb_vaddr(translated);
    block->instructions = qemu_plugin_tb_n_insns(translated);
    pthread_mutex_lock(&lock);
    block->next = blocks;
    blocks = block;
    pthread_mutex_unlock(&lock);
    qemu_plugin_register_vcpu_tb_exec_cb(translated, on_block, QEMU_PLUGIN_CB_NO_REGS, block);
}

static void write_profile(void)
{
    FILE *profile = fopen(profile_path, "w");

    if (!profile)
        give_up("the profile cannot be written");
    for (const struct block *block = blocks; block; block = block->next)
        if (block->executions)
            fprintf(profile, "%" PRIu64 " %" PRIu64 " %" PRIx64 "\n", block->executions, block->instructions,
                    block->address);
    fclose(profile);
}

static void on_exit_of_machine(qemu_plugin_id_t id, void *unused)
{
    (void)id, (void)unused;
    write_snapshot(0, 0);
    fclose(output);
    if (profile_path)
        write_profile();
}

static void add_one(struct qemu_plugin_insn *instruction, enum counter counter)
{
    qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(instruction, QEMU_PLUGIN_INLINE_ADD_U64, counters[counter], 1);
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    enum counter level = current_level();
    size_t length = qemu_plugin_tb_n_insns(block);

    (void)id;
    if (profile_path)
        profile_block(block);
    for (size_t i = 0; i < length; i++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
        uint32_t word = 0;

        add_one(instruction, level);
        if (qemu_plugin_insn_size(instruction) != sizeof word)
            continue;
        qemu_plugin_insn_data(instruction, &word, sizeof word);
        if (word == ECALL && level == USER)
            add_one(instruction, SYSCALLS);
        else if (word == ECALL && level == SUPERVISOR)
            add_one(instruction, FIRMWARE_CALLS);
        else if ((word & HINT_MASK) == HINT && word >> HINT_SHIFT && word >> HINT_SHIFT < HINT_LIMIT)
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_mark, QEMU_PLUGIN_CB_NO_REGS,
                                                   (void *)(uintptr_t)(word >> HINT_SHIFT));
    }
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    struct qemu_plugin_scoreboard *scoreboard;

    if (strcmp(info->target_name, "riscv64") != 0 || !info->system_emulation)
        give_up("only whole riscv64 machines can be counted");
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "out=", 4) == 0)
            output = fopen(argv[i] + 4, "w");
        else if (strncmp(argv[i], "profile=", 8) == 0)
            profile_path = strdup(argv[i] + 8);
        else
            give_up("unknown option; there are out=FILE and profile=FILE");
    }
    if (!output)
        give_up("out=FILE is missing or cannot be written");

    scoreboard = qemu_plugin_scoreboard_new(COUNTERS * sizeof(uint64_t));
    for (size_t counter = 0; counter < COUNTERS; counter++)
        counters[counter] = (qemu_plugin_u64){scoreboard, counter * sizeof(uint64_t)};
    qemu_plugin_register_vcpu_init_cb(id, on_vcpu);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_atexit_cb(id, on_exit_of_machine, NULL);
    return 0;
}
