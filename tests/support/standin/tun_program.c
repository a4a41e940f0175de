/*
 * A stand-in for programs that open a TUN and speak bare IP, as Contiki-NG's native platform does: TUNSETIFF with IFF_TUN
 * and IFF_NO_PI, then ip(8) for an address of the host's on it, whether that works or not.
 *
 *   tun_program [--tun=NAME] [--host=CIDR] [--say=IP] ADDRESS ...
 *
 * It answers pings for its addresses, IPv4 and IPv6. With --say it speaks first, and again five times a second: an IPv4 or
 * IPv6 packet of its address of that family to whom was named. Of neighbour discovery it complains, as a TUN has no link-layer addresses; but
 * for routers and hosts that look for each other without any.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { MOST = 8 };

struct address {
	int family;
	uint8_t bytes[16];
};

static struct address own[MOST];
static int count;

static void say(const char *text)
{
	printf("%s\n", text);
	fflush(stdout);
}

static size_t width(int family)
{
	return family == AF_INET ? 4 : 16;
}

static int parse(const char *text, struct address *address)
{
	address->family = strchr(text, ':') ? AF_INET6 : AF_INET;
	return inet_pton(address->family, text, address->bytes) == 1;
}

static int is_own(int family, const uint8_t *bytes)
{
	for (int i = 0; i < count; i++)
		if (own[i].family == family && memcmp(own[i].bytes, bytes, width(family)) == 0)
			return 1;
	return 0;
}

/* RFC 1071, over words that are there already. */
static void add(uint8_t *at, unsigned value)
{
	uint32_t sum = (~((unsigned)at[0] << 8 | at[1]) & 0xffff) + value;

	sum = (sum & 0xffff) + (sum >> 16);
	at[0] = (uint8_t)(~sum >> 8);
	at[1] = (uint8_t)~sum;
}

/* An empty UDP datagram without a checksum, or IPv6 packet without anything. */
static void greet(int fd, const struct address *to)
{
	uint8_t packet[48] = { 0 };
	size_t length = 40, from = 8, size = width(to->family);

	if (to->family == AF_INET) {
		uint32_t sum = 0;

		length = 28, from = 12;
		packet[0] = 0x45, packet[3] = (uint8_t)length, packet[8] = 64, packet[9] = 17, packet[23] = 9, packet[25] = 8;
		for (int i = 0; i < count; i++)
			if (own[i].family == AF_INET)
				memcpy(packet + from, own[i].bytes, size);
		memcpy(packet + from + size, to->bytes, size);
		for (int i = 0; i < 20; i += 2)
			sum += (unsigned)packet[i] << 8 | packet[i + 1];
		sum = (sum & 0xffff) + (sum >> 16);
		sum = (sum & 0xffff) + (sum >> 16);
		packet[10] = (uint8_t)(~sum >> 8), packet[11] = (uint8_t)~sum;
	} else {
		packet[0] = 0x60, packet[6] = 59, packet[7] = 64;
		for (int i = 0; i < count; i++)
			if (own[i].family == AF_INET6)
				memcpy(packet + from, own[i].bytes, size);
		memcpy(packet + from + size, to->bytes, size);
	}
	/* While the interface is down it comes to nothing. */
	if (write(fd, packet, length) < 0 && errno != EIO)
		say("cannot send");
}

/* Whether a message of neighbour discovery is one of neighbours, or has the link-layer address of a router or host in it
 * (RFC 4861, 4.6.1). */
static int speaks_of_links(const uint8_t *icmp, size_t length)
{
	if (icmp[0] > 134)
		return 1;
	for (size_t at = icmp[0] == 133 ? 8 : 16; at + 8 <= length && icmp[at + 1]; at += icmp[at + 1] * 8u)
		if (icmp[at] == 1 || icmp[at] == 2)
			return 1;
	return 0;
}

static void answer(int fd, uint8_t *packet, size_t length)
{
	int v6 = packet[0] >> 4 == 6;
	size_t head = v6 ? 40 : (size_t)(packet[0] & 15) * 4, from = v6 ? 8 : 12, size = v6 ? 16 : 4;
	uint8_t *icmp = packet + head, keep[16];

	if (length < head + 8 || packet[v6 ? 6 : 9] != (v6 ? 58 : 1))
		return;
	if (v6 && icmp[0] >= 133 && icmp[0] <= 137 && speaks_of_links(icmp, length - head)) {
		char text[60];

		snprintf(text, sizeof(text), "neighbour discovery: %d", icmp[0]);
		say(text);
		return;
	}
	if (!is_own(v6 ? AF_INET6 : AF_INET, packet + from + size) || icmp[0] != (v6 ? 128 : 8))
		return;
	memcpy(keep, packet + from, size);
	memcpy(packet + from, packet + from + size, size);
	memcpy(packet + from + size, keep, size);
	icmp[0] = v6 ? 129 : 0;
	add(icmp + 2, v6 ? 0x0100 : 0xffff - 0x0800);
	if (write(fd, packet, length) < 0)
		say("cannot send");
}

int main(int argc, char **argv)
{
	const char *name = "tun0", *host = NULL, *to[MOST];
	int fd = open("/dev/net/tun", O_RDWR), greeted = 0;
	struct ifreq request = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	char text[120];
	uint8_t packet[2048];

	for (int i = 1; i < argc; i++) {
		if (strncmp(argv[i], "--tun=", 6) == 0)
			name = argv[i] + 6;
		else if (strncmp(argv[i], "--host=", 7) == 0)
			host = argv[i] + 7;
		else if (strncmp(argv[i], "--say=", 6) == 0 && greeted < MOST)
			to[greeted++] = argv[i] + 6;
		else if (count >= MOST || !parse(argv[i], &own[count++]))
			return 2;
	}
	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0) {
		fprintf(stderr, "Cannot open %s (%d)\n", name, -errno);
		return 3;
	}
	if (host) {
		snprintf(text, sizeof(text), "ip addr add %s dev %s 2>/dev/null", host, request.ifr_name);
		if (system(text) != 0)
			say("no address of the host's");
	}
	snprintf(text, sizeof(text), "%s: up", request.ifr_name);
	say(text);
	for (;;) {
		struct pollfd input = { .fd = fd, .events = POLLIN };
		ssize_t length;

		for (int i = 0; i < greeted; i++) {
			struct address peer;

			if (parse(to[i], &peer))
				greet(fd, &peer);
		}
		if (poll(&input, 1, greeted ? 200 : -1) <= 0)
			continue;
		length = read(fd, packet, sizeof(packet));
		if (length < 0)
			return 4;
		if (length >= 20)
			answer(fd, packet, (size_t)length);
	}
}
