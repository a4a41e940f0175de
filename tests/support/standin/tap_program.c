/*
 * A stand-in for programs that open a TAP, as Zephyr's native_sim does: open /dev/net/tun, TUNSETIFF with IFF_TAP and
 * IFF_NO_PI, select with a zero timeout, read of 1514 bytes, else a sleep of 50 ms; one write a frame, no padding.
 * When the TAP cannot be had it says so and runs on without a network.
 *
 *   tap_program [--eth-if=NAME] [--mac-addr=MAC] [--ipv4-addr=IP] [--ping=IP] [--reopen=MS] ...
 *
 * It answers ARP and pings for its address and sends UDP datagrams to port 7 back, and what comes on a TCP connection to
 * it, and so for 4242, the port of Zephyr's echo_server. It complains of wrong checksums. With --ping it pings an address five
 * times a second, and prints a line for each answer. Each further --eth-if begins another interface. An empty name, and
 * one with %d in it, are the kernel's to fill in, as NuttX's sim and QEMU do it. With --reopen the interfaces are closed
 * so often, and opened anew. --seed= is taken and means nothing.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>

enum { ETH = 14, IP = 20, MOST = 4 };

struct iface {
	const char *name;
	char is[IFNAMSIZ];
	uint8_t mac[6];
	uint8_t addr[4];
	uint8_t peer[4];
	uint8_t peer_mac[6];
	int pings, has_peer_mac;
	unsigned seq;
	long next;
	int fd;
};

static struct iface ifaces[MOST];

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000L + t.tv_nsec / 1000000L;
}

static void say(const char *text)
{
	printf("%s\n", text);
	fflush(stdout);
}

static void put16(uint8_t *at, unsigned value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static unsigned get16(const uint8_t *at)
{
	return (unsigned)at[0] << 8 | at[1];
}

/* RFC 1071. */
static unsigned checksum(const uint8_t *data, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += get16(data + i);
	if (len & 1)
		sum += (uint32_t)data[len - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum & 0xffff;
}

/* The same with the pseudo header before it (RFC 793, 3.1). */
static unsigned transport_checksum(const uint8_t *ip, const uint8_t *data, size_t len)
{
	uint8_t all[12 + 1514] = { 0 };

	memcpy(all, ip + 12, 8);
	all[9] = ip[9];
	put16(all + 10, (unsigned)len);
	memcpy(all + 12, data, len);
	return checksum(all, 12 + len);
}

static void send_frame(struct iface *iface, const uint8_t *frame, size_t len)
{
	if (write(iface->fd, frame, len) < 0)
		say("cannot send");
}

static void arp(struct iface *iface, unsigned op, const uint8_t *mac, const uint8_t *addr)
{
	static const uint8_t head[] = { 0, 1, 8, 0, 6, 4 };
	uint8_t frame[42] = { 0 };

	if (op == 1)
		memset(frame, 0xff, 6);
	else
		memcpy(frame, mac, 6);
	memcpy(frame + 6, iface->mac, 6);
	put16(frame + 12, 0x0806);
	memcpy(frame + 14, head, sizeof(head));
	put16(frame + 20, op);
	memcpy(frame + 22, iface->mac, 6);
	memcpy(frame + 28, iface->addr, 4);
	if (op == 2)
		memcpy(frame + 32, mac, 6);
	memcpy(frame + 38, addr, 4);
	send_frame(iface, frame, sizeof(frame));
}

static void ping(struct iface *iface)
{
	uint8_t frame[ETH + IP + 8 + 4] = { 0 };
	uint8_t *ip = frame + ETH, *icmp = ip + IP;

	if (!iface->has_peer_mac) {
		arp(iface, 1, NULL, iface->peer);
		return;
	}
	memcpy(frame, iface->peer_mac, 6);
	memcpy(frame + 6, iface->mac, 6);
	put16(frame + 12, 0x0800);
	ip[0] = 0x45;
	put16(ip + 2, IP + 12);
	ip[8] = 64;
	ip[9] = 1;
	memcpy(ip + 12, iface->addr, 4);
	memcpy(ip + 16, iface->peer, 4);
	put16(ip + 10, checksum(ip, IP));
	icmp[0] = 8;
	put16(icmp + 6, ++iface->seq);
	put16(icmp + 2, checksum(icmp, 12));
	send_frame(iface, frame, sizeof(frame));
}

static void handle_arp(struct iface *iface, const uint8_t *frame, size_t len)
{
	if (len < 42)
		return;
	if (get16(frame + 20) == 1 && memcmp(frame + 38, iface->addr, 4) == 0)
		arp(iface, 2, frame + 22, frame + 28);
	if (iface->pings && memcmp(frame + 28, iface->peer, 4) == 0) {
		memcpy(iface->peer_mac, frame + 22, 6);
		iface->has_peer_mac = 1;
	}
}

/* Turns a packet round, for whoever sent it. Both checksums stay right: the sums of what is exchanged are the same. */
static void answer(struct iface *iface, uint8_t *frame, size_t len)
{
	uint8_t *ip = frame + ETH, addr[4];

	memcpy(frame, frame + 6, 6);
	memcpy(frame + 6, iface->mac, 6);
	memcpy(addr, ip + 12, 4);
	memcpy(ip + 12, ip + 16, 4);
	memcpy(ip + 16, addr, 4);
	send_frame(iface, frame, len);
}

static int echoes(unsigned port)
{
	return port == 7 || port == 4242;
}

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };

static void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value & 0xffff);
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

/* An echo without any state: what it answers to a segment is all in the segment, whose sender sends it again if the
 * answer is lost. */
static void handle_tcp(struct iface *iface, uint8_t *frame, uint8_t *in, size_t len)
{
	uint8_t out[ETH + IP + 20 + 1460] = { 0 };
	uint8_t *ip = out + ETH, *tcp = ip + IP;
	size_t head = (size_t)(in[12] >> 4) * 4;

	if (len < 20 || head < 20 || head > len || len - head > 1460 || !echoes(get16(in + 2)) || in[13] & RST)
		return;
	size_t data = len - head;

	if (!(in[13] & (SYN | FIN)) && data == 0)
		return;
	memcpy(out, frame + 6, 6);
	memcpy(out + 6, iface->mac, 6);
	put16(out + 12, 0x0800);
	ip[0] = 0x45;
	put16(ip + 2, (unsigned)(IP + 20 + data));
	ip[8] = 64;
	ip[9] = 6;
	memcpy(ip + 12, iface->addr, 4);
	memcpy(ip + 16, frame + ETH + 12, 4);
	put16(ip + 10, checksum(ip, IP));
	memcpy(tcp, in + 2, 2);
	memcpy(tcp + 2, in, 2);
	put32(tcp + 4, in[13] & SYN ? 1000 : get32(in + 8));
	put32(tcp + 8, get32(in + 4) + (uint32_t)data + ((in[13] & (SYN | FIN)) != 0));
	tcp[12] = 5 << 4;
	tcp[13] = (uint8_t)(ACK | (in[13] & (SYN | FIN)) | (data ? PSH : 0));
	put16(tcp + 14, 1024);
	memcpy(tcp + 20, in + head, data);
	put16(tcp + 16, transport_checksum(ip, tcp, 20 + data));
	send_frame(iface, out, ETH + IP + 20 + data);
}

static void handle_ip(struct iface *iface, uint8_t *frame, size_t len)
{
	uint8_t *ip = frame + ETH;
	size_t head = (size_t)(ip[0] & 15) * 4, total;
	char text[80];

	if (len < ETH + IP || head < IP || memcmp(ip + 16, iface->addr, 4) != 0)
		return;
	total = get16(ip + 2);
	if (total < head + 8 || ETH + total > len)
		return;
	uint8_t *inner = ip + head;
	size_t rest = total - head;
	int unsummed = ip[9] == 17 && get16(inner + 6) == 0;

	if (checksum(ip, head) || (!unsummed && (ip[9] == 1 ? checksum(inner, rest) : transport_checksum(ip, inner, rest)))) {
		say("a wrong checksum");
		return;
	}
	if (ip[9] == 1 && inner[0] == 8) {
		inner[0] = 0;
		put16(inner + 2, 0);
		put16(inner + 2, checksum(inner, rest));
		answer(iface, frame, ETH + total);
	} else if (ip[9] == 1 && inner[0] == 0) {
		snprintf(text, sizeof(text), "%s: answer from %d.%d.%d.%d: seq=%u", iface->is, ip[12], ip[13], ip[14],
			 ip[15], get16(inner + 6));
		say(text);
	} else if (ip[9] == 6) {
		handle_tcp(iface, frame, inner, rest);
	} else if (ip[9] == 17 && echoes(get16(inner + 2))) {
		uint8_t port[2];

		memcpy(port, inner, 2);
		memcpy(inner, inner + 2, 2);
		memcpy(inner + 2, port, 2);
		answer(iface, frame, ETH + total);
	}
}

static int serve(struct iface *iface)
{
	struct timeval none = { 0, 0 };
	uint8_t frame[1514];
	fd_set set;

	if (iface->pings && now_ms() >= iface->next) {
		ping(iface);
		iface->next = now_ms() + 200;
	}
	FD_ZERO(&set);
	FD_SET(iface->fd, &set);
	if (select(iface->fd + 1, &set, NULL, NULL, &none) <= 0)
		return 0;
	ssize_t len = read(iface->fd, frame, sizeof(frame));

	if (len < ETH)
		return 0;
	if (get16(frame + 12) == 0x0806)
		handle_arp(iface, frame, (size_t)len);
	else if (get16(frame + 12) == 0x0800)
		handle_ip(iface, frame, (size_t)len);
	return 1;
}

static void begin(struct iface *iface)
{
	struct ifreq request;
	char text[160];
	int refused;

	iface->fd = open("/dev/net/tun", O_RDWR);
	memset(&request, 0, sizeof(request));
	request.ifr_flags = IFF_TAP | IFF_NO_PI;
	strncpy(request.ifr_name, iface->name, IFNAMSIZ - 1);
	refused = iface->fd < 0 || ioctl(iface->fd, TUNSETIFF, &request) < 0;
	memcpy(iface->is, request.ifr_name, IFNAMSIZ);
	if (refused) {
		snprintf(text, sizeof(text), "Cannot create %s (%d)", iface->name, -errno);
		if (iface->fd >= 0)
			close(iface->fd);
		iface->fd = -1;
	} else {
		snprintf(text, sizeof(text), "%s: up, %d.%d.%d.%d", iface->is, iface->addr[0], iface->addr[1],
			 iface->addr[2], iface->addr[3]);
	}
	say(text);
}

static const char *value(const char *word, const char *key)
{
	size_t len = strlen(key);

	return strncmp(word, key, len) == 0 ? word + len : NULL;
}

int main(int argc, char **argv)
{
	static const struct iface fresh = { .name = "zeth", .mac = { 2, 0, 0x5e, 0, 0x53, 0x3b }, .addr = { 192, 0, 2, 1 } };
	struct iface *iface = ifaces;
	int count = 1, named = 0;
	long reopen = 0, opened;
	const char *text;

	*iface = fresh;
	for (int i = 1; i < argc; i++) {
		if ((text = value(argv[i], "--eth-if="))) {
			if (named++ && count < MOST) {
				iface = &ifaces[count++];
				*iface = fresh;
			}
			iface->name = text;
		} else if ((text = value(argv[i], "--mac-addr="))) {
			unsigned m[6];

			if (sscanf(text, "%x:%x:%x:%x:%x:%x", m, m + 1, m + 2, m + 3, m + 4, m + 5) != 6)
				return 2;
			for (int j = 0; j < 6; j++)
				iface->mac[j] = (uint8_t)m[j];
		} else if ((text = value(argv[i], "--ipv4-addr="))) {
			if (inet_pton(AF_INET, text, iface->addr) != 1)
				return 2;
		} else if ((text = value(argv[i], "--ping="))) {
			if (inet_pton(AF_INET, text, iface->peer) != 1)
				return 2;
			iface->pings = 1;
		} else if ((text = value(argv[i], "--reopen="))) {
			reopen = atol(text);
		} else if (!value(argv[i], "--seed=")) {
			fprintf(stderr, "unknown argument %s\n", argv[i]);
			return 2;
		}
	}
	for (int i = 0; i < count; i++)
		begin(&ifaces[i]);
	opened = now_ms();
	for (;;) {
		int busy = 0;

		for (int i = 0; reopen && now_ms() - opened >= reopen && i < count; i++) {
			close(ifaces[i].fd);
			begin(&ifaces[i]);
			if (i + 1 == count)
				opened = now_ms();
		}

		for (int i = 0; i < count; i++)
			busy |= ifaces[i].fd >= 0 && serve(&ifaces[i]);
		if (!busy) {
			struct timespec pause = { 0, 50 * 1000 * 1000 };

			nanosleep(&pause, NULL);
		}
	}
}
