// keydump: prints what an input device reports, a line an event, at once: TYPE CODE VALUE (linux/input.h).
//
//   keydump /dev/input/event0 > FILE
#include <fcntl.h>
#include <linux/input.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv) {
    int fd = argc == 2 ? open(argv[1], O_RDONLY) : -1;
    if (fd < 0) {
        fprintf(stderr, "usage: keydump DEVICE\n");
        return 1;
    }
    struct input_event event;
    while (read(fd, &event, sizeof event) == sizeof event) {
        printf("%d %d %d\n", event.type, event.code, event.value);
        fflush(stdout);
    }
    return 0;
}
