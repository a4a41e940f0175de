//! Frames in words: every form of the guide, what is filled in, and what is refused.

use super::*;
use crate::capture::line;

/// A bridge where 192.0.2.n is station n, and station 1 is on the port.
struct Lab;

const fn station(number: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, number])
}

impl Book for Lab {
    fn station(&self, addr: IpAddr) -> Option<Mac> {
        match addr {
            IpAddr::V4(addr) if addr.octets()[..3] == [192, 0, 2] && addr.octets()[3] < 10 => {
                Some(station(addr.octets()[3]))
            }
            _ => None,
        }
    }

    fn sender(&self) -> Option<Mac> {
        Some(station(1))
    }

    fn address(&self, mac: Mac, ipv4: bool) -> Option<IpAddr> {
        ipv4.then(|| IpAddr::from([192, 0, 2, mac.0[5]]))
    }
}

fn built(words: &str) -> Result<Built> {
    match Spoken::parse(words)? {
        Spoken::Draft(draft) => draft.build(&Lab),
        Spoken::Bytes(bytes) => Ok(Built { bytes, filled: Vec::new() }),
    }
}

fn read(words: &str) -> (String, String) {
    let Built { bytes, .. } = built(words).unwrap_or_else(|error| panic!("{words}: {error}"));
    let addresses = bytes.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    (addresses, line::summary(false, &bytes, bytes.len() as u32))
}

#[test]
fn words_become_frames() {
    for (words, addresses, says) in [
        ("arp who-has 192.0.2.2", "ffffffffffff020000000001", "Request who-has 192.0.2.2 tell 192.0.2.1"),
        ("arp who-has 192.0.2.2 tell 192.0.2.3", "ffffffffffff020000000003", "who-has 192.0.2.2 tell 192.0.2.3"),
        (
            "arp reply 192.0.2.4 is-at 02:00:00:00:00:04 to 02:00:00:00:00:01",
            "020000000001020000000004",
            "Reply 192.0.2.4 is-at",
        ),
        ("icmp 192.0.2.1 > 192.0.2.2", "020000000002020000000001", "192.0.2.1 > 192.0.2.2: ICMP echo request"),
        ("ping 192.0.2.2", "020000000002020000000001", "192.0.2.1 > 192.0.2.2: ICMP echo request"),
        ("udp 192.0.2.1:1234 > 192.0.2.2:5683", "020000000002020000000001", "192.0.2.1.1234 > 192.0.2.2.5683"),
        ("tcp 192.0.2.1:1 > 192.0.2.2:80 syn", "020000000002020000000001", "Flags [S]"),
        ("tcp 192.0.2.1:1 > 192.0.2.2:80 ack psh len 9", "020000000002020000000001", "length 9"),
        ("udp [fe80::1]:1 > [ff02::1]:2", "333300000001020000000001", "fe80::1.1 > ff02::1.2"),
        ("udp 192.0.2.1:1 > 239.1.2.3:2", "01005e010203020000000001", "239.1.2.3.2"),
        ("from 02:00:00:00:00:07 to 02:00:00:00:00:08 vlan 5", "020000000008020000000007", "vlan 5"),
        ("broadcast", "ffffffffffff020000000001", "0x88b5"),
        ("icmp 192.0.2.1 > 10.0.0.1 to 02:00:00:00:00:09", "020000000009020000000001", "192.0.2.1 > 10.0.0.1"),
    ] {
        let (begins, line) = read(words);
        assert_eq!(begins, addresses, "{words}");
        assert!(line.contains(says), "{words}: {line}");
    }
    assert_eq!(built("tcp 192.0.2.1:1 > 192.0.2.2:2 len 9000 super 1000").unwrap().bytes.len(), 9054);
    assert_eq!(built("arp who-has 192.0.2.2 tell 192.0.2.1 from 02:00:00:00:00:01").unwrap().filled, [""; 0]);
}

#[test]
fn digits_are_taken_as_programs_print_them() {
    let bytes: Vec<u8> = (0..0x22).collect();
    for text in [
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f2021",
        "00:01:02:03:04:05:06:07:08:09:0a:0b:0c:0d:0e:0f:10:11:12:13:14:15:16:17:18:19:1a:1b:1c:1d:1e:1f:20:21",
        "0x0001 02030405 06 07 08 09 0a 0b 0c 0d 0e 0f 10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f 20 21",
        "00000000: 0001 0203 0405 0607 0809 0a0b 0c0d 0e0f  ................\n\
         00000010: 1011 1213 1415 1617 1819 1a1b 1c1d 1e1f  ................\n00000020: 2021                                      !\n",
        "00000000  00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d 0e 0f  |................|\n\
         00000010  10 11 12 13 14 15 16 17  18 19 1a 1b 1c 1d 1e 1f  |................|\n00000020  20 21   | !|\n",
        "\t0x0000:  0001 0203 0405 0607 0809 0a0b 0c0d 0e0f  ................\n\
         \t0x0010:  1011 1213 1415 1617 1819 1a1b 1c1d 1e1f  ................\n\t0x0020:  2021  .!\n",
    ] {
        assert_eq!(frames_in_hex(text), Some(bytes.clone()), "{text}");
    }
    assert_eq!([" ", "xyz", "012", "arp who-has 192.0.2.2"].map(frames_in_hex), [const { None }; 4]);
}

#[test]
fn what_is_wrong_names_the_nearest_word() {
    for (words, says) in [
        ("", "there is no frame"),
        ("arp who-hass 192.0.2.2", "\"who-hass\" behind \"who-has\": expected an IPv4 address"),
        ("arp who-has", "behind \"who-has\" is missing an IPv4 address"),
        ("udp 192.0.2.1 > 192.0.2.2", "expected an address with a port"),
        ("icmp 192.0.2.1 > fe80::1", "are not of one family"),
        ("broadcst", "\"broadcst\" is no word of a frame; the nearest is \"broadcast\""),
        ("syn", "is a flag of TCP"),
        ("arp who-has 192.0.2.2 icmp 192.0.2.1", "a frame carries one packet"),
        ("vlan 4096", "expected a number from 0 to 4095"),
        ("vlan 1 vlan 2 vlan 3", "two VLAN tags at most"),
        ("udp 192.0.2.1:1 > 192.0.2.2:2 super 1000", "a super-frame is one of TCP"),
        ("icmp 192.0.2.1 > 203.0.113.9", "no station on the bridge is known to have 203.0.113.9"),
        ("icmp fe80::1", "no station on the bridge is known to have fe80::1"),
    ] {
        let error = built(words).expect_err(words);
        assert!(error.what().contains(says), "{words}: {error}");
    }
}
