//! The manual page: clap's own sections, and those that the tables give.

use std::io;

use clap::CommandFactory;
use roff::{Inline, Roff, bold, roman};

use super::args::Args;
use super::help::{self, ENVIRONMENT, EXAMPLES, command, statuses};
use super::topics;
use crate::config::{COMMON, INSTANCE_KEYS, KINDS, KeyRow, SWITCH_KEYS, TRANSPORTS};

/// The page in roff, for man(7).
///
/// # Errors
/// None in practice: it is written to memory.
pub fn page() -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let man = clap_mangen::Man::new(Args::command());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    tables().to_writer(&mut page)?;
    man.render_version_section(&mut page)?;
    Ok(page)
}

fn tables() -> Roff {
    let mut roff = Roff::new();
    commands(&mut roff);
    ports(&mut roff);
    roff.control("SH", ["COPIES OF ONE IMAGE"]);
    roff.text([Inline::Roman(help::REWRITE.to_owned())]);
    roff.control("SH", ["SWITCHES"]);
    roff.text([roman("A switch is written NAME[,key=value]..., and only needed to change its settings.")]);
    keys(&mut roff, SWITCH_KEYS);
    roff.control("SH", ["INSTANCES"]);
    roff.text([roman("`zbridge up FILE` starts the programs of a bench. Each is a table [[instance]] of the file:")]);
    keys(&mut roff, INSTANCE_KEYS);
    topics::sections(&mut roff);
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in statuses() {
        entry(&mut roff, &code, meaning);
    }
    roff.control("SH", ["ENVIRONMENT"]);
    for (word, what) in ENVIRONMENT {
        entry(&mut roff, word, what);
    }
    roff.control("SH", ["EXAMPLES"]);
    for (line, what) in EXAMPLES {
        entry(&mut roff, line, what);
    }
    roff
}

fn commands(roff: &mut Roff) {
    roff.control("SH", ["COMMANDS"]);
    verbs(roff, "zbridge", &Args::command());
}

/// Each subcommand with its operands and options; one that has subcommands itself is theirs.
fn verbs(roff: &mut Roff, prefix: &str, command: &clap::Command) {
    for sub in command.get_subcommands() {
        let name = format!("{prefix} {}", sub.get_name());
        if sub.has_subcommands() {
            verbs(roff, &name, sub);
            continue;
        }
        let operands = sub.get_positionals().map(|operand| {
            let named = operand.get_value_names().and_then(|names| names.first());
            let word = named.map_or_else(|| operand.get_id().to_string().to_uppercase(), ToString::to_string);
            if operand.is_required_set() { format!(" {word}") } else { format!(" [{word}]") }
        });
        let own = sub.get_opts().filter_map(|option| {
            let value = option.get_value_names().filter(|_| option.get_action().takes_values());
            let value = value.and_then(|names| names.first()).map(|name| format!(" {name}")).unwrap_or_default();
            Some(format!(" [--{}{value}]", option.get_long()?))
        });
        let form = format!("{name}{}{}", operands.collect::<String>(), own.collect::<String>());
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        entry(roff, &form, &about);
        if sub.get_name() == "run" {
            sub.get_opts().for_each(|option| {
                let names = option.get_long().into_iter().zip(option.get_value_names().into_iter().flatten());
                let form: String = names.map(|(long, value)| format!("--{long} {value}")).collect();
                entry(roff, &format!("run {form}"), &option.get_help().map(ToString::to_string).unwrap_or_default());
            });
        }
    }
}

fn ports(roff: &mut Roff) {
    roff.control("SH", ["PORT KINDS"]);
    roff.text([
        roman("A port is written "),
        bold("TYPE:TARGET[,key[=value]]..."),
        roman(". ',,' is a literal comma, a bare key means on."),
    ]);
    for row in KINDS {
        roff.control("SS", [row.form().as_str()]);
        roff.text([roman(format!("{}. {}", capital(row.summary), row.note))]);
        keys(roff, row.keys);
        entry(roff, "Example", &command(row.example));
        if let Some(table) = row.choices {
            for choice in table.rows {
                let form = format!("{}={}", table.key, choice.word);
                let own: Vec<String> =
                    choice.keys.iter().map(|key| format!("{}: {}", key.form(), key.summary)).collect();
                let text = format!("{}. {}", capital(choice.summary), own.join("; "));
                entry(roff, &form, &text);
            }
            let common: Vec<String> =
                table.common.iter().map(|key| format!("{}: {}", key.form(), key.summary)).collect();
            entry(roff, &format!("Keys of every {}", table.key), &common.join("; "));
        }
    }
    roff.control("SS", ["A TRANSPORT is one of"]);
    TRANSPORTS.iter().for_each(|row| entry(roff, &row.form(), &format!("{}.", capital(row.summary))));
    roff.control("SS", ["Keys of every port"]);
    keys(roff, COMMON);
}

fn keys(roff: &mut Roff, rows: &[KeyRow]) {
    for row in rows {
        let again = if row.repeatable { " May be given often." } else { "" };
        let live = if row.live { " `zbridge set` changes it while the port is there." } else { "" };
        entry(roff, &row.form(), &format!("{}.{again}{live}", capital(row.summary)));
    }
}

/// A tagged paragraph.
fn entry(roff: &mut Roff, tag: &str, text: &str) {
    roff.control("TP", []);
    roff.text([bold(tag)]);
    roff.text([Inline::Roman(text.to_owned())]);
}

/// As a sentence begins. A word that is to be typed, and says where the rest holds, stays as it is: `tcp: listen there`.
fn capital(text: &str) -> String {
    if text.split(' ').next().is_some_and(|word| word.ends_with(':')) {
        return text.to_owned();
    }
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_its_sections_and_rows() {
        let page = String::from_utf8(page().unwrap()).unwrap().replace('\\', "");
        for title in [
            "NAME",
            "OPTIONS",
            "COMMANDS",
            "\"PORT KINDS\"",
            "\"COPIES OF ONE IMAGE\"",
            "\"EXIT STATUS\"",
            "ENVIRONMENT",
            "EXAMPLES",
        ] {
            assert!(page.contains(&format!(".SH {title}\n")), "{title}\n{page}");
        }
        for row in KINDS {
            assert!(page.contains(&format!(".SS {}", row.form())) || page.contains(&format!(".SS \"{}\"", row.form())));
            for key in row.keys {
                assert!(page.contains(&key.form()), "{}", key.word);
            }
        }
        assert!(page.contains("run --host CIDR") && page.contains("run --tap NAMES"));
        assert!(page.contains("zbridge ports [KIND]") && page.contains("zbridge check FILE"));
    }
}
