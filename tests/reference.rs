//! The reference of the control socket's JSON (`zbridge help json`) is made of the types that are sent, and a test compares
//! it. After a change of the types, `ZBRIDGE_WRITE=1 cargo test --test reference` writes it anew.
//!
//! It reads the source as text, as rustfmt has laid it out: a struct's or variant's comment says what it is, a field's what
//! that is.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const HEAD: &str = "\
# The control socket's JSON

Every bridge has a UNIX socket, `$XDG_RUNTIME_DIR/zbridge/NAME.sock` (`/run/zbridge` for root), that speaks lines of JSON
([bridge](bridge.md)). It greets first, with a `Greeting`, whose `zbridge` is the version of all this. A request is an object
with `command`, the fields of that command, and an `id` of the asker's, which comes back in the answer; each is 64 KiB at
most. An answer has `ok`, with what stands below, or `error` with `class`, `what` and perhaps `hint`. Fields may be added
without another version: what is not known is to be ignored. A field of type `T?` may be missing; `Lifetime` is `bridge` or
`connection`, and `…` stands for the fields of the type beside it.

";

/// A field, or a variant without its fields.
struct Named {
    name: String,
    kind: String,
    what: String,
}

/// A struct, or a variant of the commands.
struct Object {
    name: String,
    what: String,
    fields: Vec<Named>,
}

/// A comment as a sentence of the page: links are names.
fn sentence(comment: &str) -> String {
    let mut text = String::new();
    let mut rest = comment;
    while let Some((before, behind)) = rest.split_once("[`") {
        let Some((name, tail)) = behind.split_once("`]") else { break };
        let tail = if tail.starts_with('(') { tail.split_once(')').map_or("", |(_, tail)| tail) } else { tail };
        let name = name.rsplit("::").next().unwrap_or(name);
        let _ = write!(text, "{before}`{name}`");
        rest = tail;
    }
    (text + rest).replace('|', "\\|")
}

/// What a type is in JSON.
fn json(kind: &str) -> String {
    let inner = |prefix: &str| kind.strip_prefix(prefix).and_then(|rest| rest.strip_suffix('>'));
    if let Some(inner) = inner("Option<") {
        return format!("{}?", json(inner));
    }
    if let Some(inner) = inner("Vec<") {
        return format!("[{}]", json(inner));
    }
    if let Some((_, value)) = inner("BTreeMap<").and_then(|inner| inner.split_once(", ")) {
        return format!("object of {}", json(value));
    }
    match kind {
        "String" | "IpAddr" | "Ipv4Addr" | "SocketAddr" => "string",
        "bool" => "bool",
        "u8" | "u16" | "u32" | "u64" | "i32" | "i64" | "f64" | "usize" => "number",
        other => other.rsplit("::").next().unwrap_or(other),
    }
    .to_owned()
}

fn kebab(name: &str) -> String {
    let mut text = String::new();
    for char in name.chars() {
        if char.is_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.extend(char.to_lowercase());
    }
    text
}

/// The objects whose heads `begins` tells, with fields that are `indent` deep.
fn objects(text: &str, indent: &str, begins: fn(&str) -> Option<String>) -> Vec<Object> {
    let mut all: Vec<Object> = Vec::new();
    let (mut comment, mut renamed, mut flat, mut optional) = (String::new(), None, false, false);
    let mut inside = false;
    for line in text.lines() {
        let bare = line.trim();
        if let Some(said) = bare.strip_prefix("///") {
            comment = format!("{comment} {}", said.trim()).trim().to_owned();
        } else if let Some(attribute) = bare.strip_prefix("#[serde(") {
            renamed = attribute.strip_prefix("rename = \"").and_then(|rest| rest.split('"').next()).map(str::to_owned);
            flat |= attribute.starts_with("flatten");
            // What has a default may be left out of a request; of an answer, only what is not always sent.
            let may_lack = if indent.len() > 4 { "default" } else { "skip_serializing_if" };
            optional |= attribute.contains(may_lack);
        } else if bare.starts_with("#[") || bare.starts_with("//") {
        } else if let Some(name) = begins(line) {
            let what = sentence(&std::mem::take(&mut comment));
            inside = line.ends_with('{');
            all.push(Object { name, what, fields: Vec::new() });
            (renamed, flat, optional) = (None, false, false);
        } else if inside
            && let Some(field) = line.strip_prefix(indent).filter(|field| !field.starts_with(' '))
            && let Some((name, kind)) = field.trim_end_matches(',').split_once(": ")
            && let Some(object) = all.last_mut()
        {
            let name = renamed.take().unwrap_or_else(|| name.trim_start_matches("pub ").to_owned());
            let kind = json(kind);
            let kind = if optional && !kind.ends_with('?') { format!("{kind}?") } else { kind };
            let name = if flat { "…".to_owned() } else { name };
            object.fields.push(Named { name, kind, what: sentence(&std::mem::take(&mut comment)) });
            (flat, optional) = (false, false);
        } else {
            inside &= bare != "}" && bare != "},";
            comment.clear();
        }
    }
    all
}

fn structs(text: &str) -> Vec<Object> {
    objects(text, "    ", |line| Some(line.strip_prefix("pub struct ")?.strip_suffix(" {")?.to_owned()))
}

fn commands(text: &str) -> Vec<Object> {
    let (_, behind) = text.split_once("pub enum Command {\n").expect("the commands");
    let (body, _) = behind.split_once("\n}\n").expect("their end");
    objects(body, "        ", |line| {
        let name = line.strip_prefix("    ").filter(|line| line.starts_with(char::is_uppercase))?;
        let name = name.strip_suffix(" {").or_else(|| name.strip_suffix(','))?;
        Some(kebab(name))
    })
}

fn table(out: &mut String, object: &Object) {
    if !object.fields.is_empty() {
        out.push_str("\n| field | is | what |\n|---|---|---|\n");
    }
    for Named { name, kind, what } in &object.fields {
        let _ = writeln!(out, "| `{name}` | {kind} | {what} |");
    }
}

/// The files of the words that are sent.
fn sources() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/control");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/capture/wish.rs"));
    files.sort();
    files
}

fn page() -> String {
    let read = |path: &PathBuf| fs::read_to_string(path).unwrap();
    let request = sources().into_iter().find(|path| path.ends_with("request.rs")).expect("the requests");
    let commands = commands(&read(&request));
    let mut out = format!("{HEAD}## Requests\n");
    for command in &commands {
        let _ = write!(out, "\n### {}\n\n{}\n", command.name, command.what);
        table(&mut out, command);
    }
    out.push_str("\n## What is answered\n");
    let inner = ["Reply", "Failure", "Request", "BadRequest", "Lines", "TooLong"];
    let all = sources().iter().flat_map(|path| structs(&read(path))).collect::<Vec<_>>();
    let mut sent: Vec<&Object> = all
        .iter()
        .filter(|it| !inner.contains(&it.name.as_str()) && !it.name.contains('<') && !it.fields.is_empty())
        .collect();
    sent.sort_by(|a, b| a.name.cmp(&b.name));
    for object in sent {
        let _ = write!(out, "\n### {}\n\n{}\n", object.name, object.what);
        table(&mut out, object);
    }
    out
}

#[test]
fn the_reference_is_made_of_the_types() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/topics/json.md");
    let page = page();
    if std::env::var_os("ZBRIDGE_WRITE").is_some() {
        fs::write(&file, &page).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    let differs = page.lines().zip(written.lines()).find(|(now, was)| now != was);
    assert!(page == written, "ZBRIDGE_WRITE=1 cargo test --test reference writes it anew: {differs:?}");
}

#[test]
fn types_are_said_as_json_has_them() {
    for (kind, said) in [
        ("Option<String>", "string?"),
        ("Vec<IpAddr>", "[string]"),
        ("BTreeMap<String, BTreeMap<String, u64>>", "object of object of number"),
        ("Option<Cursor>", "Cursor?"),
    ] {
        assert_eq!(json(kind), said);
    }
    assert_eq!(kebab("PortAdd"), "port-add");
    assert_eq!(sentence("Answered with an [`FdbPage`](super::FdbPage)."), "Answered with an `FdbPage`.");
    let text = "/// A thing.\npub struct Thing {\n    /// Its name.\n    #[serde(rename = \"id\")]\n    pub name: String,\n}\n";
    let found = structs(text);
    assert_eq!((found[0].name.as_str(), found[0].what.as_str()), ("Thing", "A thing."));
    assert_eq!((found[0].fields[0].name.as_str(), found[0].fields[0].kind.as_str()), ("id", "string"));
}
