/* Marks for scripts that are counted (mark.h): `mark settle` waits until the machine is calm, `mark begin` and
 * `mark end OPERATION MODE COUNT` enclose what is measured. */
#include "../mark.h"

#include <stdlib.h>

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "settle") == 0) {
        settle();
    } else if (argc == 2 && strcmp(argv[1], "begin") == 0) {
        MARK_BEGIN();
    } else if (argc == 5 && strcmp(argv[1], "end") == 0) {
        MARK_END();
        report(argv[2], argv[3], atol(argv[4]));
    } else {
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
