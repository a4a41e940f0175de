//! Whole exchanges with clients of several habits: udhcpc's and dhclient's, and one that says little.

use super::*;
use crate::service::lan::leases::{Fixed, Pool};
use proptest::prelude::*;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const MAC: Mac = Mac([2, 0, 0, 0, 0, 10]);
/// Source MAC of the messages' frames, where it matters.
const LINK: Mac = Mac([2, 0, 0, 0, 0, 200]);

/// As busybox udhcpc 1.35 has them: DISCOVER, 576 bytes, its list, its name, its maker, its identifier.
const UDHCPC: &str = "3501013902024037070103060c0f1c2a0c05696e7374313c0c756468637020312e33352e303d070102000000000aff";
/// As ISC dhclient 4.4.3 has them: DISCOVER, name, list; padding behind.
const DHCLIENT: &str = "3501010c02766d370d011c02030f06770c2c2f1a792aff0000000000000000";
/// DISCOVER, a short list (mask, router, resolver), name; the REQUEST that follows has no list.
const SHORT: &str = "35010137030103060c067a6570687972ff";

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 2, last)
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |sign: u8| char::from(sign).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// A request with these options from `mac`.
fn request(options: &[u8], mac: Mac) -> Vec<u8> {
    let mut bytes = hex("01010600b9716c3c");
    bytes.resize(240, 0);
    bytes[28..34].copy_from_slice(&mac.0);
    bytes[236..].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    bytes.extend_from_slice(options);
    bytes
}

fn server(change: impl FnOnce(&mut Dhcp4Config)) -> (Dhcp4, Leases) {
    let mut config = Dhcp4Config {
        server: SERVER,
        prefix: 24,
        router: Some(SERVER),
        dns: vec![ip(3)],
        domain: Some("lab".into()),
        mtu: 1500,
        lease: Duration::from_secs(3600),
        tftp: None,
        boot: Vec::new(),
    };
    change(&mut config);
    let fixed = vec![Fixed { mac: Mac([2, 0, 0, 0, 0, 99]), addr: ip(99), name: Some("board".into()) }];
    let pool = Pool { first: ip(15), last: ip(20), reserved: vec![SERVER], fixed, reserved_names: Vec::new() };
    (Dhcp4::new(config), Leases::new(pool))
}

fn boot(file: &str, client: Option<BootClient>) -> BootFile {
    BootFile { file: file.to_owned(), client }
}

/// An option of an answer.
fn option_of(reply: &Datagram, code: u8) -> Option<Vec<u8>> {
    let mut bytes = reply.payload.clone();
    assert_eq!(bytes[0], 2, "an answer");
    bytes[0] = 1;
    Message::read(LINK, &bytes).unwrap().option(code).map(<[u8]>::to_vec)
}

fn kind_of(reply: &Datagram) -> u8 {
    option_of(reply, option::TYPE).unwrap()[0]
}

fn yiaddr(reply: &Datagram) -> Ipv4Addr {
    Ipv4Addr::new(reply.payload[16], reply.payload[17], reply.payload[18], reply.payload[19])
}

/// Message type, server and wanted address, as clients send them when they take an offer.
fn taking(addr: Ipv4Addr, server: Ipv4Addr) -> Vec<u8> {
    [&[53, 1, 3, 54, 4][..], &server.octets(), &[50, 4], &addr.octets(), &[255]].concat()
}

fn at(secs: u64) -> Instant {
    Instant::from_secs(secs)
}

#[test]
fn udhcpc_gets_address_route_and_resolver() {
    let (dhcp, mut leases) = server(|_| ());
    let offer = dhcp.handle(at(0), &mut leases, LINK, &request(&hex(UDHCPC), MAC)).unwrap();
    assert_eq!((kind_of(&offer), yiaddr(&offer)), (2, ip(15)));
    assert_eq!(offer.src, "10.0.2.2:67".parse().unwrap());
    assert_eq!((offer.dst, offer.mac), ("10.0.2.15:68".parse().unwrap(), Some(MAC)));
    assert_eq!(offer.payload[4..8], hex("b9716c3c")[..], "the transaction");
    for (code, value) in [
        (option::SERVER, &[10, 0, 2, 2][..]),
        (option::MASK, &[255, 255, 255, 0]),
        (option::ROUTER, &[10, 0, 2, 2]),
        (option::DNS, &[10, 0, 2, 3]),
        (option::DOMAIN, b"lab"),
        (option::BROADCAST, &[10, 0, 2, 255]),
        (option::LEASE, &[0, 0, 14, 16]),
        (option::RENEW, &[0, 0, 7, 8]),
        (option::REBIND, &[0, 0, 12, 78]),
        (option::CLIENT, &[1, 2, 0, 0, 0, 0, 10]),
    ] {
        assert_eq!(option_of(&offer, code).as_deref(), Some(value), "option {code}");
    }
    assert_eq!(option_of(&offer, option::MTU), None);

    let mut take = taking(ip(15), SERVER);
    take.truncate(take.len() - 1);
    take.extend(b"\x0c\x05inst1\xff");
    let ack = dhcp.handle(at(1), &mut leases, LINK, &request(&take, MAC)).unwrap();
    assert_eq!((kind_of(&ack), yiaddr(&ack)), (5, ip(15)));
    assert_eq!(option_of(&ack, option::HOST_NAME).as_deref(), Some(&b"inst1"[..]));
    assert_eq!(leases.by_name(at(2), "inst1"), Some(ip(15)));
}

#[test]
fn clients_are_offered_what_they_list() {
    let (dhcp, mut leases) = server(|config| config.mtu = 1400);
    let offer = dhcp.handle(at(0), &mut leases, LINK, &request(&hex(DHCLIENT), MAC)).unwrap();
    assert_eq!(option_of(&offer, option::MTU).as_deref(), Some(&1400_u16.to_be_bytes()[..]));
    assert_eq!(option_of(&offer, option::DOMAIN).as_deref(), Some(&b"lab"[..]));
    let other = Mac([2, 0, 0x5e, 0, 0x53, 0x3b]);
    let mut short = request(&hex(SHORT), other);
    short[10] = 0x80;
    let offer = dhcp.handle(at(0), &mut leases, LINK, &short).unwrap();
    assert_eq!((yiaddr(&offer), offer.dst.to_string()), (ip(16), "255.255.255.255:68".into()));
    assert_eq!(offer.mac, Some(Mac::BROADCAST));
    assert_eq!(option_of(&offer, option::DOMAIN), None, "not on its list");
    assert!(option_of(&offer, option::ROUTER).is_some());
    let ack = dhcp.handle(at(0), &mut leases, LINK, &request(&taking(ip(16), SERVER), other)).unwrap();
    assert_eq!(option_of(&ack, option::DOMAIN).as_deref(), Some(&b"lab"[..]), "no list: everything");
}

#[test]
fn who_keeps_an_address_may_and_who_cannot_is_told() {
    let (dhcp, mut leases) = server(|_| ());
    // after a restart of the server: INIT-REBOOT of an address that is free
    let reboot = |addr: Ipv4Addr| [&[53, 1, 3, 50, 4][..], &addr.octets(), &[255]].concat();
    let ack = dhcp.handle(at(0), &mut leases, LINK, &request(&reboot(ip(18)), MAC)).unwrap();
    assert_eq!((kind_of(&ack), yiaddr(&ack)), (5, ip(18)));
    // renewing: the address stands in ciaddr, and the answer goes there
    let mut renewal = request(&[53, 1, 3, 255], MAC);
    renewal[12..16].copy_from_slice(&ip(18).octets());
    let ack = dhcp.handle(at(1800), &mut leases, LINK, &renewal).unwrap();
    assert_eq!((kind_of(&ack), ack.dst.to_string()), (5, "10.0.2.18:68".into()));
    assert_eq!(leases.list(at(4000)).count(), 1);

    for wrong in [ip(18), ip(99), SERVER, ip(200)] {
        let nak = dhcp.handle(at(2000), &mut leases, LINK, &request(&reboot(wrong), Mac([2; 6]))).unwrap();
        assert_eq!((kind_of(&nak), yiaddr(&nak)), (6, Ipv4Addr::UNSPECIFIED), "{wrong}");
        assert_eq!(nak.dst.to_string(), "255.255.255.255:68");
    }
    // of another network, and so another server's client; whoever chose this server is told all the same
    let foreign = Ipv4Addr::new(192, 0, 2, 7);
    assert_eq!(dhcp.handle(at(2000), &mut leases, LINK, &request(&reboot(foreign), Mac([2; 6]))), None);
    let mut rebinding = request(&[53, 1, 3, 255], Mac([2; 6]));
    rebinding[12..16].copy_from_slice(&foreign.octets());
    assert_eq!(dhcp.handle(at(2000), &mut leases, LINK, &rebinding), None);
    let nak = dhcp.handle(at(2000), &mut leases, LINK, &request(&taking(foreign, SERVER), Mac([2; 6]))).unwrap();
    assert_eq!(kind_of(&nak), 6);
    let other_server = taking(ip(19), ip(9));
    assert_eq!(dhcp.handle(at(2000), &mut leases, LINK, &request(&other_server, Mac([2; 6]))), None);
}

#[test]
fn release_decline_and_inform() {
    let (dhcp, mut leases) = server(|_| ());
    dhcp.handle(at(0), &mut leases, LINK, &request(&taking(ip(15), SERVER), MAC)).unwrap();
    let decline = [&[53, 1, 4, 50, 4][..], &ip(15).octets(), &[255]].concat();
    assert_eq!(dhcp.handle(at(1), &mut leases, LINK, &request(&decline, MAC)), None);
    let offer = dhcp.handle(at(2), &mut leases, LINK, &request(&hex(UDHCPC), MAC)).unwrap();
    assert_eq!(yiaddr(&offer), ip(16));
    dhcp.handle(at(2), &mut leases, LINK, &request(&taking(ip(16), SERVER), MAC)).unwrap();
    let mut release = request(&[53, 1, 7, 255], MAC);
    release[12..16].copy_from_slice(&ip(16).octets());
    assert_eq!(dhcp.handle(at(3), &mut leases, LINK, &release), None);
    assert_eq!(leases.list(at(3)).count(), 0);
    let mut inform = request(&[53, 1, 8, 255], MAC);
    assert_eq!(dhcp.handle(at(4), &mut leases, LINK, &inform), None, "of which address?");
    inform[12..16].copy_from_slice(&ip(50).octets());
    let ack = dhcp.handle(at(4), &mut leases, LINK, &inform).unwrap();
    assert_eq!((kind_of(&ack), yiaddr(&ack)), (5, Ipv4Addr::UNSPECIFIED));
    assert_eq!((option_of(&ack, option::LEASE), ack.dst.to_string()), (None, "10.0.2.50:68".into()));
    assert!(option_of(&ack, option::DNS).is_some());
}

#[test]
fn rapid_commit_takes_one_exchange() {
    let (dhcp, mut leases) = server(|_| ());
    let ack = dhcp.handle(at(0), &mut leases, LINK, &request(&[53, 1, 1, 80, 0, 255], MAC)).unwrap();
    assert_eq!((kind_of(&ack), option_of(&ack, option::RAPID)), (5, Some(Vec::new())));
    assert_eq!(leases.list(at(1)).count(), 1);
}

#[test]
fn a_board_boots_by_bootp() {
    let (dhcp, mut leases) =
        server(|config| (config.tftp, config.boot) = (Some(SERVER), vec![boot("zephyr.elf", None)]));
    let reply = dhcp.handle(at(0), &mut leases, LINK, &request(&[255], MAC)).unwrap();
    assert_eq!(reply.payload.len(), 300);
    assert_eq!(yiaddr(&reply), ip(15));
    assert_eq!(reply.payload[20..24], SERVER.octets());
    assert!(reply.payload[108..].starts_with(b"zephyr.elf\0"));
    assert_eq!(option_of(&reply, option::TYPE), None);
    assert_eq!(option_of(&reply, option::BOOT_FILE).as_deref(), Some(&b"zephyr.elf"[..]));
    assert_eq!(option_of(&reply, option::TFTP).as_deref(), Some(&b"10.0.2.2"[..]));
}

#[test]
fn a_lease_is_as_long_as_asked_within_limits() {
    let (dhcp, mut leases) = server(|_| ());
    for (asked, given) in [(1_u32, 60_u32), (600, 600), (u32::MAX, 3600)] {
        let options = [&[53, 1, 1, 51, 4][..], &asked.to_be_bytes(), &[255]].concat();
        let offer = dhcp.handle(at(0), &mut leases, LINK, &request(&options, MAC)).unwrap();
        assert_eq!(option_of(&offer, option::LEASE).unwrap(), given.to_be_bytes());
    }
}

#[test]
fn a_relay_of_this_segment_is_answered() {
    let (dhcp, mut leases) = server(|_| ());
    let mut relayed = request(&hex(UDHCPC), MAC);
    relayed[24..28].copy_from_slice(&ip(9).octets());
    let offer = dhcp.handle(at(0), &mut leases, LINK, &relayed).unwrap();
    assert_eq!((offer.dst.to_string(), offer.mac), ("10.0.2.9:67".into(), None));
    relayed[24..28].copy_from_slice(&[192, 0, 2, 1]);
    assert_eq!(dhcp.handle(at(0), &mut leases, LINK, &relayed), None);
}

/// RFC 3046, section 2.2: the relay's option comes back in every answer, unchanged and behind all others.
#[test]
fn what_a_relay_says_goes_back() {
    let (dhcp, mut leases) = server(|_| ());
    let said = [&[82, 251, 1, 249][..], &[0xff; 249]].concat();
    let with = |options: &[u8]| {
        let mut bytes = request(&[options, &said[..], &[255]].concat(), MAC);
        bytes[24..28].copy_from_slice(&ip(9).octets());
        bytes
    };
    for (options, kind) in
        [(&[53, 1, 1][..], 2), (&[53, 1, 3, 50, 4, 10, 0, 2, 15], 5), (&[53, 1, 3, 50, 4, 10, 0, 2, 99], 6)]
    {
        let reply = dhcp.handle(at(0), &mut leases, LINK, &with(options)).unwrap();
        assert_eq!(kind_of(&reply), kind);
        let end = reply.payload.iter().rposition(|byte| *byte == 255).unwrap();
        assert!(reply.payload[..end].ends_with(&said), "{options:?}");
    }
}

/// Option 81 is a name as option 12 is, and comes before it.
#[test]
fn a_client_that_says_its_whole_name_has_one() {
    let (dhcp, mut leases) = server(|_| ());
    let call =
        |fqdn: &[u8]| [&taking(ip(15), SERVER)[..15], &[12, 1, b'x', 81, fqdn.len() as u8], fqdn, &[255]].concat();
    // systemd-networkd's form, and that of udhcpc -F
    for (fqdn, name, answer) in [
        (&b"\x05\0\0\x06board7\x03org\0"[..], "board7", &b"\x05\xff\xff\x06board7\x03lab\0"[..]),
        (b"\x01\0\0board9", "board9", b"\x01\xff\xffboard9.lab"),
    ] {
        let ack = dhcp.handle(at(0), &mut leases, LINK, &request(&call(fqdn), MAC)).unwrap();
        assert_eq!(leases.by_name(at(1), name), Some(ip(15)));
        assert_eq!(option_of(&ack, option::FQDN).as_deref(), Some(answer));
    }
    dhcp.handle(at(2), &mut leases, LINK, &request(&call(b"\x01\0\0"), MAC)).unwrap();
    assert_eq!(leases.by_name(at(3), "x"), Some(ip(15)), "it leaves its name to others, and has a host name");
}

/// A driver without a MAC is answered where its frames come from, and is the client of that MAC.
#[test]
fn a_client_without_a_mac_is_known_by_its_frames() {
    let (dhcp, mut leases) = server(|_| ());
    let offer = dhcp.handle(at(0), &mut leases, LINK, &request(&hex(SHORT), Mac::default())).unwrap();
    assert_eq!((yiaddr(&offer), offer.mac, &offer.payload[28..34]), (ip(15), Some(LINK), &[0; 6][..]));
    dhcp.handle(at(0), &mut leases, LINK, &request(&taking(ip(15), SERVER), Mac::default())).unwrap();
    assert_eq!(leases.list(at(1)).map(|lease| lease.mac).collect::<Vec<_>>(), [LINK]);
    let zero = dhcp.handle(at(2), &mut leases, Mac::default(), &request(&hex(SHORT), Mac::default())).unwrap();
    assert_eq!((yiaddr(&zero), zero.mac), (ip(16), Some(Mac::default())));
}

/// U-Boot's `dhcp` takes the next server from siaddr, whatever is to be booted.
#[test]
fn whoever_serves_files_is_the_next_server() {
    let (dhcp, mut leases) = server(|config| config.tftp = Some(SERVER));
    let offer = dhcp.handle(at(0), &mut leases, LINK, &request(&[53, 1, 1, 55, 2, 66, 150, 255], MAC)).unwrap();
    assert_eq!(offer.payload[20..24], SERVER.octets());
    assert_eq!(option_of(&offer, option::TFTP).as_deref(), Some(&b"10.0.2.2"[..]));
    assert_eq!(option_of(&offer, option::TFTP_ADDR).as_deref(), Some(&SERVER.octets()[..]));
    assert_eq!((option_of(&offer, option::BOOT_FILE), offer.payload[108]), (None, 0));
}

/// Some boot ROMs read the name on to a zero; those that mind the length have the name alone.
#[test]
fn a_zero_follows_the_name_of_the_boot_file() {
    let (dhcp, mut leases) =
        server(|config| (config.tftp, config.boot) = (Some(SERVER), vec![boot("zephyr.bin", None)]));
    let offer = dhcp.handle(at(0), &mut leases, LINK, &request(&[53, 1, 1, 55, 2, 66, 67, 255], MAC)).unwrap();
    for text in [&b"\x43\x0azephyr.bin\0"[..], b"\x42\x0810.0.2.2\0"] {
        assert!(offer.payload[240..].windows(text.len()).any(|part| part == text), "{}", text.escape_ascii());
    }
}

#[test]
fn each_kind_of_client_has_a_file_of_its_own() {
    let files = vec![
        boot("undionly.kpxe", None),
        boot("http://192.0.2.1/boot.ipxe", Some(BootClient::User("iPXE".into()))),
        boot("snponly.efi", Some(BootClient::Arch(7))),
    ];
    let (dhcp, mut leases) = server(|config| (config.tftp, config.boot) = (Some(SERVER), files));
    let file = |leases: &mut Leases, options: &[u8]| {
        let bytes = request(&[&[53, 1, 1], options, &[255]].concat(), MAC);
        let offer = dhcp.handle(at(0), leases, LINK, &bytes).unwrap();
        let file = option_of(&offer, option::BOOT_FILE).unwrap();
        assert!(offer.payload[108..].starts_with(&file));
        String::from_utf8(file).unwrap()
    };
    assert_eq!(file(&mut leases, &[]), "undionly.kpxe");
    assert_eq!(file(&mut leases, &[93, 2, 0, 0]), "undionly.kpxe");
    assert_eq!(file(&mut leases, &[93, 2, 0, 7]), "snponly.efi");
    assert_eq!(file(&mut leases, &[93, 4, 0, 9, 0, 7]), "snponly.efi", "one of several");
    // what was loaded is not loaded again: iPXE's own form, and that of the RFC
    assert_eq!(file(&mut leases, b"\x4d\x04iPXE\x5d\x02\0\x07"), "http://192.0.2.1/boot.ipxe");
    assert_eq!(file(&mut leases, b"\x4d\x07\x01x\x04iPXE"), "http://192.0.2.1/boot.ipxe");
    assert_eq!(file(&mut leases, b"\x4d\x04ipxe"), "undionly.kpxe");
}

proptest! {
    /// Any bytes behind any header: no panic, and an answer is one and no longer than was asked for.
    #[test]
    fn answers_are_bounded(
        options in prop::collection::vec(any::<u8>(), 0..400),
        kind in 0u8..10,
        fields in prop::collection::vec(any::<u8>(), 20),
    ) {
        let (dhcp, mut leases) = server(|config| (config.tftp, config.boot) = (Some(ip(9)), vec![boot(&"f".repeat(127), None)]));
        let mut bytes = request(&[&[53, 1, kind, 61, 255][..], &[7; 255], &options].concat(), MAC);
        bytes[8..28].copy_from_slice(&fields);
        if let Some(reply) = dhcp.handle(at(0), &mut leases, LINK, &bytes) {
            prop_assert!((300..=1472).contains(&reply.payload.len()));
            prop_assert!(option_of(&reply, option::SERVER).is_some());
        }
        dhcp.handle(at(0), &mut leases, LINK, &options);
    }
}
