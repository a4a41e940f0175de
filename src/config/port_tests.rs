//! Tests of the port specification: defaults, refusals, and the way to text and back.

use crate::config::Access;
use proptest::prelude::*;

use super::*;
use crate::config::grammar::Key;
use crate::config::{
    Framing, IpPeer, KINDS, KindRow, Packet, Parity, Slip, Tcp, Transport, Uart, Udp, UnixGram, UnixSocket, Wpan,
};

fn refusal(text: &str) -> String {
    PortSpec::parse(text).unwrap_err().to_string()
}

#[test]
fn keys_have_defaults() {
    let port = PortSpec::parse("unix:/tmp/inst1").unwrap();
    let kind = PortKind::Unix(UnixSocket::stream("/tmp/inst1", false));
    assert_eq!(port, PortSpec::new(kind));
    assert_eq!((port.name.as_str(), port.switch.as_str(), port.learn), ("inst1", "default", true));
}

#[test]
fn every_common_key_is_understood() {
    let text = "tap:zeth0,name=a,switch=lab,learn=off,mtu=9000,queue=7,isolate,optional,static=02:00:5e:00:53:01";
    let port = PortSpec::parse(text).unwrap();
    assert_eq!((port.name.as_str(), port.switch.as_str(), port.learn), ("a", "lab", false));
    assert_eq!((port.mtu, port.queue, port.isolate, port.optional), (Some(9000), Some(7), true, true));
    assert_eq!(port.statics, ["02:00:5e:00:53:01".parse().unwrap()]);
    assert_eq!(port.canonical(), text);
}

#[test]
fn names_come_from_the_target() {
    for (text, name) in [
        ("tap:zeth0", "zeth0"),
        ("packet:eth0.5", "eth0.5"),
        ("unix:/tmp/my sock#1", "my-sock-1"),
        ("unixgram:/..", "unixgram"),
        ("tcp:127.0.0.1:5000", "tcp-127.0.0.1-5000"),
        ("tcp:[::1]:5000", "tcp---1-5000"),
        ("udp:127.0.0.1:1->127.0.0.1:2", "udp-127.0.0.1-1"),
    ] {
        assert_eq!(PortSpec::parse(text).unwrap().name, name, "{text}");
    }
}

#[test]
fn refusals_name_the_text_and_the_way_out() {
    assert_eq!(
        refusal("tap:zeth0,adr=192.0.2.2/24"),
        "port \"tap:zeth0,adr=192.0.2.2/24\": tap has no key \"adr\"; the nearest is \"addr\"\n  \
         hint: `zbridge ports tap` lists its keys"
    );
    assert_eq!(
        refusal("uinx:/tmp/a"),
        "port \"uinx:/tmp/a\": unknown port kind \"uinx\"; the nearest is \"unix\"\n  \
         hint: `zbridge ports` lists the kinds"
    );
    assert_eq!(refusal("tap"), "port \"tap\": tap needs a target: tap:NAME");
    assert_eq!(refusal("unix:,mode=1"), "port \"unix:,mode=1\": unix needs a target: unix:PATH");
    assert!(refusal("zeth0").contains("\"zeth0\" names no kind of port\n  hint: write TYPE:TARGET"));
    assert!(refusal("tap:z,mtu=67").contains("mtu=\"67\": expected a number from 68 to 65535"));
    assert!(refusal("tap:z,queue=0").contains("expected a number from 1 to 1000000"));
    assert!(refusal("tap:z,static=01:00:5e:00:00:01").contains("one station's MAC address"));
    assert!(refusal("tap:averylonginterface").contains("an interface name: 1 to 15 bytes"));
    assert!(refusal("tap:z,name").contains("needs a value: name=NAME"));
}

/// A specification of the kind to which `key` means something.
fn head_for(row: &KindRow, key: &str) -> String {
    let transport = match key {
        "parity" | "stop" | "rtscts" => "serial:/dev/ttyS0",
        "listen" | "public" => "tcp:127.0.0.1:5000",
        _ => "unix:/tmp/inst1",
    };
    match (row.word, key) {
        ("slip", "ip" | "gateway" | "mac") => format!("slip:{transport},mode=ip"),
        ("packet", "ip" | "gateway" | "mac") => "packet:tun0,mode=ip".to_owned(),
        ("slip" | "wpan", _) => format!("{}:{transport}", row.word),
        // the one kind that is nothing by itself
        ("usbip", "public") => "usbip:192.0.2.1/24,device=cdc-acm,usbip-listen=127.0.0.1:0".to_owned(),
        ("usbip", _) => "usbip:192.0.2.1/24,device=cdc-acm".to_owned(),
        ("nat", "bootfile" | "tftp-write") => "nat:10.0.2.2/24,tftp=/srv".to_owned(),
        ("tcp", "clients") => row.example.to_owned(),
        (_, "public") => row.example.replace(",listen", ""),
        _ => format!(
            "{}{}",
            row.example.split(',').next().unwrap(),
            if row.key("public").is_some() { ",public" } else { "" }
        ),
    }
}

/// A key in a row that no parser takes would be refused by `Keys::finish`, but only once somebody tried it.
#[test]
fn every_key_of_every_row_is_taken() {
    let value = |row: &KindRow, key: &str| match key {
        "addr" | "ip" => "=192.0.2.9/24",
        "gateway" => "=192.0.2.2",
        "mac" | "static" => "=02:00:5e:00:53:01",
        "mode" if matches!(row.word, "slip" | "packet") => "=ip",
        "mode" => "=0660",
        "parity" => "=odd",
        "stop" => "=2",
        "peer" => "=/tmp/other",
        "name" | "switch" | "user" | "group" => "=word",
        "patience" => "=10m",
        "rewrite" => "=mac",
        "capture" => "=/tmp/a.pcapng",
        "mirror" => "=other:rx",
        "ipv6" => "=2001:db8::1/64",
        "forward" => "=tcp:127.0.0.1:8080->10.0.2.15:80",
        "fd" | "queue" | "clients" => "=99",
        "mtu" => "=1499",
        "device" => "=loopback",
        "import" => "=127.0.0.1:3240/1-1",
        "usbip-listen" => "=127.0.0.1:0",
        "dhcp" => "=.20-.30",
        "lease" => "=5m",
        "host" => "=02:00:5e:00:53:01/10.0.2.9",
        "dns" => "=10.0.2.3",
        "domain" | "bootfile" | "leases" => "=word",
        "tftp" => "=/srv",
        _ => "",
    };
    for row in KINDS {
        for key in row.keys.iter().chain(COMMON) {
            let word = if key.word == "tx.KEY" { "tx.delay=1ms" } else { key.word };
            let text = format!("{},{word}{}", head_for(row, key.word), value(row, key.word));
            let port = PortSpec::parse(&text);
            let is_none_of_radio =
                row.word == "wpan" && matches!(key.word, "mtu" | "guard" | "mirror" | "static" | "rewrite");
            assert_eq!(port.is_ok(), !is_none_of_radio, "{text}: {port:?}");
        }
    }
}

fn path() -> impl Strategy<Value = std::path::PathBuf> {
    "/?[^/\0]{1,20}".prop_map(std::path::PathBuf::from)
}

fn host_port() -> impl Strategy<Value = value::HostPort> {
    let host = prop_oneof!["127\\.[0-9]\\.[0-9]\\.1", Just("::1".to_owned()), "[a-z][a-z0-9.-]{0,20}"];
    (host, 1..=u16::MAX).prop_map(|(host, port)| value::HostPort { host, port })
}

fn mac() -> impl Strategy<Value = Mac> {
    (1u64..1 << 40).prop_map(|value| Mac::from_u64(value | 2 << 40))
}

fn tap() -> impl Strategy<Value = PortKind> {
    let addr = prop_oneof![
        (any::<u32>(), 0..=32u8).prop_map(|(addr, prefix)| (std::net::IpAddr::V4(addr.into()), prefix)),
        (any::<u128>(), 0..=128u8).prop_map(|(addr, prefix)| (std::net::IpAddr::V6(addr.into()), prefix)),
    ];
    let addrs = prop::collection::hash_set(addr, 0..3)
        .prop_map(|set| set.into_iter().map(|(addr, prefix)| crate::wire::Cidr { addr, prefix }).collect::<Vec<_>>());
    let name = "[a-z][a-z0-9.,_-]{0,14}";
    let user = prop::option::of("[a-z_][a-z0-9_-]{0,31}");
    (name, addrs, any::<[bool; 3]>(), user, prop::option::of(mac()), prop::option::of(3..=i32::MAX)).prop_map(
        |(name, addrs, [up, persist, offload], user, mac, fd)| {
            PortKind::Tap(crate::config::Tap { name, addrs, up, persist, user, mac, fd, offload })
        },
    )
}

fn clients() -> impl Strategy<Value = Option<usize>> {
    prop::option::of(1..=crate::limits::PORTS_MAX)
}

fn access() -> impl Strategy<Value = Access> {
    let mode = prop::option::of((0..=0o777u32).prop_filter("not the usual", |mode| *mode != 0o600));
    let owner = || prop::option::of("[a-z_][a-z0-9_-]{0,31}|[0-9]{1,9}");
    (mode, owner(), owner()).prop_map(|(mode, user, group)| Access { mode, user, group })
}

fn socket() -> impl Strategy<Value = PortKind> {
    (0..3, path(), any::<bool>(), access(), prop::option::of(path()), clients()).prop_map(
        |(kind, path, connect, access, peer, clients)| {
            let clients = clients.filter(|_| !connect);
            let dialled = if connect { Access::default() } else { access.clone() };
            match kind {
                0 | 1 => {
                    let framing = if kind == 0 { Framing::Prefix } else { Framing::Packets };
                    PortKind::Unix(UnixSocket { framing, path, connect, access: dialled, clients })
                }
                _ => PortKind::UnixGram(UnixGram { peer: peer.filter(|peer| *peer != path), path, access }),
            }
        },
    )
}

fn other() -> impl Strategy<Value = PortKind> {
    let ends = (0..3, host_port(), host_port(), any::<bool>(), "[a-z0-9]{1,15}", clients());
    ends.prop_map(|(kind, near, far, flag, ifname, clients)| {
        let far = if far.ip().map(|ip| ip.is_ipv4()) == near.ip().map(|ip| ip.is_ipv4()) && far != near {
            far
        } else {
            value::HostPort { host: near.host.clone(), port: near.port ^ 0x5555 | 1 << 15 }
        };
        match kind {
            0 => PortKind::Tcp(Tcp {
                public: !near.is_loopback(),
                addr: near,
                listen: flag,
                clients: clients.filter(|_| flag),
            }),
            1 if near != far => PortKind::Udp(Udp { public: true, local: near, remote: far }),
            _ => PortKind::Packet(Packet { offload: flag, up: !flag, ..Packet::new(&ifname) }),
        }
    })
}

fn transport() -> impl Strategy<Value = Transport> {
    let parity = prop::sample::select(&[Parity::None, Parity::Even, Parity::Odd][..]);
    let uart = (path(), 50..=12_000_000u32, parity, any::<[bool; 2]>());
    prop_oneof![
        path().prop_map(|path| Transport::Unix { path, connect: true, access: Access::default() }),
        (path(), access()).prop_map(|(path, access)| Transport::Unix { path, connect: false, access }),
        (path(), access()).prop_map(|(path, access)| Transport::Pty { path, access }),
        (host_port(), any::<bool>())
            .prop_map(|(addr, listen)| { Transport::Tcp { public: !addr.is_loopback(), addr, listen } }),
        uart.prop_map(|(device, baud, parity, [two_stop_bits, rtscts])| {
            Transport::Serial(Uart { device, baud, parity, two_stop_bits, rtscts })
        }),
        (path(), access()).prop_map(|(path, access)| Transport::Pipe { path, access }),
        (3..=i32::MAX).prop_map(Transport::Fd),
        "[a-z/,]{1,9}( [a-z=,\"]{1,3}\"x y\"){0,2}"
            .prop_filter("words", |command| crate::config::command_words(command).is_some())
            .prop_map(|command| Transport::Exec { command }),
    ]
}

fn serial() -> impl Strategy<Value = PortKind> {
    let addr =
        any::<u128>().prop_map(|addr| crate::wire::Cidr { addr: std::net::Ipv6Addr::from(addr).into(), prefix: 64 });
    let ip = (prop::option::of(addr), prop::option::of(mac()), any::<bool>()).prop_map(|(addr, mac, gateway)| IpPeer {
        addrs: addr.into_iter().collect(),
        gateways: gateway.then(|| [192, 0, 2, 2].into()).into_iter().collect(),
        mac,
    });
    (transport(), prop::option::of(ip), any::<[bool; 2]>()).prop_map(|(transport, ip, [contiki, radio])| match radio {
        true => PortKind::Wpan(Wpan { transport }),
        false => PortKind::Slip(Slip { transport, ip, contiki }),
    })
}

fn port() -> impl Strategy<Value = PortSpec> {
    let words = (prop::option::of("[a-zA-Z0-9._@+-]{1,64}"), prop::option::of("[a-z0-9]{1,64}"), any::<[bool; 4]>());
    let numbers = (prop::option::of(MTU_RANGE), prop::option::of(1..=QUEUE_FRAMES_MAX));
    let statics = prop::collection::hash_set(mac(), 0..3).prop_map(|set| set.into_iter().collect::<Vec<_>>());
    let rewrite = prop::sample::subsequence(vec!["ip=192.0.2.1:192.0.2.11", "ip=10.0.0.1:10.0.0.2", "mac"], 0..=3)
        .prop_map(|rules| {
            rules.into_iter().map(|rule| crate::config::value::rewrite(rule).unwrap()).collect::<Vec<_>>()
        });
    let mirrors = prop::sample::subsequence(vec!["10", "other#2:rx", "some:tx"], 0..=3)
        .prop_map(|all| all.into_iter().map(|text| Mirror::parse(text).unwrap()).collect::<Vec<_>>());
    (prop_oneof![tap(), socket(), other(), serial()], words, numbers, statics, rewrite, mirrors).prop_map(
        |(kind, (name, switch, [learn, isolate, optional, down]), (mtu, queue), statics, rewrite, mut mirrors)| {
            let plain = PortSpec::new(kind);
            let (name, switch) = (name.unwrap_or(plain.name), switch.unwrap_or(plain.switch));
            let radio = plain.kind.is_radio();
            mirrors.retain(|mirror| mirror.port != name);
            let words = ["tx.delay=20ms 5ms", "rx.loss=gemodel 1% 10%", "both.match=udp, tcp"];
            let bends = words.into_iter().filter(|_| isolate).map(|word| {
                let (word, value) = word.split_once('=').unwrap();
                Bend::parse(&Key { word: word.into(), value: Some(value.into()), at: 0 }).unwrap()
            });
            let bends = bends.collect();
            let least = if plain.kind.tells_mtu() { LEAST_IP_MTU } else { 0 };
            let mtu = mtu.filter(|mtu| !radio && *mtu >= least);
            let statics = if radio { Vec::new() } else { statics };
            let rewrite = if radio { Vec::new() } else { rewrite };
            let (learn, kind) = (learn || radio, plain.kind);
            let guard = (!radio && optional).then_some(isolate);
            PortSpec {
                name,
                switch,
                learn,
                mtu,
                queue,
                isolate,
                guard,
                optional,
                down,
                capture: None,
                mirrors: if radio { Vec::new() } else { mirrors },
                bends,
                statics,
                rewrite,
                kind,
            }
        },
    )
}

proptest! {
    #[test]
    fn canonical_text_parses_to_the_same_port(port in port()) {
        let text = port.canonical();
        let again = PortSpec::parse(&text);
        prop_assert_eq!(again.as_ref(), Ok(&port), "{}", text);
        prop_assert_eq!(again.map(|port| port.canonical()), Ok(text));
    }

    #[test]
    fn no_text_panics(text in "\\PC*") {
        if let Ok(port) = PortSpec::parse(&text) {
            prop_assert_eq!(PortSpec::parse(&port.canonical()), Ok(port));
        }
    }

    #[test]
    fn no_words_panic(
        kind in "tap|unix|unixgram|unixseq|tcp|udp|packet|slip|wpan|slip:(unix|pty|tcp|serial|pipe|fd|exec)|x",
        target in "[a-z:/0-9.>,\\[\\]-]{0,12}",
        keys in prop::collection::vec(("addr|up|mode|peer|connect|listen|public|name|mtu|fd|static|ip|gateway|stop|contiki", "=?[a-z0-9:/.,]{0,6}"), 0..4),
    ) {
        let keys: String = keys.iter().map(|(word, value)| format!(",{word}{value}")).collect();
        if let Ok(port) = PortSpec::parse(&format!("{kind}:{target}{keys}")) {
            prop_assert_eq!(PortSpec::parse(&port.canonical()), Ok(port.clone()));
            port.attach_hint();
        }
    }
}

#[test]
fn what_is_a_ports_own_on_the_switch() {
    let own = |text: &str| -> Vec<String> {
        let spec = PortSpec::parse(text).unwrap();
        spec.own_on_switch(spec.kind.own_addresses()).map(|address| address.to_string()).collect()
    };
    let tap = "tap:z,addr=192.0.2.1/24,addr=2001:db8::1/64,mac=02:00:5e:00:53:01";
    assert_eq!(own(tap), ["MAC 02:00:5e:00:53:01", "address 192.0.2.1", "address 2001:db8::1"]);
    assert_eq!(own("slip:unix:/tmp/x,mode=ip,ip=192.0.2.3/24"), ["address 192.0.2.3"]);
    assert!(own("usbip:192.0.2.2/24,device=loopback").contains(&"address 192.0.2.2".to_owned()));
    assert_eq!(own("unix:/tmp/x"), [""; 0]);
    let rewritten = format!("{tap},rewrite=mac,rewrite=ip=192.0.2.1:192.0.2.11");
    assert_eq!(own(&rewritten), ["address 2001:db8::1"], "on the switch these are nobody's");
}
