/* The C library's conversion in place of a C++ library of the same interface: no C++ cross compiler is needed. */
#include "fast_float_strtod.h"

#include <stdlib.h>

double fast_float_strtod(const char *in, char **out) {
    return strtod(in, out);
}
