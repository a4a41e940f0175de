//! The rules of nftables, as far as they decide what becomes of all that comes from an interface.
//!
//! Theory of operation. `nft -j list ruleset` (libnftables-json(5)) is read into chains of [`Rule`]s. Only rules count that
//! have no condition, or one on the name of the interface it comes from: these hold for every packet. A rule with another
//! condition may accept some; so "drops them" means that no rule accepts all, which is what a firewall that was not told
//! of a TAP does.

use super::{Facts, Findings};
use crate::config::text::shell;
use crate::rights::role::{BASE, READ};
use crate::rights::{self, Role};
use crossbeam_channel::bounded;
use rustix::process::geteuid;
use serde_json::Value;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Chains call each other no deeper than this (NFT_JUMP_STACK_SIZE of the kernel).
const DEPTH: u8 = 16;

/// It reads what nft lists.
static ROLE: Role = Role::new("nft", &[BASE, READ]);

/// Longer lists of rules are not read.
const LISTED_BYTES: u64 = 64 << 20;
/// How long nft may take.
const LISTED_TIME: Duration = Duration::from_secs(3);

/// The firewall's chains.
#[derive(Default)]
pub struct Rules {
    chains: Vec<Chain>,
}

struct Chain {
    family: String,
    table: String,
    name: String,
    /// `input`, `forward` …, of those where packets come in.
    hook: Option<String>,
    drops: bool,
    rules: Vec<Rule>,
}

/// A rule that holds for all packets, or for all that come from some interface.
#[derive(Clone)]
struct Rule {
    /// From which; a name may end in `*`.
    from: Option<String>,
    then: Verdict,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Verdict {
    Accept,
    Drop,
    Jump(String),
    Return,
}

impl Rules {
    /// Asks nftables. The error says why it could not, and what to do.
    pub fn gather(root: &Path) -> Result<Self, String> {
        let legacy = ["ip_tables_names", "ip6_tables_names"].iter().any(|file| {
            fs::read_to_string(root.join("proc/net").join(file)).is_ok_and(|names| names.contains("filter"))
        });
        if legacy {
            return Err("rules of iptables-legacy are not read: sudo iptables-legacy -S shows them".into());
        }
        if !geteuid().is_root() {
            return Err("only root can read its rules: sudo zbridge doctor".into());
        }
        let listed = listed()?;
        Self::parse(&listed).ok_or_else(|| "nft lists its rules in a form that is not known".into())
    }

    /// Reads what nft lists.
    pub fn parse(json: &[u8]) -> Option<Self> {
        let listed: Value = serde_json::from_slice(json).ok()?;
        let mut chains = Vec::new();
        for object in listed.get("nftables")?.as_array()? {
            if let Some(chain) = object.get("chain") {
                chains.push(Chain {
                    family: word(chain, "family")?,
                    table: word(chain, "table")?,
                    name: word(chain, "name")?,
                    hook: word(chain, "hook"),
                    drops: word(chain, "policy").as_deref() == Some("drop"),
                    rules: Vec::new(),
                });
            } else if let Some(rule) = object.get("rule") {
                let place = (word(rule, "family")?, word(rule, "table")?, word(rule, "chain")?);
                let chain = chains.iter_mut().find(|chain: &&mut Chain| {
                    (&chain.family, &chain.table, &chain.name) == (&place.0, &place.1, &place.2)
                });
                let rule = rule.get("expr").and_then(Value::as_array).and_then(|exprs| read(exprs));
                chain.into_iter().for_each(|chain| chain.rules.extend(rule.clone()));
            }
        }
        Some(Self { chains })
    }

    /// The chain that drops what is to be forwarded from this interface.
    pub fn forwards(&self, interface: &str, six: bool) -> Option<String> {
        self.dropping("forward", interface, six).map(Chain::described)
    }

    fn dropping(&self, hook: &str, interface: &str, six: bool) -> Option<&Chain> {
        let family = if six { "ip6" } else { "ip" };
        let mut bases = self.chains.iter().filter(|chain| chain.hook.as_deref() == Some(hook));
        bases.find(|chain| {
            let concerns = chain.family == "inet" || chain.family == family;
            concerns && !matches!((self.fate(chain, interface, DEPTH), chain.drops), (Some(true), _) | (None, false))
        })
    }

    /// Whether a chain accepts all packets from an interface; `None`: it leaves that to others.
    fn fate(&self, chain: &Chain, interface: &str, depth: u8) -> Option<bool> {
        let depth = depth.checked_sub(1)?;
        for rule in chain.rules.iter().filter(|rule| rule.concerns(interface)) {
            match &rule.then {
                Verdict::Accept => return Some(true),
                Verdict::Drop => return Some(false),
                Verdict::Return => return None,
                Verdict::Jump(name) => {
                    let same = |other: &&Chain| {
                        (&other.family, &other.table, &other.name) == (&chain.family, &chain.table, name)
                    };
                    let called = self.chains.iter().find(same);
                    if let Some(fate) = called.and_then(|called| self.fate(called, interface, depth)) {
                        return Some(fate);
                    }
                }
            }
        }
        None
    }
}

/// What nft lists, of which a bounded part is read in a bounded time.
fn listed() -> Result<Vec<u8>, String> {
    let mut command = Command::new("nft");
    command.args(["-j", "list", "ruleset"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|_| "needs nft to be read: install nftables")?;
    let Some(output) = child.stdout.take() else { return Err("nft has no output".into()) };
    let (sender, answer) = bounded(1);
    let read = move || {
        let mut listed = Vec::new();
        let read = output.take(LISTED_BYTES).read_to_end(&mut listed);
        // Fails only when nobody waits any more.
        let _ = sender.send(read.map(|_| listed));
    };
    rights::spawn_to_look("zb-nft", &ROLE, read).map_err(|cause| format!("cannot start a thread: {cause}"))?;
    let listed = answer.recv_timeout(LISTED_TIME);
    let is_whole = |listed: &Vec<u8>| (listed.len() as u64) < LISTED_BYTES;
    let whole = matches!(&listed, Ok(Ok(listed)) if is_whole(listed));
    if !whole {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|cause| format!("nft: {cause}"))?;
    match listed {
        Ok(Ok(listed)) if whole && status.success() => Ok(listed),
        Ok(Ok(_)) if whole => Err("nft does not list them: sudo nft list ruleset says why".into()),
        Ok(Ok(_)) => Err("nft lists more than 64 MiB of rules".into()),
        Ok(Err(cause)) => Err(format!("nft: {cause}")),
        Err(_) => Err("nft does not answer".into()),
    }
}

impl Chain {
    fn described(&self) -> String {
        format!("chain {} of table {} {}", self.name, self.family, self.table)
    }

    /// The command that lets all pass that comes from an interface, in the words of who manages the chain.
    fn opened(&self, interface: &str) -> String {
        let interface = shell(interface);
        let managed = |by: &str| self.table.contains(by) || self.rules.iter().any(|rule| rule.leads_to(by));
        match self.hook.as_deref() {
            Some("input") if managed("ufw") => format!("sudo ufw allow in on {interface}"),
            _ if managed("ufw") => format!("sudo ufw route allow in on {interface}"),
            _ if managed("firewalld") => format!("sudo firewall-cmd --zone=trusted --add-interface={interface}"),
            _ => {
                let [family, table, name] = [&self.family, &self.table, &self.name].map(|word| shell(word));
                format!("sudo nft insert rule {family} {table} {name} iifname {interface} accept")
            }
        }
    }
}

impl Rule {
    fn concerns(&self, interface: &str) -> bool {
        self.from.as_deref().is_none_or(|from| match from.strip_suffix('*') {
            Some(start) => interface.starts_with(start),
            None => from == interface,
        })
    }

    fn leads_to(&self, by: &str) -> bool {
        matches!(&self.then, Verdict::Jump(chain) if chain.contains(by))
    }
}

fn word(object: &Value, key: &str) -> Option<String> {
    object.get(key)?.as_str().map(str::to_owned)
}

/// A rule that holds for all packets from somewhere; `None` for another.
fn read(exprs: &[Value]) -> Option<Rule> {
    let (mut from, mut then) = (None, None);
    for expr in exprs {
        let (key, value) = expr.as_object()?.iter().next()?;
        match key.as_str() {
            "counter" | "log" | "xt" if value.is_object() || value.is_null() => {}
            "match" => {
                let is_name = value.pointer("/left/meta/key").and_then(Value::as_str) == Some("iifname");
                let equal = value.get("op").and_then(Value::as_str) == Some("==");
                from = Some(value.get("right").filter(|_| is_name && equal)?.as_str()?.to_owned());
            }
            "accept" => then = Some(Verdict::Accept),
            "drop" | "reject" => then = Some(Verdict::Drop),
            "return" => then = Some(Verdict::Return),
            "jump" | "goto" => then = Some(Verdict::Jump(word(value, "target")?)),
            _ => return None,
        }
    }
    Some(Rule { from, then: then? })
}

/// Rules that drop what guests behind a TAP send to this host, or through it.
pub fn rules(facts: &Facts, found: &mut Findings) {
    for tap in facts.taps_of_ports().filter(|tap| tap.interface.master.is_none()) {
        let name = tap.name();
        for six in [false, true] {
            if tap.addrs.iter().all(|net| net.addr.is_ipv6() != six) {
                continue;
            }
            let version = if six { "IPv6" } else { "IPv4" };
            if let Some(chain) = facts.rules.dropping("input", name, six) {
                let what = format!("{} drops what guests send to this host by {version}", chain.described());
                found.bad(name, what, chain.opened(name));
            }
            let setting = if six { "net.ipv6.conf.all.forwarding" } else { "net.ipv4.ip_forward" };
            if facts.setting(setting) == Some(1)
                && let Some(chain) = facts.rules.dropping("forward", name, six)
            {
                let what = format!("{} drops what guests send through this host by {version}", chain.described());
                found.note(name, what, chain.opened(name));
            }
        }
    }
}
