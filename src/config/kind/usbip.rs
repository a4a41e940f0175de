//! `usbip:CIDR`: USB devices, exported by a host of their own on the switch.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use super::usb_device::{self, DEVICES, UsbDevice};
use super::{Attach, Choices, KeyRow, KindRow, KindText, PortKind, bad_target};
use crate::config::grammar::{Fault, Keys, NESTED, Writer, split_by};
use crate::config::value::{self, HostPort};
use crate::limits::DEAD_PEER;
use crate::time::Duration;
use crate::wire::{Cidr, Mac};

pub(super) static ROW: KindRow = KindRow {
    word: "usbip",
    target: "CIDR",
    summary: "USB devices over USB/IP, on a host of their own",
    keys: &[
        KeyRow { word: "device", value: Some("DEVICE"), repeatable: true, live: false, summary: "export this device" },
        KeyRow {
            word: "import",
            value: Some("HOST:PORT/BUSID[+split=BYTES]"),
            repeatable: true,
            live: false,
            summary: "export a device of another USB/IP server, too, when it is there; with split= in transfers of at most so \
                      many bytes",
        },
        KeyRow {
            word: "addr",
            value: Some("CIDR"),
            repeatable: true,
            live: false,
            summary: "a further address, IPv4 or IPv6",
        },
        KeyRow {
            word: "gateway",
            value: Some("IP"),
            repeatable: true,
            live: false,
            summary: "the way to other networks",
        },
        KeyRow {
            word: "mac",
            value: Some("MAC"),
            repeatable: false,
            live: false,
            summary: "the host's MAC address (default: made of its first address)",
        },
        KeyRow {
            word: "usbip-listen",
            value: Some("HOST:PORT"),
            repeatable: false,
            live: false,
            summary: "serve this address of the machine, too",
        },
        KeyRow {
            word: "public",
            value: None,
            repeatable: false,
            live: false,
            summary: "usbip-listen may be reached from other machines: nothing is protected",
        },
        KeyRow {
            word: "patience",
            value: Some("SPAN"),
            repeatable: false,
            live: false,
            summary: "how long an importer may be silent before its device is free: a guest that a debugger has stopped (5s to \
                      24h, default: 30s)",
        },
        KeyRow {
            word: "show-busy",
            value: None,
            repeatable: false,
            live: false,
            summary: "lists show devices that are in use, too",
        },
    ],
    example: "usbip:192.0.2.1/24,device=cdc-acm,device=loopback",
    note: "The port is a host with TCP port 3240: any Linux on the switch lists the devices with `usbip list -r \
           192.0.2.1` and attaches one with `usbip attach -r 192.0.2.1 -b 1-1`. A device has one importer at a time. \
           Keys of a device follow it with '+', and '++' is a literal one.",
    choices: Some(&Choices { key: "device", rows: DEVICES, common: usb_device::COMMON }),
    parse,
};

/// The TCP port of USB/IP, which usbip(8) takes unless told.
const PORT: u16 = 3240;

/// A device of another server.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Import {
    /// The server.
    pub server: HostPort,
    /// The device's bus id there.
    pub busid: String,
    /// The bytes that the server has room for in a transfer, if they are few.
    pub split: Option<u32>,
}

/// `HOST:PORT/BUSID[+split=BYTES]`.
impl fmt::Display for Import {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Writer::nested(&format!("{}/{}", self.server, self.busid));
        text.option("split", self.split);
        out.write_str(&text.finish())
    }
}

/// The key of a device of another server.
static SPLIT: &[KeyRow] = &[KeyRow {
    word: "split",
    value: Some("BYTES"),
    repeatable: false,
    live: false,
    summary: "cut bulk and interrupt transfers that are longer",
}];

/// A USB/IP server with its devices.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Usbip {
    /// Its addresses, one at least.
    pub addrs: Vec<Cidr>,
    /// Its routers.
    pub gateways: Vec<IpAddr>,
    /// Its MAC address, if it was given one; see [`Usbip::mac`].
    pub own_mac: Option<Mac>,
    /// Its devices.
    pub devices: Vec<UsbDevice>,
    /// Devices of other servers.
    pub imports: Vec<Import>,
    /// An address of the machine that is served, too.
    pub listen: Option<HostPort>,
    /// That address may be reached from other machines.
    pub public: bool,
    /// How long an importer may be silent, if it was said; see [`Usbip::patience`].
    pub own_patience: Option<Duration>,
    /// Lists show devices that are in use.
    pub show_busy: bool,
}

impl Usbip {
    /// A server at `addr` without devices.
    pub fn new(addr: Cidr) -> Self {
        Self {
            addrs: vec![addr],
            gateways: Vec::new(),
            own_mac: None,
            devices: Vec::new(),
            imports: Vec::new(),
            listen: None,
            public: false,
            own_patience: None,
            show_busy: false,
        }
    }

    /// Its MAC address. Without `mac=` it is made of its first address, so that it is the same in every run and
    /// another one on every host of a network: 02:75 (locally administered, `u`), and the last four octets.
    pub fn mac(&self) -> Mac {
        let octets = |cidr: &Cidr| match cidr.addr {
            IpAddr::V4(addr) => u32::from(addr),
            IpAddr::V6(addr) => u128::from(addr) as u32,
        };
        let made = || Mac::from_u64(0x0275 << 32 | u64::from(self.addrs.first().map_or(0, octets)));
        self.own_mac.unwrap_or_else(made)
    }

    /// How long an importer may be silent before its device is free.
    pub fn patience(&self) -> Duration {
        self.own_patience.unwrap_or(DEAD_PEER)
    }

    /// The bus ids of its devices, and behind them those of its imports: the given ones, and the lowest that are free.
    pub fn busids(&self) -> Vec<String> {
        let given = self.devices.iter().map(|device| device.busid.clone());
        let given: Vec<_> = given.chain(self.imports.iter().map(|_| None)).collect();
        let taken: BTreeSet<_> = given.iter().flatten().cloned().collect();
        let buses = (1..=255).flat_map(|bus| (1..=254).map(move |port| format!("{bus}-{port}")));
        let mut free = buses.filter(|busid| !taken.contains(busid));
        given.iter().filter_map(|busid| busid.clone().or_else(|| free.next())).collect()
    }
}

impl Usbip {
    /// Its exports: bus ids, and each device as a word or an import as it was written.
    pub fn exported(&self) -> Vec<(String, String)> {
        let words = self.devices.iter().map(|device| device.word().to_owned());
        let words = words.chain(self.imports.iter().map(ToString::to_string));
        self.busids().into_iter().zip(words).collect()
    }

    /// The line that attaches the device `busid`.
    pub fn attach_to(&self, busid: &str) -> Option<Attach> {
        let addr = self.addrs.first()?.addr;
        let mut line = format!("sudo usbip attach -r {addr} -b {busid}");
        if let Some(listen) = self.listen.as_ref().filter(|listen| listen.port != 0) {
            let host = match listen.host.as_str() {
                "0.0.0.0" => "127.0.0.1",
                "::" => "::1",
                host => host,
            };
            let port = if listen.port == PORT { String::new() } else { format!("--tcp-port {} ", listen.port) };
            line.push_str(&format!("  # or, from this machine: sudo usbip {port}attach -r {host} -b {busid}"));
        }
        Attach::new("Linux", line)
    }
}

fn parse(target: &str, keys: &mut Keys) -> Result<PortKind, Fault> {
    let first = value::cidr(target).map_err(|form| bad_target(&ROW, target, &form))?;
    let more = keys.values("addr", value::cidr)?;
    let usbip = Usbip {
        addrs: std::iter::once(first).chain(more).collect(),
        gateways: keys.values("gateway", |text| text.parse().map_err(|_| "an IP address".to_owned()))?,
        own_mac: keys.value("mac", value::station)?,
        devices: keys.nested("device", usb_device::parse)?,
        imports: keys.nested("import", import)?,
        listen: keys.value("usbip-listen", |text| value::host_port(text, 0..=u16::MAX))?,
        public: keys.flag("public")?.unwrap_or(false),
        own_patience: keys.value("patience", patience)?,
        show_busy: keys.flag("show-busy")?.unwrap_or(false),
    };
    check(&usbip)?;
    Ok(PortKind::Usbip(usbip))
}

fn patience(text: &str) -> value::Parsed<Duration> {
    let range = Duration::from_secs(5)..=Duration::from_secs(24 * 3600);
    value::duration(text).filter(|span| range.contains(span)).ok_or_else(|| "a time from 5s to 24h, as 10m".to_owned())
}

fn import(text: &str) -> Result<Import, Fault> {
    let words = split_by(text, NESTED)?;
    let (server, busid) = import_target(&words.head)
        .ok_or_else(|| Fault::new(format!("{:?} is not HOST:PORT/BUSID, as 127.0.0.1:3240/1-1", words.head)))?;
    let mut keys = Keys::new("import", words.keys, &[SPLIT])?;
    let split = keys.value("split", |text| value::number(text, 64..=1 << 20))?;
    keys.finish()?;
    Ok(Import { server, busid, split })
}

fn import_target(text: &str) -> Option<(HostPort, String)> {
    let (server, busid) = text.split_once('/')?;
    let server = value::host_port(server, 1..=u16::MAX).ok()?;
    let good = (1..=31).contains(&busid.len()) && busid.chars().all(|char| char.is_ascii_graphic());
    good.then(|| (server, busid.to_owned()))
}

fn check(usbip: &Usbip) -> Result<(), Fault> {
    if usbip.devices.is_empty() && usbip.imports.is_empty() {
        return Err(Fault::new("there is no device to export").hint(format!("for example {}", ROW.example)));
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = usbip.busids().into_iter().find(|busid| !seen.insert(busid.clone())) {
        return Err(Fault::new(format!("two devices have the bus id {twice}")));
    }
    let mut seen = BTreeSet::new();
    let imported = |import: &&Import| !seen.insert(format!("{}/{}", import.server, import.busid));
    if let Some(twice) = usbip.imports.iter().find(imported) {
        return Err(Fault::new(format!("{}/{} is imported twice", twice.server, twice.busid)));
    }
    let mut claimed = BTreeSet::new();
    if let Some(twice) = usbip.devices.iter().filter_map(UsbDevice::claim).find(|it| !claimed.insert(it.clone())) {
        return Err(Fault::new(format!("two devices want {twice}")));
    }
    match &usbip.listen {
        Some(addr) if !addr.is_loopback() && !usbip.public => {
            Err(Fault::new(format!("usbip-listen: {addr} is not this machine's loopback"))
                .hint("anyone who can reach it can use the devices; add the key public if that is meant"))
        }
        _ => Ok(()),
    }
}

impl KindText for Usbip {
    fn row(&self) -> &'static KindRow {
        &ROW
    }

    fn target(&self) -> String {
        self.addrs.first().map(ToString::to_string).unwrap_or_default()
    }

    fn default_name(&self) -> String {
        "usbip".to_owned()
    }

    fn write(&self, out: &mut Writer) {
        for device in &self.devices {
            out.value("device", device);
        }
        for import in &self.imports {
            out.value("import", import);
        }
        for addr in self.addrs.iter().skip(1) {
            out.value("addr", addr);
        }
        for gateway in &self.gateways {
            out.value("gateway", gateway);
        }
        out.option("mac", self.own_mac);
        out.option("usbip-listen", self.listen.as_ref());
        out.option("patience", self.own_patience.map(value::span));
        for (word, _) in [("public", self.public), ("show-busy", self.show_busy)].iter().filter(|(_, on)| *on) {
            out.flag(word);
        }
    }

    fn claims(&self) -> Vec<String> {
        let listen = self.listen.iter().filter(|addr| addr.port != 0).map(|addr| format!("TCP address {addr}"));
        self.devices.iter().filter_map(UsbDevice::claim).chain(listen).collect()
    }

    fn peer(&self) -> String {
        self.exported().into_iter().map(|(busid, word)| format!("{busid} {word}")).collect::<Vec<_>>().join(", ")
    }

    fn attach(&self, _name: &str) -> Option<Attach> {
        self.attach_to(&self.busids().into_iter().next()?)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{PortKind, PortSpec};

    fn usbip(text: &str) -> super::Usbip {
        match PortSpec::parse(text).unwrap().kind {
            PortKind::Usbip(usbip) => usbip,
            other => panic!("{other:?}"),
        }
    }

    fn refusal(text: &str) -> String {
        PortSpec::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn everything_said_is_kept() {
        for text in [
            "usbip:192.0.2.1/24,device=cdc-acm,device=cdc-acm",
            "usbip:192.0.2.1/24,device=cdc-acm+pty=/tmp/a,,b,import=127.0.0.1:3240/1-1.4,\
             import=board:3240/1-1+split=2048,addr=2001:db8::1/64,\
             gateway=192.0.2.254,mac=02:00:00:00:00:01,usbip-listen=0.0.0.0:3240,patience=600s,public,show-busy,mtu=9000",
        ] {
            assert_eq!(PortSpec::parse(text).unwrap().canonical(), text);
        }
    }

    #[test]
    fn bus_ids_are_the_lowest_free_ones() {
        let text = "usbip:192.0.2.1/24,device=loopback,device=loopback+busid=1-1,device=cdc-acm,import=[::1]:3240/3-2";
        assert_eq!(usbip(text).busids(), ["1-2", "1-1", "1-3", "1-4"]);
        let twice = "usbip:192.0.2.1/24,device=loopback+busid=1-1,device=cdc-acm+busid=1-1";
        assert!(refusal(twice).contains("two devices have the bus id 1-1"));
    }

    #[test]
    fn the_mac_address_is_made_of_the_first_address() {
        assert_eq!(usbip("usbip:192.0.2.1/24,device=loopback").mac().to_string(), "02:75:c0:00:02:01");
        assert_eq!(usbip("usbip:2001:db8::1:2/64,device=loopback").mac().to_string(), "02:75:00:01:00:02");
        assert_eq!(usbip("usbip:192.0.2.1/24,device=loopback,mac=02:00:00:00:00:01").mac().to_string().len(), 17);
    }

    #[test]
    fn this_machine_has_its_own_line_where_it_is_served() {
        let line = |listen: &str| {
            let port = PortSpec::parse(&format!("usbip:192.0.2.1/24,device=loopback{listen}")).unwrap();
            port.attach_hint().unwrap().line
        };
        let guest = "sudo usbip attach -r 192.0.2.1 -b 1-1";
        assert_eq!(line(""), guest);
        let here = "  # or, from this machine: sudo usbip";
        let standard = format!("{guest}{here} attach -r 127.0.0.1 -b 1-1");
        assert_eq!(line(",usbip-listen=127.0.0.1:3240"), standard);
        assert_eq!(line(",usbip-listen=0.0.0.0:3240,public"), standard);
        assert_eq!(line(",usbip-listen=[::1]:99"), format!("{guest}{here} --tcp-port 99 attach -r ::1 -b 1-1"));
    }

    #[test]
    fn faults_say_what_to_do() {
        assert!(refusal("usbip:192.0.2.1,device=loopback").contains("192.0.2.2/24"));
        assert!(refusal("usbip:192.0.2.1/24").contains("no device to export"));
        assert!(refusal("usbip:192.0.2.1/24,device=lopback").contains("the nearest is \"loopback\""));
        assert!(refusal("usbip:192.0.2.1/24,device=loopback,usbip-listen=0.0.0.0:1").contains("public"));
        assert!(refusal("usbip:192.0.2.1/24,import=127.0.0.1/1-1").contains("HOST:PORT/BUSID"));
        let twice = "usbip:192.0.2.1/24,import=127.0.0.1:1/1-1,import=127.0.0.1:1/1-1+split=64";
        assert!(refusal(twice).contains("127.0.0.1:1/1-1 is imported twice"));
        assert!(refusal("usbip:192.0.2.1/24,import=127.0.0.1:1/1-1+splt=64").contains("split"));
        assert!(refusal("usbip:192.0.2.1/24,import=127.0.0.1:1/1-1+split=63").contains("64"));
        let same = "usbip:192.0.2.1/24,device=cdc-acm+pty=/tmp/x,device=cdc-acm+unix=/tmp//x";
        assert!(refusal(same).contains("two devices want path /tmp/x"));
    }
}
