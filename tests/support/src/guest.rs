//! A Linux guest under QEMU, built and booted by the scripts in `tests/vm`.
//!
//! The test talks to an agent in the guest over a virtio serial port, which QEMU shows as a UNIX socket: a line with
//! the length of a shell script and the script go in, a line `RC LENGTH` and the output come back. One script at a
//! time; what has to run on in the guest is put into the background there. Closing the socket ends the guest, so it
//! does not outlive the test even if the test is killed.

use crate::{Launch, Namespace, Process, Ran, TempDir, eventually_within, needs};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long a guest may take to boot: under emulation, on a machine that has other work, a multiple of what it needs.
const BOOT: Duration = Duration::from_secs(180);

/// A network interface of a guest: `ethN`, in the order in which they are added.
#[derive(Clone, Debug)]
pub struct Nic {
    netdev: String,
    /// The words that make the card, as somebody printed them: `-net nic,…,macaddr=MAC`.
    card: Option<String>,
    mac: Option<String>,
    addresses: Vec<String>,
    mtu: Option<u32>,
}

impl Nic {
    /// An interface on QEMU's `-netdev NETDEV`, written without the id:
    /// `stream,server=off,addr.type=unix,addr.path=/tmp/inst1`. Where QEMU connects, somebody must listen already.
    pub fn new(netdev: impl Into<String>) -> Self {
        Self { netdev: netdev.into(), card: None, mac: None, addresses: Vec::new(), mtu: None }
    }

    /// An interface made by a whole line, word for word: `-netdev … -net nic,netdev=ID,macaddr=MAC`. Only the address
    /// is exchanged where the test wants [another](Self::mac).
    ///
    /// # Panics
    /// If the line does not look so.
    pub fn pasted(line: &str) -> Self {
        let words = line.trim().strip_prefix("-netdev ").and_then(|words| words.split_once(" -net "));
        let (netdev, card) = words.unwrap_or_else(|| panic!("a netdev and a card: {line}"));
        Self { card: Some(card.to_owned()), ..Self::new(netdev) }
    }

    /// An interface that connects to the listening stream socket at `path`.
    pub fn stream(path: impl std::fmt::Display) -> Self {
        Self::new(format!("stream,server=off,addr.type=unix,addr.path={path}"))
    }

    /// With this MAC address, instead of one that depends on the guest's name and the interface's number.
    #[must_use]
    pub fn mac(mut self, mac: &str) -> Self {
        self.mac = Some(mac.to_owned());
        self
    }

    /// With this address and prefix length, IPv4 or IPv6; can be repeated.
    #[must_use]
    pub fn address(mut self, address: &str) -> Self {
        self.addresses.push(address.to_owned());
        self
    }

    /// With this MTU.
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// The arguments of `tests/vm/boot` for interface `index` of the guest `name`: words for init, words for QEMU.
    fn arguments(&self, name: &str, index: usize) -> (Vec<String>, Vec<String>) {
        let mut params = Vec::new();
        if !self.addresses.is_empty() {
            params.push(format!("ip{index}={}", self.addresses.join(",")));
        }
        params.extend(self.mtu.map(|mtu| format!("mtu{index}={mtu}")));
        if let Some(card) = &self.card {
            let (kept, own) = card.split_once("macaddr=").expect("a card with an address");
            let card = format!("{kept}macaddr={}", self.mac.as_deref().unwrap_or(own));
            return (params, ["-netdev", &self.netdev, "-net", &card].map(str::to_owned).to_vec());
        }
        let (backend, options) = self.netdev.split_once(',').unwrap_or((&self.netdev, ""));
        let sum = name.bytes().fold(0_u8, |sum, octet| sum.wrapping_mul(31).wrapping_add(octet));
        let mac = self.mac.clone().unwrap_or_else(|| format!("52:54:00:00:{sum:02x}:{index:02x}"));
        let netdev = format!("{backend},id=n{index},{options}");
        let device = format!("virtio-net-pci,netdev=n{index},mac={mac},romfile=");
        let qemu = ["-netdev", netdev.trim_end_matches(','), "-device", &device].map(str::to_owned).to_vec();
        (params, qemu)
    }
}

/// A guest about to be booted.
#[derive(Debug)]
pub struct GuestBuilder {
    name: String,
    nics: Vec<Nic>,
    params: Vec<String>,
    modules: Vec<String>,
    memory: u32,
    qemu: Vec<String>,
    namespace: Option<String>,
}

impl GuestBuilder {
    /// With one more interface.
    #[must_use]
    pub fn nic(mut self, nic: Nic) -> Self {
        self.nics.push(nic);
        self
    }

    /// With a kernel module loaded at the start, of those in `tests/vm/guest.modules`.
    #[must_use]
    pub fn module(mut self, name: &str) -> Self {
        self.modules.push(name.to_owned());
        self
    }

    /// With a default route.
    #[must_use]
    pub fn gateway(mut self, address: &str) -> Self {
        self.params.push(format!("gw={address}"));
        self
    }

    /// With this much memory, in MiB, instead of 256.
    #[must_use]
    pub fn memory(mut self, mib: u32) -> Self {
        self.memory = mib;
        self
    }

    /// With more arguments of QEMU: serial ports, disks, USB devices.
    #[must_use]
    pub fn qemu<A: Into<String>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.qemu.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// With QEMU inside a network namespace: for `tap,ifname=…` and TCP or UDP between namespaces.
    #[must_use]
    pub fn inside(mut self, namespace: &Namespace) -> Self {
        self.namespace = Some(namespace.name().to_owned());
        self
    }

    /// Boots it and waits until its agent answers.
    ///
    /// # Panics
    /// With its console, if it does not come up.
    pub fn boot(self) -> Guest {
        let dir = TempDir::new();
        let agent = dir.text("agent");
        let mut params = vec![format!("name={}", self.name)];
        if !self.modules.is_empty() {
            params.push(format!("modules={}", self.modules.join(",")));
        }
        let mut qemu = vec!["-name".to_owned(), self.name.clone()];
        for (index, nic) in self.nics.iter().enumerate() {
            let (words, arguments) = nic.arguments(&self.name, index);
            params.extend(words);
            qemu.extend(arguments);
        }
        let mut launch = Launch::new(needs::vm_folder().join("boot"))
            .args(["--agent", &agent, "--mem", &self.memory.to_string()])
            .args(params.into_iter().chain(self.params).flat_map(|param| ["--param".to_owned(), param]))
            .args(qemu)
            .args(self.qemu);
        if let Some(namespace) = &self.namespace {
            launch = launch.inside_named(namespace);
        }
        let mut process = launch.spawn();
        // whoever boots one waits for all others that do, to see whether it has to be built
        let channel = eventually_within(BOOT, &format!("guest {}: QEMU's socket", self.name), || {
            assert!(process.is_running(), "guest {}: QEMU ended at its start", self.name);
            UnixStream::connect(&agent).ok()
        });
        let mut guest = Guest { name: self.name, channel: BufReader::new(channel), process, _dir: dir };
        guest.run_within(BOOT, "true").checked(&guest.name, "the first script");
        guest
    }
}

/// A running guest. Killed on drop; in a panic its console is shown first.
#[derive(Debug)]
pub struct Guest {
    name: String,
    channel: BufReader<UnixStream>,
    process: Process,
    _dir: TempDir,
}

impl Guest {
    /// A guest of this name with no interface yet. Needs [`needs::guest`].
    #[expect(clippy::new_ret_no_self, reason = "a guest is built step by step")]
    pub fn new(name: &str) -> GuestBuilder {
        GuestBuilder {
            name: name.to_owned(),
            nics: Vec::new(),
            params: Vec::new(),
            modules: Vec::new(),
            memory: 256,
            qemu: Vec::new(),
            namespace: None,
        }
    }

    /// Runs a shell script in the guest, for at most a minute.
    ///
    /// # Panics
    /// If it takes longer, or the guest is gone.
    pub fn run(&mut self, script: &str) -> Ran {
        self.run_within(Duration::from_secs(60), script)
    }

    /// Runs a shell script in the guest, for at most `timeout`.
    ///
    /// # Panics
    /// If it takes longer, or the guest is gone.
    pub fn run_within(&mut self, timeout: Duration, script: &str) -> Ran {
        self.exchange(timeout, script).unwrap_or_else(|error| match error.kind() {
            ErrorKind::WouldBlock => panic!("guest {}: not done in {timeout:?}: {script}", self.name),
            _ => panic!("guest {}: {error}, in: {script}", self.name),
        })
    }

    /// Runs a shell script that must succeed, and gives its output.
    pub fn check(&mut self, script: &str) -> String {
        self.run(script).checked(&self.name, script)
    }

    /// What its console has shown.
    pub fn console(&self) -> String {
        self.process.stdout()
    }

    /// QEMU, to freeze or to kill it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn exchange(&mut self, timeout: Duration, script: &str) -> std::io::Result<Ran> {
        let channel = self.channel.get_mut();
        channel.set_read_timeout(Some(timeout))?;
        channel.write_all(format!("{}\n{script}", script.len()).as_bytes())?;
        let mut head = String::new();
        self.channel.read_line(&mut head)?;
        let numbers = head.trim_end().split_once(' ');
        let numbers = numbers.and_then(|(rc, length)| Some((rc.parse().ok()?, length.parse().ok()?)));
        let Some((rc, length)) = numbers else {
            return Err(std::io::Error::other(format!("the agent said {head:?}")));
        };
        let mut output = vec![0; length];
        self.channel.read_exact(&mut output)?;
        Ok(Ran { rc, output: String::from_utf8_lossy(&output).into_owned() })
    }
}
