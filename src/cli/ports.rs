//! The pages about port kinds: `zbridge ports`, and the table in the README.

use super::help::command;
use super::style::{Style, page_width};
use crate::config::text::{meanings, wrap};
use crate::config::{COMMON, Choices, KINDS, KeyRow, KindRow, SWITCH_KEYS, TRANSPORTS, find};
use crate::error::Result;

const GRAMMAR: &str = "TYPE:TARGET[,key[=value]]...\n    ',,' is a literal comma, a bare key means on";

/// The page about one kind, or about all, no wider than `width`; without one, a key is one line.
///
/// # Errors
/// There is no such kind; the error names the nearest.
pub fn page(kind: Option<&str>, style: Style, width: Option<usize>) -> Result<String> {
    let shown = match kind {
        Some(word) => vec![find(word)?],
        None => KINDS.to_vec(),
    };
    let mut text = format!("{} {GRAMMAR}\n\n", style.heading("A port is"));
    for row in &shown {
        text.push_str(&section(row, style, width));
        text.push('\n');
    }
    if shown.iter().any(|row| row.target == "TRANSPORT") {
        text.push_str(&format!("{}\n{}\n", style.heading("A TRANSPORT is one of"), transports(width)));
    }
    text.push_str(&format!(
        "{}\n{}",
        style.heading("Keys of every port (*: `zbridge set` changes it while the port is there)"),
        keys(COMMON, width)
    ));
    if kind.is_none() {
        let head = style.heading("A switch is");
        text.push_str(&format!(
            "\n{head} NAME[,key=value]..., and only needed to change its settings\n{}",
            keys(SWITCH_KEYS, width)
        ));
    }
    Ok(text)
}

/// Form and summary, the note, the keys, the example.
fn section(row: &KindRow, style: Style, width: Option<usize>) -> String {
    let head = format!("{}  {}\n", style.heading(&row.form()), row.summary);
    let note = wrap("    ", page_width(width), row.note);
    let example = format!("    {} {}\n", style.faint("$"), command(row.example));
    let choices = row.choices.map(|table| choices(table, style, width)).unwrap_or_default();
    format!("{head}{note}{}{example}{choices}", keys(row.keys, width))
}

/// What the values of a key can be: each with its summary, its keys and an example, and the keys that all have.
fn choices(table: &Choices, style: Style, width: Option<usize>) -> String {
    let mut text = String::new();
    for row in table.rows {
        let head = style.heading(&format!("{}={}", table.key, row.word));
        let example = format!("      {}  {}={}\n", style.faint("as"), table.key, row.example);
        text.push_str(&format!("  {head}  {}\n{}{example}", row.summary, indented(row.keys, width)));
    }
    text.push_str(&format!("  {}\n", style.heading(&format!("Keys of every {}", table.key))));
    text + &indented(table.common, width)
}

fn indented(rows: &[KeyRow], width: Option<usize>) -> String {
    meanings("      ", width, &rows.iter().map(|row| [row.form(), summary(row)]).collect::<Vec<_>>())
}

fn keys(rows: &[KeyRow], width: Option<usize>) -> String {
    meanings("    ", width, &rows.iter().map(|row| [row.form(), summary(row)]).collect::<Vec<_>>())
}

/// Form and summary of every transport of a serial line.
fn transports(width: Option<usize>) -> String {
    meanings("    ", width, &TRANSPORTS.iter().map(|row| [row.form(), row.summary.to_owned()]).collect::<Vec<_>>())
}

fn summary(row: &KeyRow) -> String {
    let again = if row.repeatable { " (may be given often)" } else { "" };
    let live = if row.live { " *" } else { "" };
    format!("{}{again}{live}", row.summary)
}

/// The port kinds as a table in Markdown, and the common keys below it.
pub fn markdown() -> String {
    let mut text = "| port | what it is | example |\n|---|---|---|\n".to_owned();
    for row in KINDS {
        let cells = [code(&row.form()), row.summary.to_owned(), code(row.example)];
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', r"\|")).collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    let live: Vec<KeyRow> = COMMON.iter().filter(|row| row.live).copied().collect();
    let (all, live) = (codes(COMMON), live.iter().map(|row| code(row.word)).collect::<Vec<_>>().join(", "));
    text.push_str(&format!("\nEvery port also takes {all}. While it is there `zbridge set` changes {live}.\n"));
    text
}

fn codes(rows: &[KeyRow]) -> String {
    rows.iter().map(|row| code(&row.form())).collect::<Vec<_>>().join(", ")
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_kind_and_key() {
        let text = page(None, Style::plain(), None).unwrap();
        for row in KINDS {
            assert!(text.contains(&format!("{}  {}", row.form(), row.summary)), "{}", row.word);
            assert!(text.contains(&command(row.example)), "{}", row.word);
        }
        for table in KINDS.iter().filter_map(|row| row.choices) {
            for row in table.rows {
                assert!(text.contains(row.summary) && text.contains(row.example), "{}", row.word);
            }
            for key in table.rows.iter().flat_map(|row| row.keys).chain(table.common) {
                assert!(text.contains(&key.form()) && text.contains(key.summary), "{}", key.word);
            }
        }
        for key in KINDS.iter().flat_map(|row| row.keys).chain(COMMON).chain(SWITCH_KEYS) {
            assert!(text.contains(&key.form()) && text.contains(key.summary), "{}", key.word);
        }
        for row in TRANSPORTS {
            assert!(text.contains(&row.form()) && text.contains(row.summary), "{}", row.word);
        }
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn one_kind_has_its_own_page() {
        let text = page(Some("tap"), Style::plain(), None).unwrap();
        assert!(text.contains("tap:NAME  ") && text.contains("addr=CIDR") && text.contains("learn=on|off"));
        assert!(!text.contains("unix:PATH") && !text.contains("ageing"));
        assert!(page(Some("uinx"), Style::plain(), None).unwrap_err().what().contains("nearest is \"unix\""));
    }

    #[test]
    fn the_markdown_table_has_three_cells_in_each_row() {
        let text = markdown();
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(rows.len(), KINDS.len() + 2);
        for row in rows {
            assert_eq!(row.replace(r"\|", "").matches('|').count(), 4, "{row}");
        }
    }
}
