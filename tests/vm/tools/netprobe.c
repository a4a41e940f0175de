// netprobe: sends numbered frames from one network namespace to another, and says what became of them.
//
//   netprobe FROM INTERFACE TO INTERFACE FRAMES MICROSECONDS BYTES WAIT
//
// FROM and TO are names of `ip netns`. FRAMES frames of BYTES bytes leave MICROSECONDS apart, 0: as fast as they can;
// it ends when nothing has come for WAIT milliseconds. Each frame that comes is a line, in the order of arrival: its
// number from 0 on, the nanoseconds that it took by the kernel's time of its arrival, and how many of its bits differ.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 2000
#define NUMBERS 5

static void fail(const char *what) {
    printf("%s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

// A packet socket on an interface of a namespace, whose address comes into `mac`.
static int open_in(const char *namespace, const char *interface, int protocol, unsigned char *mac) {
    char path[256];
    snprintf(path, sizeof path, "/run/netns/%s", namespace);
    int own = open(path, O_RDONLY);
    if (own < 0 || setns(own, CLONE_NEWNET) < 0) fail(path);
    close(own);
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(protocol));
    struct ifreq asked = {0};
    snprintf(asked.ifr_name, sizeof asked.ifr_name, "%s", interface);
    if (fd < 0 || ioctl(fd, SIOCGIFHWADDR, &asked) < 0) fail(interface);
    memcpy(mac, asked.ifr_hwaddr.sa_data, 6);
    struct sockaddr_ll place = {.sll_family = AF_PACKET, .sll_protocol = htons(protocol)};
    place.sll_ifindex = if_nametoindex(interface);
    struct packet_mreq all = {.mr_ifindex = place.sll_ifindex, .mr_type = PACKET_MR_PROMISC};
    int room = 32 << 20, yes = 1;
    if (bind(fd, (struct sockaddr *)&place, sizeof place) < 0) fail(interface);
    if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof all) < 0) fail("promiscuous");
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room) < 0) fail("room");
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) < 0) fail("room");
    if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &yes, sizeof yes) < 0) fail("timestamps");
    return fd;
}

// The frame's number lies in it often, so that a flipped bit does not make another of it.
static void make(unsigned char *frame, size_t bytes, uint32_t number) {
    memset(frame + 14, 0x55, bytes - 14);
    for (int copy = 0; copy < NUMBERS; copy++) memcpy(frame + 14 + 4 * copy, &number, 4);
}

static int64_t number_of(const unsigned char *frame, long frames) {
    for (int one = 0; one < NUMBERS; one++) {
        uint32_t number, other;
        int alike = 0;
        memcpy(&number, frame + 14 + 4 * one, 4);
        for (int copy = 0; copy < NUMBERS; copy++) {
            memcpy(&other, frame + 14 + 4 * copy, 4);
            alike += number == other;
        }
        if (alike >= NUMBERS - 1 && number < frames) return number;
    }
    return -1;
}

// When something came last.
static int64_t last;

static void receive(int fd, const unsigned char *head, size_t bytes, long frames, const int64_t *sent) {
    for (;;) {
        unsigned char frame[MOST], wanted[MOST], control[256];
        struct iovec room = {frame, sizeof frame};
        struct msghdr message = {.msg_iov = &room, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        ssize_t got = recvmsg(fd, &message, 0);
        if (got < 0) return;
        int64_t number = (size_t)got == bytes ? number_of(frame, frames) : -1;
        if (number < 0) continue;
        int64_t at = last = now();
        for (struct cmsghdr *word = CMSG_FIRSTHDR(&message); word; word = CMSG_NXTHDR(&message, word)) {
            if (word->cmsg_level != SOL_SOCKET || word->cmsg_type != SCM_TIMESTAMPNS) continue;
            struct timespec time;
            memcpy(&time, CMSG_DATA(word), sizeof time);
            at = time.tv_sec * 1000000000LL + time.tv_nsec;
        }
        memcpy(wanted, head, 14);
        make(wanted, bytes, number);
        int flipped = 0;
        for (size_t byte = 0; byte < bytes; byte++) flipped += __builtin_popcount(frame[byte] ^ wanted[byte]);
        printf("%lld %lld %d\n", (long long)number, (long long)(at - sent[number]), flipped);
    }
}

// Receives until then.
static void wait_until(int64_t then, int fd, const unsigned char *head, size_t bytes, long frames, const int64_t *sent) {
    for (;;) {
        receive(fd, head, bytes, frames, sent);
        int64_t left = then - now();
        if (left <= 0) return;
        struct pollfd one = {fd, POLLIN, 0};
        struct timespec patience = {left / 1000000000, left % 1000000000};
        ppoll(&one, 1, &patience, NULL);
    }
}

int main(int argc, char **argv) {
    if (argc != 9) {
        fprintf(stderr, "usage: netprobe FROM INTERFACE TO INTERFACE FRAMES MICROSECONDS BYTES WAIT\n");
        return 1;
    }
    long frames = atol(argv[5]), apart = atol(argv[6]), bytes = atol(argv[7]), wait = atol(argv[8]);
    unsigned char frame[MOST] = {0};
    // ETH_P_802_EX1 is for experiments; nothing is received by the first.
    int from = open_in(argv[1], argv[2], 0x88b5, frame + 6), to = open_in(argv[3], argv[4], ETH_P_ALL, frame);
    frame[12] = 0x88, frame[13] = 0xb5;
    int64_t *sent = calloc(frames, sizeof *sent), start = now();
    if (!sent || bytes < 14 + 4 * NUMBERS || bytes > MOST) fail("usage");
    for (long number = 0; number < frames; number++) {
        make(frame, bytes, number);
        wait_until(start + number * apart * 1000, to, frame, bytes, frames, sent);
        sent[number] = now();
        while (send(from, frame, bytes, 0) < 0) {
            if (errno != EAGAIN && errno != ENOBUFS) fail("send");
            if (errno == ENOBUFS) break;
            struct pollfd room = {from, POLLOUT, 0};
            poll(&room, 1, 1000);
        }
    }
    last = now();
    while (now() < last + wait * 1000000) wait_until(last + wait * 1000000, to, frame, bytes, frames, sent);
    return 0;
}
