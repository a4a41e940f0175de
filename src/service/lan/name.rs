//! Names of hosts as they may stand in the segment's domain.
//!
//! A client's own name may be any bytes; a name in the domain is a label of RFC 1123, section 2.1: letters, digits and
//! hyphens, in lower case, a hyphen neither first nor last, 63 at most.

/// Longest label (RFC 1035, section 2.3.4).
pub const LABEL_MAX: usize = 63;

/// Longest domain name as text (RFC 1035, section 2.3.4: 255 bytes on the wire).
pub const NAME_MAX: usize = 253;

/// Makes a label of `raw`: its first label in lower case, every other character a hyphen. `None` if nothing is left of
/// it.
pub fn label(raw: &[u8]) -> Option<String> {
    let first = raw.split(|byte| matches!(byte, b'.' | 0)).next()?;
    let sign = |byte: &u8| match byte {
        b'a'..=b'z' | b'0'..=b'9' => char::from(*byte),
        b'A'..=b'Z' => char::from(byte.to_ascii_lowercase()),
        _ => '-',
    };
    let text: String = first.iter().take(LABEL_MAX).map(sign).collect();
    let text = text.trim_matches('-');
    (!text.is_empty()).then(|| text.to_owned())
}

/// Whether `text` is a label as [`label`] makes them.
pub fn is_label(text: &str) -> bool {
    text.len() <= LABEL_MAX && label(text.as_bytes()).as_deref() == Some(text)
}

/// Whether `text` is a domain: labels joined by dots, neither at the start nor at the end.
pub fn is_domain(text: &str) -> bool {
    text.len() <= NAME_MAX && text.split('.').all(is_label)
}

/// `base` itself if `free` takes it, else the first of `base-2`, `base-3` … that it takes.
pub fn unique(base: &str, free: impl Fn(&str) -> bool) -> Option<String> {
    /// Hosts of one name: more would make one client's names cost the others' time.
    const NAMESAKES: usize = 999;
    if free(base) {
        return Some(base.to_owned());
    }
    (2..=NAMESAKES).find_map(|number| {
        let suffix = format!("-{number}");
        // a label is ASCII, so it can be cut anywhere
        let kept = base.get(..base.len().min(LABEL_MAX - suffix.len()))?;
        let name = format!("{}{suffix}", kept.trim_end_matches('-'));
        free(&name).then_some(name)
    })
}

/// A name as labels of `length u8 · bytes`, ended by 0 (RFC 1035, section 3.1). Invalid labels are left out.
pub fn wire(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    for label in text.split('.').filter(|label| (1..=LABEL_MAX).contains(&label.len())) {
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_client_calls_itself_becomes_a_label() {
        for (raw, wanted) in [
            (&b"inst1"[..], Some("inst1")),
            (b"Zephyr", Some("zephyr")),
            (b"inst1.example.com", Some("inst1")),
            (b"zephyr\0", Some("zephyr")),
            (b"my board_2", Some("my-board-2")),
            (b"-x-", Some("x")),
            (b"\xff\xfe", None),
            (b".lab", None),
            (b"", None),
        ] {
            assert_eq!(label(raw).as_deref(), wanted, "{}", raw.escape_ascii());
        }
    }

    #[test]
    fn namesakes_are_told_apart() {
        let taken = ["zephyr", "zephyr-2"];
        assert_eq!(unique("zephyr", |name| !taken.contains(&name)).as_deref(), Some("zephyr-3"));
        assert_eq!(unique("zephyr", |_| false), None);
        let long = "a".repeat(LABEL_MAX);
        let other = unique(&long, |name| name != long).unwrap();
        assert_eq!(other, format!("{}-2", "a".repeat(LABEL_MAX - 2)));
    }

    proptest! {
        #[test]
        fn a_label_is_one(raw: Vec<u8>) {
            if let Some(text) = label(&raw) {
                prop_assert!(is_label(&text) && is_domain(&text));
            }
        }
    }
}
