// Sends 40 datagrams of 1,000 octets, each filled with its number, in one call that leaves it to the device to cut
// them (UDP_SEGMENT, udp(7)): uso ADDRESS PORT
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

int main(int argc, char **argv) {
    static char octets[40 * 1000];
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_DGRAM}, *to;
    int size = 1000, fd;

    if (argc != 3 || getaddrinfo(argv[1], argv[2], &hints, &to) != 0)
        return 2;
    for (int at = 0; at < (int)sizeof octets; at++)
        octets[at] = at / size;
    fd = socket(to->ai_family, SOCK_DGRAM, 0);
    if (fd < 0 || setsockopt(fd, SOL_UDP, UDP_SEGMENT, &size, sizeof size) < 0 ||
        sendto(fd, octets, sizeof octets, 0, to->ai_addr, to->ai_addrlen) != sizeof octets) {
        perror(argv[0]);
        return 1;
    }
    return 0;
}
