//! Amounts, rates and times as every command writes them: three digits with a letter, a blank, and the unit.

/// An amount in three digits: `0`, `0.3`, `950`, `1.20k`, `34.5M`.
pub fn amount(number: f64) -> String {
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let Some((unit, word)) = units.into_iter().find(|(unit, _)| number >= *unit) else {
        let places = usize::from((0.05..0.95).contains(&number));
        // The sum of nothing is -0.
        return format!("{:.places$}", number.abs());
    };
    let scaled = number / unit;
    let places = if scaled < 10.0 { 2 } else { usize::from(scaled < 100.0) };
    format!("{scaled:.places$}{word}")
}

/// Bits a second: `960 bit/s`, `1.20M bit/s`.
pub fn bits(rate: f64) -> String {
    format!("{} bit/s", amount(rate))
}

/// Frames a second: `12 f/s`, `1.20k f/s`.
pub fn per_second(rate: f64) -> String {
    format!("{} f/s", amount(rate))
}

/// Bytes: `812 bytes`, `1.20k bytes`.
pub fn bytes(number: u64) -> String {
    if number == 1 { "1 byte".to_owned() } else { format!("{} bytes", amount(number as f64)) }
}

/// A time in its largest unit: `0s`, `59s`, `12m`, `3h`, `9d`.
pub fn span(seconds: u64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// How long ago something was: `7s ago`.
pub fn ago(seconds: u64) -> String {
    format!("{} ago", span(seconds))
}

/// A short time: `37us`, `1.2ms`, `340ms`, `1.4s`.
pub fn moment(micros: u64) -> String {
    let millis = micros as f64 / 1e3;
    match micros {
        ..1_000 => format!("{micros}us"),
        1_000..10_000 => format!("{millis:.1}ms"),
        10_000..1_000_000 => format!("{millis:.0}ms"),
        _ => format!("{:.1}s", millis / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_three_digits_and_times_one_unit() {
        let amounts = [0.0, -0.0, 0.26, 999.4, 1200.0, 34_500_000.0, 123_456_789.0, 12e9].map(amount);
        assert_eq!(amounts, ["0", "0", "0.3", "999", "1.20k", "34.5M", "123M", "12.0G"]);
        assert_eq!([0, 59, 60, 7199, 7200, 200_000].map(span), ["0s", "59s", "1m", "1h", "2h", "2d"]);
        assert_eq!([37, 1_234, 340_000, 1_440_000].map(moment), ["37us", "1.2ms", "340ms", "1.4s"]);
    }

    #[test]
    fn units_stand_behind_a_blank() {
        assert_eq!((bits(1.2e6), per_second(12.0)), ("1.20M bit/s".to_owned(), "12 f/s".to_owned()));
        assert_eq!((bytes(1), bytes(2048), ago(75)), ("1 byte".into(), "2.05k bytes".into(), "1m ago".into()));
        assert_eq!(bits([0.0; 0].iter().sum()), "0 bit/s", "of no ports");
    }
}
