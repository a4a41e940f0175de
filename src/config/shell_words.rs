//! Detects shell syntax in a command that is written as one text, as no shell interprets it.

/// The first word of `text` that a shell would not pass on literally: an operator, a redirection, a variable, a command
/// substitution. Quoted text is literal; so are the special characters of a URL within a word.
pub fn shell_word(text: &str) -> Option<String> {
    let mut words = Vec::new();
    let mut word = Word::default();
    let (mut quote, mut chars) = (None, text.chars());
    while let Some(char) = chars.next() {
        match (quote, char) {
            (None, _) if char.is_whitespace() => words.push(std::mem::take(&mut word)),
            (None, '\'' | '"') => (quote, word.is_quoted) = (Some(char), true),
            (Some(open), _) if open == char => quote = None,
            (None | Some('"'), '\\') => {
                word.is_quoted = true;
                word.text.extend(chars.next());
            }
            _ => {
                word.expands |= quote != Some('\'') && (char == '$' || char == '`');
                word.text.push(char);
            }
        }
    }
    words.push(word);
    words.into_iter().find(Word::is_for_a_shell).map(|word| word.text)
}

#[derive(Default)]
struct Word {
    text: String,
    /// Some of it was.
    is_quoted: bool,
    /// A shell would expand it.
    expands: bool,
}

impl Word {
    fn is_for_a_shell(&self) -> bool {
        let text = self.text.as_str();
        let redirects = text.trim_start_matches(|char: char| char.is_ascii_digit()).starts_with(['<', '>']);
        let is_operator =
            ["|", "||", "&", "&&", ";"].contains(&text) || text.len() > 1 && text.ends_with(';') || redirects;
        self.expands || is_operator && !self.is_quoted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_read_is_found() {
        for (text, word) in [
            ("ls | wc", "|"),
            ("make && ./a", "&&"),
            ("./a >log", ">log"),
            ("./a 2>&1", "2>&1"),
            ("cd x; ./a", "x;"),
            ("sleep 5 &", "&"),
            ("./a --home=$HOME", "--home=$HOME"),
            ("./a \"$HOME\"", "$HOME"),
            ("echo `date`", "`date`"),
        ] {
            assert_eq!(shell_word(text).as_deref(), Some(word), "{text}");
        }
        for text in [
            "./zephyr.exe --seed=1",
            "curl http://192.0.2.1/?a=1&b=2",
            "find . -exec rm {} \\;",
            "expr 1 '|' 2",
            "sh -c 'echo $A; ls | wc > x'",
            "python3 -c \"print(1 > 2)\"",
            "./a '$5'",
            "./a \\$5",
            "awk {print}",
            "",
        ] {
            assert_eq!(shell_word(text), None, "{text}");
        }
    }
}
