//! Bytes in hexadecimal, as programs print them: `02005e…`, `02:00:5e:…`, `02 00 5e …`, or with a column of offsets before
//! and one of characters behind (`xxd`, `hexdump -C`, `tcpdump -XX`).

/// The bytes of a text in hexadecimal; `None`: it is none.
pub fn frames_in_hex(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let columns = lines.len() > 1 || lines.first().is_some_and(|line| offset(line).is_some());
    for line in lines {
        let line = match offset(line) {
            Some(rest) if columns => without_characters(rest),
            _ => line,
        };
        for word in line.split([' ', '\t', ':', '-', ',']).filter(|word| !word.is_empty()) {
            let word = word.strip_prefix("0x").unwrap_or(word);
            // A digit alone is a byte, as in `2:0:5e`; otherwise they come in pairs.
            let padded = if word.len() == 1 { format!("0{word}") } else { word.to_owned() };
            if padded.len() % 2 != 0 || !padded.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            let digit = |at: usize| padded.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
            bytes.extend((0..padded.len()).step_by(2).filter_map(digit));
        }
    }
    (!bytes.is_empty()).then_some(bytes)
}

/// What stands behind a line's offset: `0000:`, `0x0010:`, or eight digits and two blanks.
fn offset(line: &str) -> Option<&str> {
    let is_hex = |word: &str| !word.is_empty() && word.bytes().all(|digit| digit.is_ascii_hexdigit());
    if let Some((word, rest)) = line.split_once(':') {
        let digits = word.strip_prefix("0x").unwrap_or(word);
        if (4..=8).contains(&digits.len()) && is_hex(digits) && rest.starts_with([' ', '\t']) {
            return Some(rest);
        }
    }
    let (word, rest) = line.split_once(' ')?;
    (word.len() == 8 && is_hex(word) && rest.starts_with(' ')).then_some(rest)
}

/// The digits of a line, without the column of characters: that begins behind two blanks or a bar.
fn without_characters(line: &str) -> &str {
    let line = line.trim_start();
    let line = line.split('|').next().unwrap_or(line);
    // `hexdump -C` has two blanks in the middle, too.
    let mut end = line.len();
    let mut from = 0;
    while let Some(at) = line.get(from..).and_then(|rest| rest.find("  ")).map(|at| at + from) {
        let next = line.get(at..).unwrap_or_default().trim_start();
        let word = next.split(' ').next().unwrap_or_default();
        let is_digits = matches!(word.len(), 2 | 4) && word.bytes().all(|digit| digit.is_ascii_hexdigit());
        if !is_digits {
            end = at;
            break;
        }
        from = line.len() - next.len();
    }
    line.get(..end).unwrap_or(line)
}
