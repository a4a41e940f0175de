//! The plan of the building, checked: imports point downwards only, `unsafe` stays in one room, files keep their size
//! and say what they are for, and nothing is left open.
//!
//! It reads the source as text. [`code_only`] blanks comments and literals, [`tokens`] cuts what is left into words
//! and signs, and [`uses`] finds every path from the crate's root in them, in `use` groups and in code alike, those
//! among them that begin with `super`. The house has a plan, and so may a room. Each rule is a function from a file to its
//! [`Breach`]es, so the rules have tests too.

mod plan;

use plan::{PLANS, Plan, Room};
use std::fmt;
use std::fs;
use std::path::Path;

/// The only part of the library that may hold `unsafe`.
const UNSAFE_ROOM: &str = "src/port/sys";

/// A file over the first should be split, a file over the second must be.
const LINES: (usize, usize) = (500, 600);

/// A rule broken in a place.
#[derive(PartialEq, Eq, Debug)]
struct Breach {
    path: String,
    line: usize,
    what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// A source file: its path in the repository and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn breach(&self, line: usize, what: impl Into<String>) -> Breach {
        Breach { path: self.path.clone(), line, what: what.into() }
    }

    /// The module path of a file of the library, without the crate: `src/port/tap.rs` is port, tap. The crate's own
    /// two roots have none.
    fn modules(&self) -> Vec<&str> {
        let Some(rest) = self.path.strip_prefix("src/").and_then(|rest| rest.strip_suffix(".rs")) else {
            return Vec::new();
        };
        let mut parts: Vec<_> = rest.split('/').collect();
        if matches!(parts.as_slice(), [.., "mod"] | ["lib" | "main"]) {
            parts.pop();
        }
        parts
    }
}

/// `text` with comments, strings and characters replaced by spaces; lines stay where they are.
fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word_before = code.ends_with(|last: char| last.is_alphanumeric() || last == '_');
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => quoted(rest, '"'),
            'r' | 'b' | 'c' if !word_before => raw_string(rest).unwrap_or(0),
            // a lifetime has no second quote
            '\'' if rest.starts_with("'\\") || rest.chars().nth(2) == Some('\'') => quoted(rest, '\''),
            _ => 0,
        };
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().map(|blanked| if blanked == '\n' { '\n' } else { ' ' }));
            rest = &rest[length..];
        }
    }
    code
}

/// The length of a literal between `quote`s, escapes minded.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, sign) in text.char_indices().skip(1) {
        match sign {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if sign == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a block comment, which may hold others.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        match text.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// The length of a raw string, if `text` begins with one.
fn raw_string(text: &str) -> Option<usize> {
    let (prefix, _) = text.split_once('"')?;
    let hashes = prefix.trim_start_matches(['b', 'c']).strip_prefix('r')?;
    hashes.chars().all(|sign| sign == '#').then_some(())?;
    let end = format!("\"{hashes}");
    let start = prefix.len() + 1;
    Some(text[start..].find(&end).map_or(text.len(), |at| start + at + end.len()))
}

/// A word or one sign, and its line counted from 1.
#[derive(Clone, Copy)]
struct Token<'a> {
    line: usize,
    text: &'a str,
}

/// Cuts code into tokens; `::` is one.
fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while !rest.is_empty() {
            let word = rest.find(|sign: char| !sign.is_alphanumeric() && sign != '_').unwrap_or(rest.len());
            let length = match word {
                0 if rest.starts_with("::") => 2,
                0 => rest.chars().next().map_or(0, char::len_utf8),
                _ => word,
            };
            found.push(Token { line: number + 1, text: &rest[..length] });
            rest = rest[length..].trim_start();
        }
    }
    found
}

/// Every path that leads from the crate's root to something used in a file whose module path is `modules`: `crate::a::b`
/// and `crate::c` of `use crate::{a::b, c}`, and what a `super` leads to. Each is the names behind `crate`.
fn uses<'a>(tokens: &[Token<'a>], modules: &[&'a str]) -> Vec<Vec<Token<'a>>> {
    let texts: Vec<_> = tokens.iter().map(|token| token.text).collect();
    let mut found = Vec::new();
    // the brace depths at which inline modules began, and these modules behind those of the file
    let mut inline = Vec::new();
    let mut here = modules.to_vec();
    let mut braces = 0_usize;
    let mut at = 0;
    while at < tokens.len() {
        let rest = &texts[at..];
        match rest {
            ["mod", name, "{", ..] => {
                inline.push(braces);
                here.push(name);
            }
            ["{", ..] => braces += 1,
            ["}", ..] => {
                braces = braces.saturating_sub(1);
                if inline.pop_if(|began| *began == braces).is_some() {
                    here.pop();
                }
            }
            ["crate", "::", ..] => {
                spread(&tokens[at + 2..], Vec::new(), &mut found);
            }
            ["super", "::", ..] => {
                let climbs = rest.chunks(2).take_while(|pair| *pair == ["super", "::"]).count();
                let line = tokens[at].line;
                let above = here[..here.len().saturating_sub(climbs)].iter();
                let above = above.map(|text| Token { line, text }).collect();
                spread(&tokens[at + 2 * climbs..], above, &mut found);
                at += 2 * climbs - 1;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Follows a path, or a group of paths, that begins behind `above`. Returns how many tokens it has.
fn spread<'a>(tokens: &[Token<'a>], mut above: Vec<Token<'a>>, found: &mut Vec<Vec<Token<'a>>>) -> usize {
    let Some(first) = tokens.first() else { return 0 };
    if first.text != "{" {
        above.push(*first);
        if tokens.get(1).is_some_and(|token| token.text == "::") {
            return 2 + spread(&tokens[2..], above, found);
        }
        found.push(above);
        return 1;
    }
    let mut at = 1;
    while let Some(token) = tokens.get(at) {
        match token.text {
            "}" => return at + 1,
            // the other name of what was imported
            "as" => at += 2,
            "," => at += 1,
            _ => at += spread(&tokens[at..], above.clone(), found),
        }
    }
    at
}

/// The library's files use only rooms that their own may use, in the house and in a room that has a plan of its own.
fn imports(source: &Source) -> Vec<Breach> {
    let modules = source.modules();
    let code = code_only(&source.text);
    let uses = uses(&tokens(&code), &modules);
    PLANS.iter().flat_map(|plan| strays(plan, source, &modules, &uses)).collect()
}

/// What a file uses that `plan` does not allow.
fn strays(plan: &Plan, source: &Source, modules: &[&str], uses: &[Vec<Token<'_>>]) -> Vec<Breach> {
    let Some([name, ..]) = modules.strip_prefix(plan.of) else { return Vec::new() };
    let Some(room) = plan.find(name) else {
        let advice = "add a row to its plan in tests/architecture/plan.rs, above every room that will use it";
        return vec![source.breach(1, format!("the room `{name}` is not in the plan: {advice}"))];
    };
    let mut found = Vec::new();
    for path in uses {
        let depth = plan.of.len();
        if !path.iter().map(|token| token.text).take(depth).eq(plan.of.iter().copied()) {
            continue;
        }
        // the plan's own root, where there is nothing behind it
        let Some(used) = path.get(depth).or(path.last()) else { continue };
        let breach = source.breach(used.line, refusal(plan, room, used.text));
        if used.text != *name && !plan.allows(room, used.text) && !found.contains(&breach) {
            found.push(breach);
        }
    }
    found
}

fn refusal(plan: &Plan, room: &Room, used: &str) -> String {
    if plan.find(used).is_none() {
        let within: String = plan.of.iter().map(|name| format!("{name}::")).collect();
        return format!("`{used}` is no room: name the room it comes from (crate::{within}room::{used})");
    }
    let allowed = match room.may_use {
        [] => "no other room".to_owned(),
        rooms => rooms.join(", "),
    };
    let advice = "move what is shared down, or change the plan in tests/architecture/plan.rs with the reason";
    format!("`{}` may not use `{used}`: imports point downwards only ({allowed}); {advice}", room.name)
}

/// Only the room of system calls holds `unsafe`.
fn unsafety(source: &Source) -> Vec<Breach> {
    let inside = source.path.strip_prefix(UNSAFE_ROOM).is_some_and(|rest| rest.starts_with(['/', '.']));
    if inside || !source.path.starts_with("src/") {
        return Vec::new();
    }
    let code = code_only(&source.text);
    let found = tokens(&code).into_iter().filter(|token| token.text == "unsafe");
    found.map(|token| source.breach(token.line, format!("unsafe belongs in {UNSAFE_ROOM} only"))).collect()
}

/// A file says at its top what it is for.
fn head(source: &Source) -> Vec<Breach> {
    if source.text.starts_with("//! ") {
        return Vec::new();
    }
    vec![source.breach(1, "the first line must say what the file is for (`//! …`)")]
}

/// A file is short enough to be read in one go.
fn length(source: &Source) -> Vec<Breach> {
    let lines = source.text.lines().count();
    let (wanted, most) = LINES;
    if lines > most {
        return vec![source.breach(most, format!("{lines} lines: split it (at most {most}, better {wanted})"))];
    }
    if lines > wanted {
        println!("{}: {lines} lines; think of splitting it (over {wanted})", source.path);
    }
    Vec::new()
}

/// Nothing is left open, switched off or silenced.
fn leftovers(source: &Source) -> Vec<Breach> {
    let mut found = Vec::new();
    // comments are searched too; the words are put together here so that this file does not break its own rule
    let markers = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    for (line, text) in (1..).zip(source.text.lines()) {
        let mut words = text.split(|sign: char| !sign.is_alphanumeric());
        if let Some(word) = words.find(|word| markers.contains(word)) {
            found.push(source.breach(line, format!("{word}: do it now, or write an issue")));
        }
    }
    let code = code_only(&source.text);
    let tokens = tokens(&code);
    let texts: Vec<_> = tokens.iter().map(|token| token.text).collect();
    for (at, token) in tokens.iter().enumerate() {
        let what = match texts[at..] {
            ["todo" | "unimplemented", "!", ..] => "a stub: write it, or leave it out",
            ["[", "ignore", ..] => "a test that never runs shows nothing: mend it, or remove it",
            ["(", "dead_code", ..] => "dead code: remove it",
            _ => continue,
        };
        found.push(source.breach(token.line, what));
    }
    found
}

/// Every Rust file of the repository.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches", "examples"] {
        collect(root, &root.join(folder), &mut files);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.expect("a folder that can be read").path()) {
        if path.is_dir() {
            collect(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("source is UTF-8");
            let path = path.strip_prefix(root).expect("below the root").display().to_string();
            files.push(Source { path, text });
        }
    }
}

/// Applies a rule to every file and fails with all breaches at once.
fn check(rule: fn(&Source) -> Vec<Breach>) {
    let sources = sources();
    assert!(sources.iter().any(|source| source.path == "src/lib.rs"), "the source was found");
    let breaches: Vec<_> = sources.iter().flat_map(rule).map(|breach| breach.to_string()).collect();
    assert!(breaches.is_empty(), "{} breaches:\n{}", breaches.len(), breaches.join("\n"));
}

#[test]
fn imports_point_downwards() {
    check(imports);
}

#[test]
fn unsafe_stays_in_its_room() {
    check(unsafety);
}

#[test]
fn files_say_what_they_are_for() {
    check(head);
}

#[test]
fn files_are_short() {
    check(length);
}

#[test]
fn nothing_is_left_open() {
    check(leftovers);
}

#[test]
fn the_plan_has_no_way_up() {
    for Plan { rooms, ground, .. } in PLANS {
        for (row, room) in rooms.iter().enumerate() {
            let below = |name: &&&str| rooms[..row].iter().any(|lower| lower.name == **name);
            let named = room.may_use.iter().filter(|name| **name != "ground");
            let all: &[&str] = if room.may_use.contains(&"ground") { ground } else { &[] };
            let above: Vec<_> = named.chain(all).filter(|name| !below(name)).collect();
            assert!(above.is_empty(), "`{}` may use {above:?}, which is not below it", room.name);
        }
    }
}

/// The lines on which a rule finds breaches in `text`.
fn lines(rule: fn(&Source) -> Vec<Breach>, path: &str, text: &str) -> Vec<usize> {
    rule(&Source { path: path.to_owned(), text: text.to_owned() }).into_iter().map(|breach| breach.line).collect()
}

#[test]
fn breaches_of_the_plan_are_found() {
    let found = |path, text| lines(imports, path, text);
    assert_eq!(found("src/port/tap.rs", "use crate::switch::Fdb;"), [1]);
    assert_eq!(found("src/port/tap.rs", "use crate::{\n  frame::{View, Tag},\n  engine,\n};"), [3]);
    assert_eq!(found("src/port/tap.rs", "fn f() {\n  crate::switch::g();\n}"), [2]);
    assert_eq!(found("src/wire/mod.rs", "use super::codec;"), [1]);
    assert_eq!(found("src/wire/tag.rs", "use super::codec;\nuse super::super::codec;"), [2]);
    assert_eq!(found("src/wire/tag.rs", "mod tests { use super::super::x; }\nuse super::super::codec;"), [2]);
    assert_eq!(found("src/attic.rs", ""), [1]);
    assert_eq!(found("src/port/tap.rs", "use crate::Error;"), [1]);
    assert_eq!(found("src/port/tap.rs", "use crate::*;"), [1]);
}

#[test]
fn breaches_of_the_plan_of_services_are_found() {
    let found = |path, text| lines(imports, path, text);
    assert_eq!(found("src/service/lan/dns.rs", "use crate::service::nat::Nat;"), [1]);
    assert_eq!(found("src/service/lan/dns.rs", "use crate::service::{\n  lan::who,\n  nat::{Nat, Flows},\n};"), [3]);
    assert_eq!(found("src/service/lan/dns.rs", "use super::super::nat;\nuse super::tftp;"), [1]);
    assert_eq!(found("src/service/lan.rs", "mod tests {\n  use super::super::nat;\n}\nuse super::nat;"), [2, 4]);
    assert_eq!(found("src/service/endpoint.rs", "fn f() {\n  crate::service::lan::name::wire(x);\n}"), [2]);
    assert_eq!(found("src/service/usbip/line.rs", "use crate::{time, service::lan::{dns}};"), [1]);
    assert_eq!(found("src/service/cellar.rs", ""), [1]);
    // by the root, which knows everybody
    assert_eq!(found("src/service/nat/mod.rs", "use crate::service::Station;\nuse super::*;"), [1, 2]);
    assert_eq!(found("src/service/nat/mod.rs", "use crate::service;"), [1]);
    // two plans, each with its own
    assert_eq!(found("src/service/lan/dns.rs", "use crate::switch;\nuse crate::service::usbip;"), [1, 2]);
}

#[test]
fn what_the_plan_of_services_allows_passes() {
    let found = |path, text| lines(imports, path, text);
    assert_eq!(found("src/service/mod.rs", "pub mod nat;\nuse crate::service::nat::Nat;\nuse usbip::UsbipPort;"), []);
    assert_eq!(found("src/service/nat/tcp/mod.rs", "use crate::service::{nat as gate, endpoint::{self, Event}};"), []);
    assert_eq!(found("src/service/nat/tcp/mod.rs", "use super::super::lan::tftp;\nuse super::wire;"), []);
    assert_eq!(found("src/service/nat/tcp/flow.rs", "pub(in crate::service::nat) struct Key;"), []);
    assert_eq!(found("src/port/channel.rs", "use crate::service::{Ingress, report::Report};"), []);
}

#[test]
fn what_the_plan_allows_passes() {
    let found = |path, text| lines(imports, path, text);
    assert_eq!(found("src/port/tap.rs", "use crate::{port::sys, frame::View};\nuse super::sys;"), []);
    assert_eq!(found("src/port/tap.rs", "pub(crate) fn f() {}"), []);
    assert_eq!(found("src/error.rs", "mod tests { use super::*; }"), []);
    let unseen = "//! [`crate::switch`]\n/* crate::engine /* */ crate::cli */\nlet s = \"crate::switch\";";
    assert_eq!(found("src/port/tap.rs", unseen), []);
    assert_eq!(found("src/port/tap.rs", "let s = (r#\"\"crate::switch\"#, '\"', b'\\'', \"\\\"crate::cli\");"), []);
    assert_eq!(found("src/port/tap.rs", "fn f<'a>(x: &'a str) {}\nuse crate::switch;"), [2]);
    assert_eq!(found("src/lib.rs", "pub use crate::engine::Engine;"), []);
    assert_eq!(found("src/main.rs", "use zbridge::cli;"), []);
}

#[test]
fn breaches_of_the_other_rules_are_found() {
    let unsafe_text = "#![deny(unsafe_code)]\n// unsafe\nunsafe fn f() {}";
    assert_eq!(lines(unsafety, "src/port/tap.rs", unsafe_text), [3]);
    assert_eq!(lines(unsafety, "src/port/system.rs", unsafe_text), [3]);
    assert_eq!(lines(unsafety, "src/port/sys/tun.rs", unsafe_text), []);
    assert_eq!(lines(unsafety, "src/port/sys.rs", unsafe_text), []);

    assert_eq!(lines(head, "src/x.rs", "//! What.\n"), []);
    assert_eq!(lines(head, "src/x.rs", "use a;\n//! What.\n"), [1]);
    assert_eq!(lines(length, "src/x.rs", &"\n".repeat(LINES.1)), []);
    assert_eq!(lines(length, "src/x.rs", &"\n".repeat(LINES.1 + 1)), [LINES.1]);

    let marker = concat!("// TO", "DO: later\n\"a.XX", "XXXX\"");
    assert_eq!(lines(leftovers, "src/x.rs", marker), [1]);
    let silenced = "#[ignore = \"slow\"]\n#[allow(dead_code)]\nfn f() {\n  todo!()\n}\nfn ignore(todo: u8) {}";
    assert_eq!(lines(leftovers, "src/x.rs", silenced), [1, 2, 4]);
}
