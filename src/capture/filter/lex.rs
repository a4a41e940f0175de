//! Cuts a filter into words and signs.

/// A word or a sign, and where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token<'a> {
    /// The word or sign.
    pub text: &'a str,
    /// The byte that it begins with.
    pub at: usize,
}

/// Signs of two characters, which are longer than what they begin with.
const PAIRS: [&str; 7] = ["&&", "||", "<=", ">=", "==", "!=", "<<"];
/// Those of one.
const SIGNS: &str = "()[]!<>=&|^+*";

fn is_word(char: char) -> bool {
    !char.is_whitespace() && !SIGNS.contains(char)
}

/// The words and signs of `text`. A `\` before a word, which keeps pcap-filter from taking it for a keyword, is left out.
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(first) = rest.chars().next() else { break };
        if first.is_whitespace() || first == '\\' {
            at += first.len_utf8();
            continue;
        }
        let pair = PAIRS.iter().chain(&[">>"]).find(|pair| rest.starts_with(**pair));
        let length = match pair {
            Some(pair) => pair.len(),
            None if is_word(first) => rest.find(|char| !is_word(char)).unwrap_or(rest.len()),
            None => first.len_utf8(),
        };
        let Some(token) = rest.get(..length) else { break };
        found.push(Token { text: token, at });
        at += length;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_hold_together_and_signs_stand_alone() {
        let words = |text: &'static str| tokens(text).iter().map(|token| token.text).collect::<Vec<_>>();
        assert_eq!(
            words("tcp[2:2]>=0x10&&!(in inst1#2)"),
            ["tcp", "[", "2:2", "]", ">=", "0x10", "&&", "!", "(", "in", "inst1#2", ")"]
        );
        assert_eq!(
            words("ether host 02:00:5e:00:53:01 or net 2001:db8::/32 - 1<<2"),
            ["ether", "host", "02:00:5e:00:53:01", "or", "net", "2001:db8::/32", "-", "1", "<<", "2"]
        );
        assert_eq!(words("ip proto \\tcp é"), ["ip", "proto", "tcp", "é"]);
    }
}
