//! What help and the manual page say beside the options: made of the tables, so that they cannot disagree with the
//! program.

use super::style::{page_width, width_of};
use crate::config::text::{meanings, shell};
use crate::config::{INSTANCE_KEYS, KINDS, SET_KEYS};
use crate::control::EVENTS_OF;
use crate::error::STATUSES;

/// What the program is, in two sentences.
pub const ABOUT: &str = "A userspace Ethernet switch for simulated and real devices.\n\n\
    It joins TAPs, sockets and interfaces of this machine, each a port of a learning switch, and runs in the \
    foreground until SIGINT or SIGTERM.";

/// Command lines to copy, each with what it does.
pub const EXAMPLES: &[(&str, &str)] = &[
    ("zbridge demo", "see it work, without root"),
    (
        "zbridge --port tap:zeth0,addr=192.0.2.2/24 --port unix:/tmp/inst1 --port unix:/tmp/inst2",
        "this host and two QEMU guests on one network",
    ),
    ("zbridge --config lab.toml", "the same from a file"),
    ("zbridge run -- ./zephyr.exe", "a program on the network, without root; its TAP is there"),
    ("zbridge run --join default --host 192.0.2.9/24 -- bash", "a shell on the network of a bridge that runs"),
    ("zbridge port add unix:/tmp/inst3 && zbridge status", "one more on the bridge that runs, and what there is now"),
];

/// What `rewrite=` does.
pub const REWRITE: &str = "With rewrite=mac what is behind a port gets a MAC address of its own on the switch, made of \
    the port's name and the same each time; rewrite=mac=OLD:NEW, rewrite=ip=OLD:NEW and rewrite=ip=[OLD6]:[NEW6] exchange \
    an address for another. So copies of an image with fixed addresses run side by side. Translated are Ethernet \
    addresses, ARP, IPv4 and IPv6 with the checksums of TCP, UDP and ICMP, what ICMP errors quote, neighbour discovery, \
    DHCP and DHCPv6 with the identifiers by which a server tells the copies apart, and the IPv6 addresses that a station \
    makes of its MAC address. What applications send as data is not. Addresses of other groups are left alone.";

/// Environment variables that are heeded, each with what it does.
pub const ENVIRONMENT: &[(&str, &str)] = &[
    ("RUST_LOG", "what is logged, instead of -v and -q: debug, zbridge::engine=trace"),
    ("XDG_RUNTIME_DIR", "where the sockets of running bridges are, in zbridge/; /run for root, else /tmp/zbridge-UID"),
    ("SUDO_UID, SUDO_GID", "set by sudo: whom a bridge that root has started goes on as, unless --user says it"),
    (
        "COLUMNS",
        "how wide a line may be where the output is no terminal; else tables in a file are as wide as they need",
    ),
    ("NO_COLOR", "if set and not empty: no colours"),
];

/// The exit statuses, each with its meaning.
pub fn statuses() -> Vec<(String, &'static str)> {
    let ended = std::iter::once((0, "ended as asked: done, or stopped by SIGINT or SIGTERM"));
    let rows = ended.chain(STATUSES.iter().map(|row| (row.code, row.meaning)));
    rows.map(|(code, meaning)| (code.to_string(), meaning)).collect()
}

/// The port kinds, each with its line.
pub fn kinds() -> Vec<(String, &'static str)> {
    KINDS.iter().map(|row| (row.form(), row.summary)).collect()
}

/// The keys of an instance, for the help of `zbridge up`.
pub fn instances() -> String {
    let rows: Vec<_> = INSTANCE_KEYS.iter().map(|row| (row.form(), row.summary)).collect();
    section("Keys of each [[instance]] in the file", &rows).trim_end().to_owned()
}

/// The keys of `zbridge set`, for its help.
pub fn settings() -> String {
    let rows: Vec<_> = SET_KEYS.iter().map(|row| (row.form(), row.summary)).collect();
    section("Keys", &rows).trim_end().to_owned()
}

/// What `wait` and `assert` can ask, for their help.
pub fn figures() -> String {
    section("In expressions, with == != < <= > >=, and, or, not and parentheses", &crate::scenario::figures())
        .trim_end()
        .to_owned()
}

/// The columns of a table with what each means, for the help of the command that prints it.
pub fn columns<const N: usize>(columns: [(&str, &str); N]) -> String {
    let named = columns.into_iter().filter(|(head, means)| !head.is_empty() && !means.is_empty());
    let rows: Vec<_> = named.map(|(head, means)| (head.to_owned(), means)).collect();
    section("Columns", &rows).trim_end().to_owned()
}

/// What `zbridge events` tells of, for its help.
pub fn events() -> String {
    let rows: Vec<_> = EVENTS_OF.iter().map(|&(word, what)| (word.to_owned(), what)).collect();
    section("It tells of", &rows).trim_end().to_owned()
}

/// What `--help` prints below the options.
pub fn after() -> String {
    let mut text = section("Port kinds (`zbridge ports` says more)", &kinds());
    text.push_str("\nExamples:\n");
    for (line, what) in EXAMPLES {
        text.push_str(&format!("  {line}\n      {what}\n"));
    }
    text.push('\n');
    text.push_str(&section("Exit status", &statuses()));
    text.push('\n');
    let environment: Vec<_> = ENVIRONMENT.iter().map(|&(word, what)| (word.to_owned(), what)).collect();
    text.push_str(&section("Environment", &environment));
    text.trim_end().to_owned()
}

/// In lines that clap need not break, as it would break them at the margin.
fn section(title: &str, rows: &[(String, &str)]) -> String {
    let rows: Vec<_> = rows.iter().map(|(left, right)| [left.clone(), (*right).to_owned()]).collect();
    let width = page_width(width_of(std::io::stdout()));
    format!("{title}:\n{}", meanings("  ", Some(width), &rows))
}

/// The command line that opens one port.
pub fn command(spec: &str) -> String {
    format!("zbridge --port {}", shell(spec))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PortSpec;

    #[test]
    fn help_has_every_row_of_the_tables() {
        let text = after();
        for row in KINDS {
            assert!(text.contains(&row.form()) && text.contains(row.summary), "{}", row.word);
        }
        for row in &STATUSES {
            assert!(text.contains(&format!("  {:<3}  {}", row.code, row.meaning)), "{}", row.code);
        }
    }

    /// clap takes this for a line break.
    #[test]
    fn no_text_has_a_break_by_chance() {
        for text in [after(), instances(), ABOUT.to_owned()] {
            assert!(!text.contains("{n}"), "{text}");
        }
    }

    /// Behind the longest form, within the width of a small terminal.
    #[test]
    fn a_summary_fits_its_line() {
        let widest = KINDS.iter().map(|row| row.form().len()).max().unwrap();
        for row in KINDS {
            assert!(2 + widest + 2 + row.summary.len() <= 80, "{}", row.word);
        }
    }

    #[test]
    fn the_ports_of_the_examples_parse() {
        let words: Vec<&str> = EXAMPLES.iter().flat_map(|(line, _)| line.split(' ')).collect();
        let specs: Vec<&str> = words.windows(2).filter(|pair| pair[0] == "--port").map(|pair| pair[1]).collect();
        assert_eq!(specs.len(), 3);
        for spec in specs {
            assert!(PortSpec::parse(spec).is_ok(), "{spec}");
        }
    }
}
