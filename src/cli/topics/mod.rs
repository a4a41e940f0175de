//! The guide: a topic for each thing that people do with zbridge, as `zbridge help TOPIC` and the manual page show it.
//!
//! Each topic is a file in Markdown beside this one, so that it can be read where the source is read, and the README
//! points to it. [`blocks`] takes a file apart; [`page`] lays it out for a terminal, [`sections`] for man(7). Both thus
//! say the same. What the tables of the program say already (kinds of ports, keys, exit statuses) stands in no topic:
//! `zbridge ports` and `--help` have it.

mod blocks;

use super::style::{Style, page_width};
use crate::config::grammar::nearest;
use crate::config::text::{columns, wrap};
use crate::error::{Error, Result};
use blocks::{Block, Span, parse, plain};
use roff::{Inline, Roff, bold, roman};

/// A part of the guide.
pub struct Topic {
    /// What it is asked for by.
    pub word: &'static str,
    /// One line about it.
    pub summary: &'static str,
    /// Its text, in Markdown.
    pub text: &'static str,
}

/// Every topic, in the order in which one reads them.
pub const TOPICS: &[Topic] = &[
    Topic { word: "bridge", summary: "look at a bridge that runs, and change it", text: include_str!("bridge.md") },
    Topic {
        word: "run",
        summary: "programs on the network without root: namespaces, TAPs, host tools",
        text: include_str!("run.md"),
    },
    Topic {
        word: "gateway",
        summary: "the way out, and what a network has: DHCP, DNS, TFTP, IPv6",
        text: include_str!("gateway.md"),
    },
    Topic { word: "copies", summary: "several copies of one image", text: include_str!("copies.md") },
    Topic { word: "serial", summary: "SLIP lines and 802.15.4 radios", text: include_str!("serial.md") },
    Topic {
        word: "capture",
        summary: "see the frames: lines, files, Wireshark, and why one was dropped",
        text: include_str!("capture.md"),
    },
    Topic { word: "view", summary: "pictures of a bench, still and live in a browser", text: include_str!("view.md") },
    Topic {
        word: "drops",
        summary: "why a frame was lost: every reason, what it means, what to do",
        text: include_str!("drops.md"),
    },
    Topic {
        word: "impair",
        summary: "delay, loss, rate and the like on any port, the same each time",
        text: include_str!("impair.md"),
    },
    Topic {
        word: "trace",
        summary: "what the bridge would do with a frame, and why, without sending it",
        text: include_str!("trace.md"),
    },
    Topic { word: "metrics", summary: "figures of a bridge for Prometheus", text: include_str!("metrics.md") },
    Topic {
        word: "json",
        summary: "the control socket's lines: each request, and what is answered",
        text: include_str!("json.md"),
    },
    Topic { word: "usb", summary: "USB devices over USB/IP", text: include_str!("usb.md") },
    Topic { word: "bench", summary: "programs and their network in one file", text: include_str!("bench.md") },
    Topic {
        word: "scenario",
        summary: "a test of a bench: what is done to it when, and what is expected",
        text: include_str!("scenario.md"),
    },
    Topic {
        word: "promises",
        summary: "what one can rely on, and what it cannot do",
        text: include_str!("promises.md"),
    },
    Topic { word: "trouble", summary: "what to do, by symptom", text: include_str!("trouble.md") },
];

/// The page of a topic, or the list of topics.
///
/// # Errors
/// There is no such topic; the error names the nearest.
pub fn help(topic: Option<&str>, style: Style, width: Option<usize>) -> Result<String> {
    let Some(word) = topic else { return Ok(list(style)) };
    let found = TOPICS.iter().find(|topic| topic.word == word).ok_or_else(|| {
        let known = nearest(word, TOPICS.iter().map(|topic| topic.word));
        Error::usage(format!("there is no topic {word:?}; {known}")).hint("zbridge help lists the topics")
    })?;
    Ok(page(found, style, page_width(width)))
}

fn list(style: Style) -> String {
    let rows: Vec<_> = TOPICS.iter().map(|topic| [topic.word, topic.summary]).collect();
    let also = columns(
        "  ",
        &[
            ["zbridge --help", "options, exit statuses, examples"],
            ["zbridge COMMAND --help", "the options of a command"],
            ["zbridge ports [KIND]", "every kind of port with its keys"],
            ["zbridge man | man -l -", "all of it as a manual page"],
        ],
    );
    format!(
        "{} (zbridge help TOPIC)\n{}\n{}\n{also}",
        style.heading("Topics"),
        columns("  ", &rows),
        style.heading("Also")
    )
}

/// A topic for a terminal.
fn page(topic: &Topic, style: Style, width: usize) -> String {
    let mut text = String::new();
    let mut after_item = false;
    for block in parse(topic.text) {
        let is_item = matches!(block, Block::Item(_));
        let goes_on = text.is_empty() || is_item && after_item;
        if !goes_on {
            text.push('\n');
        }
        after_item = is_item;
        match block {
            Block::Heading(_, title) => text.push_str(&format!("{}\n", style.heading(&title))),
            Block::Paragraph(spans) => text.push_str(&wrap("", width, &plain(&spans))),
            Block::Item(spans) => {
                let lines = wrap("  ", width, &plain(&spans));
                text.push_str(&format!("- {}", lines.get(2..).unwrap_or_default()));
            }
            Block::Code(_, lines) => lines.lines().for_each(|line| {
                text.push_str(format!("    {line}").trim_end());
                text.push('\n');
            }),
            Block::Table(rows) => entries(&rows).for_each(|(term, meanings)| {
                text.push_str(&format!("  {term}\n"));
                meanings.iter().for_each(|meaning| text.push_str(&wrap("      ", width, meaning)));
            }),
        }
    }
    text
}

/// The rows of a table as terms and what is said of them. Of several columns each later one begins with its head.
fn entries(rows: &[Vec<Vec<Span>>]) -> impl Iterator<Item = (String, Vec<String>)> {
    let head: Vec<String> = rows.first().into_iter().flatten().map(|cell| plain(cell)).collect();
    rows.iter().skip(1).map(move |row| {
        let mut cells = row.iter().map(|cell| plain(cell));
        let term = cells.next().unwrap_or_default();
        let meanings: Vec<String> = match row.len() {
            0..=2 => cells.collect(),
            _ => head.iter().skip(1).zip(cells).map(|(head, cell)| format!("{head}: {cell}")).collect(),
        };
        (term, meanings)
    })
}

/// All topics as sections of a manual page.
pub fn sections(roff: &mut Roff) {
    for block in TOPICS.iter().flat_map(|topic| parse(topic.text)) {
        match block {
            Block::Heading(1, title) => _ = roff.control("SH", [title.to_uppercase().as_str()]),
            Block::Heading(_, title) => _ = roff.control("SS", [title.as_str()]),
            Block::Paragraph(spans) => {
                roff.control("PP", []);
                roff.text(inline(&spans));
            }
            Block::Item(spans) => {
                roff.control("IP", ["\\(bu", "2"]);
                roff.text(inline(&spans));
            }
            Block::Code(_, lines) => {
                roff.control("PP", []);
                roff.control("RS", ["4"]);
                roff.control("nf", []);
                lines.lines().for_each(|line| _ = roff.text([roman(line)]));
                roff.control("fi", []);
                roff.control("RE", []);
            }
            Block::Table(rows) => entries(&rows).for_each(|(term, meanings)| {
                roff.control("TP", []);
                roff.text([bold(term)]);
                for (place, meaning) in meanings.into_iter().enumerate() {
                    if place > 0 {
                        roff.control("br", []);
                    }
                    roff.text([roman(meaning)]);
                }
            }),
        }
    }
}

fn inline(spans: &[Span]) -> Vec<Inline> {
    spans
        .iter()
        .map(|span| match span {
            Span::Words(text) => roman(text.as_str()),
            Span::Strong(text) | Span::Code(text) => bold(text.as_str()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_has_its_name_and_fits_a_small_terminal() {
        for topic in TOPICS {
            let blocks = parse(topic.text);
            assert!(matches!(blocks.first(), Some(Block::Heading(1, _))), "{}", topic.word);
            let text = page(topic, Style::plain(), 80);
            let code: Vec<&str> = topic.text.lines().collect();
            for line in text.lines().filter(|line| line.chars().count() > 80) {
                let word = line.trim_start().split(' ').count() == 1;
                assert!(word || code.contains(&line.trim_start()) || line.starts_with("  "), "{}: {line}", topic.word);
            }
            assert!(2 + 8 + 2 + topic.summary.len() <= 80, "{}", topic.word);
        }
    }

    /// Commands in sentences and tables, which nobody types for a test as those in blocks are (`tests/docs`).
    #[test]
    fn a_command_within_a_sentence_is_understood() {
        let mut found = 0;
        for topic in TOPICS {
            let cells = parse(topic.text).into_iter().flat_map(|block| match block {
                Block::Paragraph(spans) | Block::Item(spans) => vec![spans],
                Block::Table(rows) => rows.into_iter().flatten().collect(),
                Block::Heading(..) | Block::Code(..) => Vec::new(),
            });
            let codes = cells.flatten().filter_map(|span| match span {
                Span::Code(text) if text.starts_with("zbridge ") => Some(text),
                _ => None,
            });
            for code in codes {
                // `…` is whatever may stand there: a port, a program.
                // What a shell does with its output is the shell's.
                let words = shlex::split(&code.replace(" …", " unix:/tmp/more")).unwrap_or_default();
                let words: Vec<String> =
                    words.into_iter().take_while(|word| ![">", "|"].contains(&word.as_str())).collect();
                if words.iter().any(|word| word.contains('…')) {
                    continue;
                }
                let words: Vec<_> = words.into_iter().map(Into::into).collect();
                let args = match crate::cli::read(&words) {
                    // The beginning of a command.
                    Err(error) if error.kind() == clap::error::ErrorKind::MissingRequiredArgument => continue,
                    read => read.unwrap_or_else(|error| panic!("{}: {code}: {error}", topic.word)),
                };
                let ports = match &args.command {
                    Some(crate::cli::Command::Run(run)) => &run.ports,
                    _ => &args.ports,
                };
                for port in ports {
                    assert!(crate::config::PortSpec::parse(port).is_ok(), "{}: {code}: {port}", topic.word);
                }
                found += 1;
            }
        }
        assert!(found > 20, "{found}");
    }

    #[test]
    fn tables_and_lists_are_laid_out() {
        let text = "# T\n\n- one two\n- three\n\n| a | b | c |\n|---|---|---|\n| `x` | y | z |\n";
        let topic = Topic { word: "t", summary: "", text };
        assert_eq!(page(&topic, Style::plain(), 10), "T\n\n- one two\n- three\n\n  x\n      b: y\n      c: z\n");
    }

    #[test]
    fn an_unknown_topic_names_the_nearest() {
        let error = help(Some("gatway"), Style::plain(), None).unwrap_err();
        assert_eq!(error.what(), "there is no topic \"gatway\"; the nearest is \"gateway\"");
        assert!(help(None, Style::plain(), None).unwrap().contains("trouble   what to do"));
    }
}
