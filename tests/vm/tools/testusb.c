// testusb: one case of the kernel's usbtest driver (drivers/usb/misc/usbtest.c) on one device.
//
//   testusb /dev/bus/usb/BBB/DDD CASE [ITERATIONS [LENGTH [VARY [SGLEN]]]]
//
// Exit status 0: passed; 1: failed, with the errno on stdout; 2: wrong use. The defaults are those of the kernel's
// tools/usb/testusb.c, with fewer rounds, because this machine is an emulated one.
#include <errno.h>
#include <fcntl.h>
#include <linux/usbdevice_fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

// struct usbtest_param_32 of the driver
struct parameters {
    __u32 test_num;
    __u32 iterations;
    __u32 length;
    __u32 vary;
    __u32 sglen;
    __s32 duration_sec;
    __s32 duration_usec;
};

#define USBTEST_REQUEST _IOWR('U', 100, struct parameters)

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: testusb DEVICE CASE [ITERATIONS [LENGTH [VARY [SGLEN]]]]\n");
        return 2;
    }
    unsigned defaults[] = {20, 1024, 512, 32};
    for (int at = 0; at < 4 && at + 3 < argc; at++)
        defaults[at] = strtoul(argv[at + 3], NULL, 0);
    struct parameters test = {
        .test_num = strtoul(argv[2], NULL, 0),
        .iterations = defaults[0],
        .length = defaults[1],
        .vary = defaults[2],
        .sglen = defaults[3],
    };
    int fd = open(argv[1], O_RDWR);
    if (fd < 0) {
        printf("%s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    struct usbdevfs_ioctl wrapper = {.ifno = 0, .ioctl_code = USBTEST_REQUEST, .data = &test};
    if (ioctl(fd, USBDEVFS_IOCTL, &wrapper) < 0) {
        printf("case %u: %s (%d)\n", test.test_num, strerror(errno), errno);
        return 1;
    }
    printf("case %u: passed in %d.%06d s\n", test.test_num, test.duration_sec, test.duration_usec);
    return 0;
}
