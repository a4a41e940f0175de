//! The one grammar of specifications: `TYPE:TARGET[,key[=value]]…`.
//!
//! A comma separates, `,,` is a literal comma, a bare key means on. A value may be a specification itself, whose
//! separator is `+` ([`NESTED`]): `device=cdc-acm+pty=/tmp/ttyA`. A plus needs no quotes in a shell. Text and TOML both
//! end as a list of [`Key`]s, each with the place it was read from; [`Keys`] checks them against their tables of rows
//! once, and the typed parsers then take them by name. Any mistake is a [`Fault`], which becomes the error for the
//! user.

use std::fmt::Display;

use super::kind::KeyRow;
use crate::error::Error;

/// A fault of a specification, and its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What is wrong, naming key and value.
    pub what: String,
    /// A hint for the user.
    pub hint: Option<String>,
    /// Byte offset in the text that the word came from; `None` concerns the whole specification.
    pub at: Option<usize>,
}

impl Fault {
    /// A fault of the specification as a whole.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None, at: None }
    }

    /// The same fault with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same fault at `offset`, unless it has a place already.
    #[must_use]
    pub fn at(mut self, offset: usize) -> Self {
        self.at.get_or_insert(offset);
        self
    }

    /// The same fault, led by the key that it is in.
    #[must_use]
    pub fn within(mut self, key: &str) -> Self {
        self.what = format!("{key}: {}", self.what);
        self
    }
}

/// The usage error that a person reads; the place is left to whoever knows the text.
impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let error = Self::usage(fault.what);
        match fault.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// One `key[=value]`, and the byte offset where it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    /// The key.
    pub word: String,
    /// Its value; `None` for a bare key.
    pub value: Option<String>,
    /// Byte offset in the text that it came from.
    pub at: usize,
}

/// A specification taken apart, before any word of it is understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Words {
    /// The part before the first comma.
    pub head: String,
    /// The keys behind it.
    pub keys: Vec<Key>,
}

/// The separator of a specification's keys.
pub const OUTER: char = ',';
/// The separator of the keys of a nested specification.
pub const NESTED: char = '+';

/// Splits `HEAD[,key[=value]]…`. Any text can be split; the only fault is an empty key.
pub fn split(text: &str) -> Result<Words, Fault> {
    split_by(text, OUTER)
}

/// Splits a specification with another separator, whose double is a literal one.
pub fn split_by(text: &str, separator: char) -> Result<Words, Fault> {
    let mut pieces = pieces(text, separator).into_iter();
    let head = pieces.next().map(|(_, head)| head).unwrap_or_default();
    let mut keys = Vec::new();
    for (at, piece) in pieces {
        let (word, value) = match piece.split_once('=') {
            Some((word, value)) => (word.to_owned(), Some(value.to_owned())),
            None => (piece, None),
        };
        if word.is_empty() {
            let word = if separator == OUTER { "comma" } else { "plus" };
            let fault = Fault::new(format!("a {word} that no key follows")).at(at);
            return Err(fault.hint(format!("a literal {word} is written '{separator}{separator}'")));
        }
        keys.push(Key { word, value, at });
    }
    Ok(Words { head, keys })
}

/// Cuts at single separators, turns double ones into one, and gives each piece with its offset.
fn pieces(text: &str, separator: char) -> Vec<(usize, String)> {
    let mut pieces = vec![(0, String::new())];
    let mut chars = text.char_indices().peekable();
    while let Some((at, char)) = chars.next() {
        if char == separator && chars.next_if(|&(_, next)| next == separator).is_none() {
            pieces.push((at + 1, String::new()));
        } else if let Some((_, piece)) = pieces.last_mut() {
            piece.push(char);
        }
    }
    pieces
}

/// `text` with every comma doubled, for other programs that have the same rule (QEMU).
pub fn escape(text: &str) -> String {
    text.replace(OUTER, ",,")
}

/// Writes a specification: the reverse of [`split`] and [`split_by`].
pub struct Writer {
    text: String,
    separator: char,
}

impl Writer {
    /// Starts with `TYPE:TARGET` or another head.
    pub fn new(head: &str) -> Self {
        Self::with(OUTER, head)
    }

    /// Starts a specification that will be the value of a key.
    pub fn nested(head: &str) -> Self {
        Self::with(NESTED, head)
    }

    fn with(separator: char, head: &str) -> Self {
        let mut writer = Self { text: String::new(), separator };
        writer.push(head);
        writer
    }

    /// Appends `text` with every separator doubled.
    fn push(&mut self, text: &str) {
        for char in text.chars() {
            self.text.push(char);
            if char == self.separator {
                self.text.push(char);
            }
        }
    }

    /// Adds a bare key.
    pub fn flag(&mut self, word: &str) {
        self.text.push(self.separator);
        self.text.push_str(word);
    }

    /// Adds `word=value`.
    pub fn value(&mut self, word: &str, value: impl Display) {
        self.flag(word);
        self.text.push('=');
        self.push(&value.to_string());
    }

    /// Adds `word=value` if there is a value.
    pub fn option(&mut self, word: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.value(word, value);
        }
    }

    /// The text.
    pub fn finish(self) -> String {
        self.text
    }
}

/// The keys of one specification, known and not repeated without leave; taken out one by one by typed parsers.
pub struct Keys {
    list: Vec<Key>,
    rows: Vec<&'static KeyRow>,
}

impl Keys {
    /// Checks `list` against the tables of `owner` (`tap`, `switch`).
    ///
    /// # Errors
    /// A key that is in no table, naming the nearest one, and a key given twice that may not be.
    pub fn new(owner: &str, list: Vec<Key>, tables: &[&'static [KeyRow]]) -> Result<Self, Fault> {
        let rows: Vec<&'static KeyRow> = tables.iter().copied().flatten().collect();
        for (index, key) in list.iter().enumerate() {
            let Some(row) = rows.iter().find(|row| row.word == key.word) else {
                let known = nearest(&key.word, rows.iter().map(|row| row.word));
                return Err(Fault::new(format!("{owner} has no key {:?}; {known}", key.word)).at(key.at));
            };
            let again = list.iter().take(index).any(|earlier| earlier.word == key.word);
            if again && !row.repeatable {
                return Err(Fault::new(format!("key {:?} is given twice", key.word)).at(key.at));
            }
        }
        Ok(Self { list, rows })
    }

    /// Takes a flag: bare, `on` or `yes` is true, `off` or `no` false, `None` if it is not there.
    pub fn flag(&mut self, word: &str) -> Result<Option<bool>, Fault> {
        let Some(key) = self.take(word) else { return Ok(None) };
        match key.value.as_deref() {
            None | Some("on" | "yes") => Ok(Some(true)),
            Some("off" | "no") => Ok(Some(false)),
            Some(_) => Err(refused(&key, "on or off")),
        }
    }

    /// Takes a value. `parse` gives the accepted form as its error: `a number from 68 to 65535`.
    pub fn value<T>(&mut self, word: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, Fault> {
        self.take(word).map(|key| self.typed(&key, &parse)).transpose()
    }

    /// Takes every value of a repeatable key, in their order.
    ///
    /// # Errors
    /// As [`Keys::value`], and the same value given twice.
    pub fn values<T: PartialEq>(
        &mut self,
        word: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, Fault> {
        let mut values = Vec::new();
        while let Some(key) = self.take(word) {
            let value = self.typed(&key, &parse)?;
            if values.contains(&value) {
                return Err(Fault::new(format!("{} is given twice", shown(&key))).at(key.at));
            }
            values.push(value);
        }
        Ok(values)
    }

    /// Takes every value of a repeatable key whose values are specifications themselves, in their order; the same one
    /// may be given twice.
    ///
    /// # Errors
    /// That of `parse`, led by the key and with its place, and a key without a value.
    pub fn nested<T>(&mut self, word: &str, parse: impl Fn(&str) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
        let mut values = Vec::new();
        while let Some(key) = self.take(word) {
            let text = self.typed(&key, |text| Ok(text.to_owned()))?;
            let located = |fault: Fault| Fault { what: format!("{}: {}", shown(&key), fault.what), at: None, ..fault };
            values.push(parse(&text).map_err(|fault| located(fault).at(key.at))?);
        }
        Ok(values)
    }

    /// Refuses `word` if it is still there: it means nothing, because of `reason`.
    pub fn refuse(&mut self, word: &str, reason: &str) -> Result<(), Fault> {
        match self.take(word) {
            Some(key) => Err(Fault::new(format!("key {word:?} means nothing {reason}")).at(key.at)),
            None => Ok(()),
        }
    }

    /// Ends the taking: a key that no parser took is a fault, so that none is ever ignored.
    pub fn finish(mut self) -> Result<(), Fault> {
        match self.list.pop() {
            Some(key) => Err(Fault::new(format!("key {:?} means nothing here", key.word)).at(key.at)),
            None => Ok(()),
        }
    }

    fn take(&mut self, word: &str) -> Option<Key> {
        let index = self.list.iter().position(|key| key.word == word)?;
        Some(self.list.remove(index))
    }

    fn typed<T>(&self, key: &Key, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, Fault> {
        let Some(value) = key.value.as_deref() else {
            let metavar = self.rows.iter().find(|row| row.word == key.word).and_then(|row| row.value);
            let form = format!("{}={}", key.word, metavar.unwrap_or("VALUE"));
            return Err(Fault::new(format!("key {:?} needs a value: {form}", key.word)).at(key.at));
        };
        parse(value).map_err(|form| refused(key, &form))
    }
}

fn refused(key: &Key, form: &str) -> Fault {
    Fault::new(format!("{}: expected {form}", shown(key))).at(key.at)
}

/// `key="value"`, with control characters made visible.
fn shown(key: &Key) -> String {
    match &key.value {
        Some(value) => format!("{}={value:?}", key.word),
        None => key.word.clone(),
    }
}

/// The known word nearest to `word`, if one is near.
pub fn near<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, candidate), candidate))
        .min_by_key(|&(distance, _)| distance)
        .filter(|(distance, candidate)| *distance <= 1.max(lower.chars().count().max(candidate.len()) / 2))
        .map(|(_, candidate)| candidate)
}

/// Names the known word nearest to `word`; where none is near, all of them.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match near(word, known.iter().copied()) {
        Some(candidate) => format!("the nearest is {candidate:?}"),
        None => format!("known are {}", known.join(", ")),
    }
}

/// Names that a hint has at most.
const SHOWN: usize = 16;

/// The nearest of some names to one that is none of them, and which there are: as many as one reads.
pub fn nearest_of(name: &str, known: &[&str]) -> String {
    let near = near(name, known.iter().copied());
    let near = near.map(|near| format!("the nearest is {near:?}; ")).unwrap_or_default();
    let all = known.get(..SHOWN).unwrap_or(known).join(", ");
    let more = if known.len() > SHOWN { ", …" } else { "" };
    format!("{near}known are {all}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROWS: &[KeyRow] = &[
        KeyRow { word: "addr", value: Some("CIDR"), repeatable: true, live: false, summary: "" },
        KeyRow { word: "mtu", value: Some("BYTES"), repeatable: false, live: false, summary: "" },
        KeyRow { word: "up", value: None, repeatable: false, live: false, summary: "" },
    ];

    fn keys(text: &str) -> Result<Keys, Fault> {
        Keys::new("tap", split(text)?.keys, &[ROWS])
    }

    fn number(text: &str) -> Result<u32, String> {
        text.parse().map_err(|_| "a number".to_owned())
    }

    #[test]
    fn commas_separate_and_double_commas_are_text() {
        let words = split("unix:/tmp/a,,b,,,name=x=,,y,up").unwrap();
        assert_eq!(words.head, "unix:/tmp/a,b,");
        let key = |word: &str, value: Option<&str>, at| Key { word: word.into(), value: value.map(Into::into), at };
        assert_eq!(words.keys, [key("name", Some("x=,y"), 17), key("up", None, 28)]);
        assert_eq!(split("").unwrap(), Words { head: String::new(), keys: Vec::new() });
    }

    #[test]
    fn an_empty_key_is_a_fault() {
        for text in ["a,", "a,=x", "a,up,"] {
            assert!(split(text).is_err(), "{text}");
        }
    }

    #[test]
    fn unknown_and_repeated_keys_are_faults() {
        let what = |text| keys(text).map(|_| ()).unwrap_err();
        assert_eq!(what("z,adr=1").what, "tap has no key \"adr\"; the nearest is \"addr\"");
        assert_eq!(what("z,qwertz").what, "tap has no key \"qwertz\"; known are addr, mtu, up");
        assert_eq!(what("z,up,up").at, Some(5));
        assert!(keys("z,addr=1,addr=2").is_ok());
    }

    #[test]
    fn values_are_taken_with_their_form() {
        let mut keys = keys("z,addr=1,addr=2,mtu,up=off").unwrap();
        assert_eq!(keys.values("addr", number), Ok(vec![1, 2]));
        assert_eq!(keys.flag("up"), Ok(Some(false)));
        assert_eq!(keys.flag("up"), Ok(None));
        assert_eq!(keys.value("mtu", number).unwrap_err().what, "key \"mtu\" needs a value: mtu=BYTES");
        assert_eq!(keys.finish(), Ok(()));
    }

    #[test]
    fn yes_and_no_are_on_and_off() {
        for (text, on) in
            [("z,up", true), ("z,up=on", true), ("z,up=yes", true), ("z,up=off", false), ("z,up=no", false)]
        {
            assert_eq!(keys(text).unwrap().flag("up"), Ok(Some(on)), "{text}");
        }
    }

    #[test]
    fn wrong_values_name_key_value_and_form() {
        let mut wrong = keys("z,addr=x,mtu=\x1b[1m,up=maybe").unwrap();
        assert_eq!(wrong.values("addr", number).unwrap_err().what, "addr=\"x\": expected a number");
        assert_eq!(wrong.value("mtu", number).unwrap_err().what, "mtu=\"\\u{1b}[1m\": expected a number");
        assert_eq!(wrong.flag("up").unwrap_err().what, "up=\"maybe\": expected on or off");
        assert!(keys("z,addr=1,addr=1").unwrap().values("addr", number).is_err());
    }

    #[test]
    fn no_key_is_ever_ignored() {
        let mut left = keys("z,up,mtu=3").unwrap();
        assert_eq!(left.refuse("up", "with fd").unwrap_err().at, Some(2));
        assert_eq!(left.finish().unwrap_err().what, "key \"mtu\" means nothing here");
    }

    #[test]
    fn a_value_may_be_a_specification() {
        let words = split("usbip:x,device=a+b=c,,d++e,up").unwrap();
        let inner = split_by(words.keys[0].value.as_deref().unwrap(), NESTED).unwrap();
        assert_eq!((inner.head.as_str(), inner.keys[0].value.as_deref()), ("a", Some("c,d+e")));
        let mut writer = Writer::nested("a");
        writer.value("b", "c,d+e");
        let mut outer = Writer::new("usbip:x");
        outer.value("device", writer.finish());
        assert_eq!(outer.finish(), "usbip:x,device=a+b=c,,d++e");
        assert_eq!(split_by("a+", NESTED).unwrap_err().what, "a plus that no key follows");
    }

    proptest! {
        #[test]
        fn what_was_written_is_split_again(
            head in "\\PC*",
            list in prop::collection::vec(("[a-z-]{1,8}", prop::option::of("\\PC*")), 0..6),
        ) {
            let mut writer = Writer::new(&head);
            for (word, value) in &list {
                match value {
                    Some(value) => writer.value(word, value),
                    None => writer.flag(word),
                }
            }
            let words = split(&writer.finish());
            prop_assert!(words.is_ok());
            let words = words.unwrap();
            prop_assert_eq!(words.head, head);
            let again: Vec<_> = words.keys.into_iter().map(|key| (key.word, key.value)).collect();
            prop_assert_eq!(again, list);
        }

        #[test]
        fn any_text_can_be_split(text in any::<String>()) {
            if let Ok(words) = split(&text) {
                prop_assert!(words.keys.iter().all(|key| text.get(key.at..).is_some()));
            }
        }
    }
}
