//! `zbridge extcap`: running bridges and their ports in Wireshark's own list of interfaces, by its extcap protocol
//! (Wireshark Developer's Guide, 8.2).
//!
//! Wireshark starts a program of its folder with one question each time, and reads lines from it; then with `--capture`
//! and a FIFO that it reads. `--install` puts a script there that starts this program. An interface is `zbridge:BRIDGE`, or
//! `zbridge:BRIDGE:PORT`.

use super::{Asked, Goal, toolbar};
use crate::capture::Wish;
use crate::config::text::shell;
use crate::control::StatusInfo;
use crate::engine::control::each_bridge;
use crate::error::{Error, Result};
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// What an interface's name begins with.
const PREFIX: &str = "zbridge:";

/// What Wireshark asks.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct ExtcapArgs {
    /// Put it into this user's extcap folder, so that Wireshark shows bridges and ports
    #[arg(long, exclusive = true)]
    install: bool,

    /// List the interfaces
    #[arg(long = "extcap-interfaces")]
    interfaces: bool,

    /// The version of Wireshark
    #[arg(long = "extcap-version", value_name = "VERSION", num_args = 0..=1)]
    version: Option<Option<String>>,

    /// The interface that is meant
    #[arg(long = "extcap-interface", value_name = "NAME")]
    interface: Option<String>,

    /// List the link types of the interface
    #[arg(long = "extcap-dlts", requires = "interface")]
    dlts: bool,

    /// List its options
    #[arg(long = "extcap-config", requires = "interface")]
    config: bool,

    /// Only frames that this is true of
    #[arg(long = "extcap-capture-filter", value_name = "WORDS", default_value = "")]
    filter: String,

    /// Capture from the interface
    #[arg(long, requires_all = ["interface", "fifo"])]
    capture: bool,

    /// Where the capture is written
    #[arg(long, value_name = "PATH")]
    fifo: Option<PathBuf>,

    /// Where Wireshark's toolbar says what is chosen
    #[arg(long = "extcap-control-in", value_name = "PATH")]
    control_in: Option<PathBuf>,

    /// Where it hears answers
    #[arg(long = "extcap-control-out", value_name = "PATH")]
    control_out: Option<PathBuf>,

    /// Only frames that were dropped
    #[arg(long)]
    drops: bool,

    /// Also each copy that left
    #[arg(long)]
    copies: bool,

    /// Keep so many bytes of each frame
    #[arg(long, value_name = "BYTES")]
    snap: Option<u32>,
}

/// What a question comes to.
#[derive(PartialEq, Eq, Debug)]
pub enum Extcap {
    /// These lines.
    Lines(String),
    /// A capture.
    Capture(Box<Asked>),
}

impl ExtcapArgs {
    /// Answers, or says what is to be captured.
    ///
    /// # Errors
    /// Nothing is asked; the script cannot be put there; the wish is wrong.
    pub fn answer(&self) -> Result<Extcap> {
        if self.install {
            return install().map(Extcap::Lines);
        }
        if self.interfaces {
            return Ok(Extcap::Lines(interfaces()));
        }
        let Some(interface) = &self.interface else {
            return Err(Error::usage("zbridge extcap is for Wireshark to ask").hint("zbridge extcap --install"));
        };
        let (bridge, port) = meant(interface)?;
        let ports = port.into_iter().map(str::to_owned).collect();
        let (drops, copies) = (self.drops, self.copies && !self.drops);
        let wish = Wish { ports, filter: self.filter.clone(), snap: self.snap.filter(|snap| *snap > 0), drops, copies };
        if self.dlts {
            return Ok(Extcap::Lines("dlt {number=1}{name=EN10MB}{display=as the ports have them}\n".to_owned()));
        }
        if self.config {
            return Ok(Extcap::Lines(OPTIONS.to_owned()));
        }
        match &self.fifo {
            Some(fifo) if self.capture => {
                wish.understood()?;
                let toolbar = self.control_in.clone().map(|from| (from, self.control_out.clone()));
                let (to, goal) = (Some(bridge.to_owned()), Goal::Extcap(fifo.clone(), toolbar));
                Ok(Extcap::Capture(Box::new(Asked { to, switch: None, wish, goal, count: None, time: None })))
            }
            // It asks whether a filter is right: a right one has no answer.
            _ => {
                Ok(Extcap::Lines(wish.understood().err().map_or(String::new(), |error| format!("{}\n", error.what()))))
            }
        }
    }
}

/// The options of an interface, as Wireshark shows them in a window.
const OPTIONS: &str = "\
arg {number=0}{call=--drops}{display=Only dropped frames}{type=boolflag}{default=false}{tooltip=each with its reason, as the comment of the packet}
arg {number=1}{call=--copies}{display=Copies that left, too}{type=boolflag}{default=false}{tooltip=by which port each copy left, and when}
arg {number=2}{call=--snap}{display=Bytes of a frame}{type=unsigned}{default=0}{range=0,65535}{tooltip=keep so many; 0: all}
";

/// The bridge and the port of an interface.
fn meant(interface: &str) -> Result<(&str, Option<&str>)> {
    let rest = interface.strip_prefix(PREFIX).filter(|rest| !rest.is_empty());
    let rest =
        rest.ok_or_else(|| Error::usage(format!("{interface:?} is no interface of zbridge: zbridge:BRIDGE[:PORT]")))?;
    Ok(rest.split_once(':').map_or((rest, None), |(bridge, port)| (bridge, Some(port))))
}

/// Running bridges and their ports.
fn interfaces() -> String {
    let (_, answers) = each_bridge(|mut client| client.status());
    let mut bridges: Vec<StatusInfo> = answers.iter().filter_map(|called| called.answer.ok()).collect();
    bridges.sort_by(|a, b| a.name.cmp(&b.name));
    listed(&bridges)
}

fn listed(bridges: &[StatusInfo]) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!("extcap {{version={version}}}{{display=zbridge}}\n{}", toolbar::CONTROLS);
    let mut add = |value: &str, display: &str| {
        let _ = writeln!(text, "interface {{value={PREFIX}{value}}}{{display=zbridge {}}}", plain(display));
    };
    for bridge in bridges {
        let name = &bridge.name;
        add(name, &format!("{name}: all ports"));
        let ports = bridge.switches.iter().flat_map(|switch| &switch.ports);
        for port in ports.filter(|port| port.listener.is_none()) {
            add(&format!("{name}:{}", port.name), &format!("{name}: {} ({})", port.name, port.kind));
        }
    }
    text
}

/// Without the braces that Wireshark's grammar is made of.
fn plain(text: &str) -> String {
    text.replace(['{', '}'], "_")
}

/// This user's folders of such programs: the one of Wireshark up to 4.0, and the one of later versions. Each has one.
fn folders() -> Result<[PathBuf; 2]> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set("HOME").ok_or_else(|| Error::usage("there is no HOME to install it in"))?;
    let settings = set("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
    Ok([settings.join("wireshark/extcap"), home.join(".local/lib/wireshark/extcap")])
}

/// Puts the script into the folders. Gives what to do then.
fn install() -> Result<String> {
    let program = std::env::current_exe().map_err(|cause| Error::system("the path of this program", &cause))?;
    let text = format!("#!/bin/sh\nexec {} extcap \"$@\"\n", shell(&program.to_string_lossy()));
    let mut said = String::new();
    for folder in folders()? {
        let script = folder.join("zbridge");
        let cannot = |cause: &std::io::Error| Error::system(script.display(), cause);
        std::fs::create_dir_all(&folder).map_err(|cause| cannot(&cause))?;
        std::fs::write(&script, &text).map_err(|cause| cannot(&cause))?;
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).map_err(|cause| cannot(&cause))?;
        let _ = writeln!(said, "{}", script.display());
    }
    said.push_str("Wireshark shows running bridges and their ports when it starts, or by F5.\n");
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::super::super::table::tests::{bridge, port};
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        args: ExtcapArgs,
    }

    fn answer(words: &[&str]) -> Result<Extcap> {
        Only::try_parse_from([&["extcap"], words].concat()).unwrap().args.answer()
    }

    #[test]
    fn an_interface_is_a_bridge_or_a_port_of_it() {
        let text = listed(&[bridge(vec![port("a", "up", 1), port("b{}", "up", 1)])]);
        let lines: Vec<&str> = text.lines().skip(3).collect();
        assert_eq!(lines[0], "interface {value=zbridge:default}{display=zbridge default: all ports}");
        assert!(lines[1].starts_with("interface {value=zbridge:default:a}{display=zbridge default: a ("));
        assert!(lines[2].contains("default: b__"));
        assert_eq!(meant("zbridge:lab").unwrap(), ("lab", None));
        assert_eq!(meant("zbridge:lab:a").unwrap(), ("lab", Some("a")));
        assert!(meant("eth0").is_err() && meant("zbridge:").is_err());
    }

    #[test]
    fn questions_have_their_answers() {
        let ask = ["--extcap-interface", "zbridge:lab:a"];
        let words = |more: &[&'static str]| [&ask[..], more].concat();
        let lines = |more: &[&'static str]| match answer(&words(more)).unwrap() {
            Extcap::Lines(lines) => lines,
            Extcap::Capture(_) => panic!("{more:?}"),
        };
        assert!(lines(&["--extcap-dlts"]).starts_with("dlt {number=1}"));
        assert_eq!(lines(&["--extcap-config", "--extcap-version=4.0"]).lines().count(), 3);
        assert_eq!(lines(&["--extcap-capture-filter", "udp"]), "");
        assert!(lines(&["--extcap-capture-filter", "udpp"]).contains("the nearest is \"udp\""));
        let capture = ["--capture", "--fifo", "/tmp/f", "--copies", "--snap", "0", "--extcap-capture-filter", "udp"];
        let Extcap::Capture(asked) = answer(&words(&capture)).unwrap() else { panic!() };
        assert_eq!((asked.to.as_deref(), asked.wish.ports.as_slice()), (Some("lab"), &["a".to_owned()][..]));
        assert!(asked.wish.copies && asked.wish.snap.is_none() && asked.goal == Goal::Extcap("/tmp/f".into(), None));
        assert!(answer(&[]).is_err());
    }
}
