// ttyecho: sends bytes through a serial port whose other end echoes them, in both directions at once, and compares.
//
//   ttyecho /dev/ttyACM0 BYTES
//
// Exit status 0: everything came back as it was; 1: something else, said on stdout.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

// The byte at a place: no short period, so that a lost or doubled piece is seen.
static unsigned char pattern(unsigned long at) { return (at * 2654435761u) >> 13; }

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: ttyecho DEVICE BYTES\n");
        return 1;
    }
    unsigned long total = strtoul(argv[2], NULL, 0), sent = 0, received = 0;
    int fd = open(argv[1], O_RDWR | O_NOCTTY | O_NONBLOCK);
    struct termios settings;
    if (fd < 0 || tcgetattr(fd, &settings) < 0) {
        printf("%s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    cfmakeraw(&settings);
    cfsetspeed(&settings, B115200);
    settings.c_cflag |= CLOCAL;
    tcsetattr(fd, TCSANOW, &settings);
    while (received < total) {
        struct pollfd wait = {.fd = fd, .events = POLLIN | (sent < total ? POLLOUT : 0)};
        unsigned char bytes[4096];
        if (poll(&wait, 1, 20000) <= 0) {
            printf("nothing for 20 s: %lu sent, %lu back\n", sent, received);
            return 1;
        }
        if (wait.revents & POLLIN) {
            ssize_t count = read(fd, bytes, sizeof bytes);
            for (ssize_t at = 0; at < count; at++)
                if (bytes[at] != pattern(received + at)) {
                    printf("byte %lu is wrong\n", received + at);
                    return 1;
                }
            received += count > 0 ? count : 0;
        }
        if (wait.revents & POLLOUT) {
            unsigned long count = total - sent < sizeof bytes ? total - sent : sizeof bytes;
            for (unsigned long at = 0; at < count; at++)
                bytes[at] = pattern(sent + at);
            ssize_t wrote = write(fd, bytes, count);
            sent += wrote > 0 ? wrote : 0;
        }
        if (wait.revents & (POLLERR | POLLHUP)) {
            printf("hung up: %lu sent, %lu back\n", sent, received);
            return 1;
        }
    }
    printf("%lu bytes came back\n", received);
    return 0;
}
