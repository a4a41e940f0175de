//! Lines of a script, and the reports that they become.
//!
//! Keyboard: `type=TEXT` presses and releases a key for each character (US layout; `\n`, `\t` and `\\` are escapes);
//! `key=ctrl+alt+delete` presses keys together (`plus` is the character `+`). Mouse: `move=10,-5`, `wheel=-1`, `click=left`, `press=left`,
//! `release=left`. Empty lines and lines that begin with `#` do nothing.

use super::Kind;

/// Why a line was not done. Nothing of it was.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// No such word, or not for this device.
    #[error("{0:?} is not a line for this device")]
    Line(String),
    /// A character without a key on a US keyboard.
    #[error("no key types {0:?}")]
    Character(char),
    /// A name of no key.
    #[error("no key is called {0:?}")]
    Key(String),
    /// A name of no button.
    #[error("no button is called {0:?} (left, right, middle)")]
    Button(String),
    /// Not a number of this range.
    #[error("{0:?} is not a number from -32767 to 32767")]
    Number(String),
    /// More reports wait for the host than are kept.
    #[error("too many reports wait for the host")]
    Full,
}

/// An input report, as long as [`Kind::report_length`].
pub(super) type Report = Vec<u8>;

/// The modifiers, bits of the first byte of a keyboard's report (HID Usage Tables 1.12, page 7, 0xe0 to 0xe7).
const MODIFIERS: [(&str, u8); 8] = [
    ("ctrl", 0x01),
    ("shift", 0x02),
    ("alt", 0x04),
    ("meta", 0x08),
    ("rightctrl", 0x10),
    ("rightshift", 0x20),
    ("altgr", 0x40),
    ("rightmeta", 0x80),
];
const SHIFT: u8 = 0x02;

/// Named keys (HID Usage Tables 1.12, page 7).
const KEYS: [(&str, u8); 30] = [
    ("enter", 0x28),
    ("esc", 0x29),
    ("backspace", 0x2a),
    ("tab", 0x2b),
    ("space", 0x2c),
    ("capslock", 0x39),
    ("f1", 0x3a),
    ("f2", 0x3b),
    ("f3", 0x3c),
    ("f4", 0x3d),
    ("f5", 0x3e),
    ("f6", 0x3f),
    ("f7", 0x40),
    ("f8", 0x41),
    ("f9", 0x42),
    ("f10", 0x43),
    ("f11", 0x44),
    ("f12", 0x45),
    ("scrolllock", 0x47),
    ("insert", 0x49),
    ("home", 0x4a),
    ("pageup", 0x4b),
    ("delete", 0x4c),
    ("end", 0x4d),
    ("pagedown", 0x4e),
    ("right", 0x4f),
    ("left", 0x50),
    ("down", 0x51),
    ("up", 0x52),
    ("numlock", 0x53),
];

/// The characters of usages 0x1e to 0x38, without and with shift. 0x28 to 0x2b have names, 0x32 is not on a US keyboard.
const PLAIN: &str = "1234567890\n\x1b\x08\t -=[]\\\x00;'`,./";
const SHIFTED: &str = "!@#$%^&*()\x00\x00\x00\x00\x00_+{}|\x00:\"~<>?";

/// The key of the character that stands between the keys of a chord.
const PLUS: &str = "plus";

const BUTTONS: [(&str, u8); 3] = [("left", 1), ("right", 2), ("middle", 4)];

/// The reports of one line. `buttons` are the mouse buttons that are down, before and after.
pub(super) fn reports(kind: Kind, line: &str, buttons: &mut u8) -> Result<Vec<Report>, ScriptError> {
    let line = line.trim_end_matches(['\r', '\n']);
    if line.is_empty() || line.starts_with('#') {
        return Ok(Vec::new());
    }
    let unknown = || ScriptError::Line(line.to_owned());
    let (word, value) = line.split_once('=').ok_or_else(unknown)?;
    match (kind, word) {
        (Kind::Keyboard, "type") => type_text(value),
        (Kind::Keyboard, "key") => chord(value),
        (Kind::Mouse, "move") => {
            let (x, y) = value.split_once(',').ok_or_else(|| ScriptError::Number(value.to_owned()))?;
            Ok(travel(*buttons, number(x)?, number(y)?, 0))
        }
        (Kind::Mouse, "wheel") => Ok(travel(*buttons, 0, 0, number(value)?)),
        (Kind::Mouse, "click") => {
            let bit = button(value)?;
            Ok(vec![vec![*buttons | bit, 0, 0, 0], vec![*buttons & !bit, 0, 0, 0]])
        }
        (Kind::Mouse, "press" | "release") => {
            let bit = button(value)?;
            *buttons = if word == "press" { *buttons | bit } else { *buttons & !bit };
            Ok(vec![vec![*buttons, 0, 0, 0]])
        }
        _ => Err(unknown()),
    }
}

/// A keyboard's report: modifiers, and at most six keys.
fn keys(modifiers: u8, keys: &[u8]) -> Report {
    let mut report = vec![modifiers, 0];
    report.extend_from_slice(keys);
    report.resize(8, 0);
    report
}

/// Modifiers go down in a report before the keys, and up in one behind them, as they do on a keyboard: some hosts judge a
/// key by the modifiers of the report before.
fn type_text(text: &str) -> Result<Vec<Report>, ScriptError> {
    let mut reports = Vec::new();
    let mut down = 0;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let character = match character {
            '\\' => match characters.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('\\') => '\\',
                other => return Err(ScriptError::Character(other.unwrap_or('\\'))),
            },
            other => other,
        };
        let (modifiers, usage) = key_of(character).ok_or(ScriptError::Character(character))?;
        if modifiers != down {
            reports.push(keys(modifiers, &[]));
            down = modifiers;
        }
        reports.extend([keys(down, &[usage]), keys(down, &[])]);
    }
    if down != 0 {
        reports.push(keys(0, &[]));
    }
    Ok(reports)
}

/// The modifiers and the usage that type a character.
fn key_of(character: char) -> Option<(u8, u8)> {
    let found = |table: &str| table.chars().position(|it| it == character && it != '\0').map(|at| 0x1e + at as u8);
    match character {
        'a'..='z' => Some((0, 4 + (character as u8 - b'a'))),
        'A'..='Z' => Some((SHIFT, 4 + (character as u8 - b'A'))),
        _ => found(PLAIN).map(|usage| (0, usage)).or_else(|| found(SHIFTED).map(|usage| (SHIFT, usage))),
    }
}

/// At most six keys and any modifiers, pressed together. A character brings the shift that it needs, a letter none.
fn chord(names: &str) -> Result<Vec<Report>, ScriptError> {
    let (mut modifiers, mut usages) = (0, Vec::new());
    for name in names.split('+') {
        let unknown = || ScriptError::Key(name.to_owned());
        let lower = name.to_ascii_lowercase();
        if let Some((_, bit)) = MODIFIERS.iter().find(|(known, _)| *known == lower) {
            modifiers |= bit;
            continue;
        }
        let named = KEYS.iter().find(|(known, _)| *known == lower).map(|(_, usage)| (0, *usage));
        let mut characters = if lower == PLUS { "+".chars() } else { lower.chars() };
        let single = characters.next().filter(|_| characters.next().is_none()).and_then(key_of);
        let (shift, usage) = named.or(single).ok_or_else(unknown)?;
        modifiers |= shift;
        usages.push(usage);
        if usages.len() > 6 {
            return Err(unknown());
        }
    }
    let (up, down, pressed) = (keys(0, &[]), keys(modifiers, &[]), keys(modifiers, &usages));
    Ok(match (modifiers, usages.is_empty()) {
        (0, _) => vec![pressed, up],
        (_, true) => vec![down, up],
        (_, false) => vec![down.clone(), pressed, down, up],
    })
}

fn number(text: &str) -> Result<i16, ScriptError> {
    let value: Option<i16> = text.trim().parse().ok().filter(|value| *value != i16::MIN);
    value.ok_or_else(|| ScriptError::Number(text.to_owned()))
}

fn button(name: &str) -> Result<u8, ScriptError> {
    let found = BUTTONS.iter().find(|(known, _)| *known == name);
    found.map(|(_, bit)| *bit).ok_or_else(|| ScriptError::Button(name.to_owned()))
}

/// A way in steps of at most 127, which is what a report can say.
fn travel(buttons: u8, x: i16, y: i16, wheel: i16) -> Vec<Report> {
    let mut left = [x, y, wheel];
    let mut reports = Vec::new();
    while left != [0; 3] {
        let mut report = vec![buttons];
        for axis in &mut left {
            let step = (*axis).clamp(-127, 127);
            *axis -= step;
            report.push(step as i8 as u8);
        }
        reports.push(report);
    }
    reports
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(line: &str) -> Vec<(u8, u8)> {
        let all = reports(Kind::Keyboard, line, &mut 0).unwrap();
        let mut before = [0; 8].to_vec();
        for report in &all {
            let pressed = report[2] != 0;
            assert!(!pressed || before[0] == report[0], "the modifiers of {report:?} come with their key");
            assert!(!pressed || before[2] == 0, "{report:?} is no new key");
            before.clone_from(report);
        }
        assert!(before == [0; 8] || all.is_empty(), "nothing stays down");
        all.iter().filter(|report| report[2] != 0).map(|report| (report[0], report[2])).collect()
    }

    /// As hosts that judge a key by the report before it want it.
    #[test]
    fn shift_is_down_before_its_key_and_up_after_it() {
        let all = reports(Kind::Keyboard, "type=ABa", &mut 0).unwrap();
        let seen: Vec<_> = all.iter().map(|report| (report[0], report[2])).collect();
        let shifted = [(2, 0), (2, 4), (2, 0), (2, 5), (2, 0)];
        assert_eq!(seen, [&shifted[..], &[(0, 0), (0, 4), (0, 0)]].concat());
    }

    #[test]
    fn a_chord_has_the_shift_of_its_characters() {
        for (line, chord) in [
            ("key=!", (2, 0x1e)),
            ("key=?", (2, 0x38)),
            ("key=ctrl+_", (3, 0x2d)),
            ("key=ctrl+plus", (3, 0x2e)),
            ("key=plus", (2, 0x2e)),
            ("key=A", (0, 4)),
            ("key=ctrl+shift+a", (3, 4)),
            ("key=5", (0, 0x22)),
        ] {
            assert_eq!(keys(line), [chord], "{line}");
        }
    }

    #[test]
    fn text_becomes_keys() {
        assert_eq!(keys("type=aZ1!"), [(0, 4), (2, 0x1d), (0, 0x1e), (2, 0x1e)]);
        assert_eq!(keys("type= \\n\\t\\\\"), [(0, 0x2c), (0, 0x28), (0, 0x2b), (0, 0x31)]);
        assert_eq!(
            keys("type=-_;:'\"`~,<.>/?"),
            [
                (0, 0x2d),
                (2, 0x2d),
                (0, 0x33),
                (2, 0x33),
                (0, 0x34),
                (2, 0x34),
                (0, 0x35),
                (2, 0x35),
                (0, 0x36),
                (2, 0x36),
                (0, 0x37),
                (2, 0x37),
                (0, 0x38),
                (2, 0x38)
            ]
        );
        assert_eq!(keys("# a remark\n"), []);
        let error = reports(Kind::Keyboard, "type=aé", &mut 0);
        assert_eq!(error, Err(ScriptError::Character('é')));
    }

    #[test]
    fn every_printable_character_has_a_key() {
        for byte in b' '..=b'~' {
            assert!(key_of(char::from(byte)).is_some(), "{:?}", char::from(byte));
        }
    }

    #[test]
    fn chords() {
        let all = reports(Kind::Keyboard, "key=Ctrl+Alt+delete+a", &mut 0).unwrap();
        let modifiers = vec![5, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(all, [modifiers.clone(), vec![5, 0, 0x4c, 4, 0, 0, 0, 0], modifiers, vec![0; 8]]);
        assert_eq!(reports(Kind::Keyboard, "key=meta", &mut 0).unwrap(), [[8, 0, 0, 0, 0, 0, 0, 0], [0; 8]]);
        assert_eq!(reports(Kind::Keyboard, "key=hyper", &mut 0), Err(ScriptError::Key("hyper".into())));
        assert!(reports(Kind::Keyboard, "key=a+b+c+d+e+f+g", &mut 0).is_err());
    }

    #[test]
    fn mouse_ways_and_buttons() {
        let mut buttons = 0;
        let mut run = |line: &str| reports(Kind::Mouse, line, &mut buttons).unwrap();
        assert_eq!(run("press=right"), [[2, 0, 0, 0]]);
        assert_eq!(run("move=130,-5"), [[2, 127, 0xfb, 0], [2, 3, 0, 0]]);
        assert_eq!(run("click=left"), [[3, 0, 0, 0], [2, 0, 0, 0]]);
        assert_eq!(run("release=right"), [[0, 0, 0, 0]]);
        assert_eq!(run("wheel=-1"), [[0, 0, 0, 0xff]]);
        assert_eq!(run("move=0,0"), Vec::<Report>::new());
        for bad in ["move=1", "move=40000,0", "click=fourth", "type=a", "move", "wheel=-32768"] {
            assert!(reports(Kind::Mouse, bad, &mut 0).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_survived(line in "(type|key|move|wheel|click|press)?=?.*") {
            for kind in [Kind::Keyboard, Kind::Mouse] {
                if let Ok(all) = reports(kind, &line, &mut 0) {
                    prop_assert!(all.iter().all(|report| report.len() == kind.report_length()));
                }
            }
        }
    }
}
