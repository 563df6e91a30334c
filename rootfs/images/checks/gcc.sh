#!/bin/bash
# image: full
# A program is compiled and run; a wrong one is refused.
set -eu
cd /tmp
cat >hello.c <<'PROGRAM'
#include <math.h>
#include <pthread.h>
#include <stdio.h>

static void *thread(void *argument) { *(double *)argument = sqrt(2.0); return NULL; }

int main(void)
{
    pthread_t other;
    double root = 0;

    if (pthread_create(&other, NULL, thread, &root) != 0 || pthread_join(other, NULL) != 0)
        return 1;
    printf("hello %.3f\n", root);
    return 0;
}
PROGRAM
gcc -O2 -Wall hello.c -o a -lm
test "$(./a)" = "hello 1.414"
gcc -O0 -static hello.c -o b -lm
test "$(./b)" = "hello 1.414"
echo 'int main(void) { return x; }' >wrong.c
gcc wrong.c -o c 2>/dev/null && exit 1
test ! -e c
