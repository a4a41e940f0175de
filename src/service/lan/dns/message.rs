//! DNS messages (RFC 1035, section 4) as bytes: queries, as far as a forwarder reads them, and its own answers.
//!
//! `id u16 · flags u16 · counts of questions, answers, authorities, additional records u16 each`, then the question:
//! `name · type u16 · class u16`. A name is labels of `length u8 · bytes`, ended by 0.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use crate::service::lan::name;

/// Bytes of a header.
pub const HEADER: usize = 12;

/// The longest answer over UDP to a client without EDNS (RFC 1035, section 4.2.1).
const SHORT: usize = 512;
/// The longest answer over UDP to any client: it fits into any path without fragments.
const LONG: usize = 1232;

/// Answer, in the third byte.
const ANSWER: u8 = 0x80;
/// Authoritative answer.
const AUTHORITATIVE: u8 = 0x04;
/// Truncated.
const TRUNCATED: u8 = 0x02;
/// Recursion desired.
const DESIRED: u8 = 0x01;
/// Recursion available, in the fourth byte.
const AVAILABLE: u8 = 0x80;

/// Class of the Internet.
const CLASS_IN: u16 = 1;
/// Any class.
const CLASS_ANY: u16 = 255;

/// TTL of answers about the segment, in seconds.
const TTL: u32 = 60;
/// TTL of negative answers, in seconds: the host may appear at any time.
const NEGATIVE_TTL: u32 = 5;

/// Types of records (RFC 1035, section 3.2.2; AAAA: RFC 3596; OPT: RFC 6891).
pub mod kind {
    /// IPv4 address.
    pub const A: u16 = 1;
    /// Start of a zone.
    pub const SOA: u16 = 6;
    /// Name of an address.
    pub const PTR: u16 = 12;
    /// IPv6 address.
    pub const AAAA: u16 = 28;
    /// EDNS.
    pub const OPT: u16 = 41;
    /// All types.
    pub const ANY: u16 = 255;
}

/// Response codes (RFC 1035, section 4.1.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Code {
    /// Answered, with or without records.
    Ok = 0,
    /// Not understood.
    Malformed = 1,
    /// No resolver answered.
    Failed = 2,
    /// There is no such name.
    NoName = 3,
    /// Not a query.
    NotDone = 4,
    /// Not answered here.
    Refused = 5,
}

/// A query of one question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Query {
    /// Its identifier.
    pub id: u16,
    /// The name, in lower case with dots; empty: the root. `None`: no name of a host.
    pub name: Option<String>,
    /// Type of the records asked for.
    pub kind: u16,
    /// Whether its class is the Internet's.
    pub internet: bool,
    /// The longest answer over UDP that the client takes.
    pub longest: usize,
    /// Whether it has EDNS.
    pub extended: bool,
    /// Where the question is.
    pub question: Range<usize>,
}

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    /// The code of the refusal, or `None` if it must not be answered.
    pub fn read(bytes: &[u8]) -> Result<Self, Option<Code>> {
        let header = bytes.first_chunk::<HEADER>().ok_or(None)?;
        if header[2] & ANSWER != 0 {
            return Err(None);
        }
        if header[2] & 0x78 != 0 {
            return Err(Some(Code::NotDone));
        }
        let malformed = Some(Code::Malformed);
        if header[4..6] != [0, 1] {
            return Err(malformed);
        }
        let (name, end) = read_name(bytes, HEADER).ok_or(malformed)?;
        let &[kind_high, kind_low, class_high, class_low] = bytes.get(end..end + 4).ok_or(malformed)? else {
            return Err(malformed);
        };
        let class = u16::from_be_bytes([class_high, class_low]);
        let size = extension(header, bytes, end + 4);
        Ok(Self {
            id: u16::from_be_bytes([header[0], header[1]]),
            name,
            kind: u16::from_be_bytes([kind_high, kind_low]),
            internet: class == CLASS_IN || class == CLASS_ANY,
            longest: size.map_or(SHORT, |size| usize::from(size).clamp(SHORT, LONG)),
            extended: size.is_some(),
            question: HEADER..end + 4,
        })
    }
}

/// The name at `at` as text, and where it ends. The outer `None`: it is cut, too long, or a pointer, of which there can
/// be none in front of a question.
fn read_name(bytes: &[u8], mut at: usize) -> Option<(Option<String>, usize)> {
    const LONGEST: usize = 255;
    let start = at;
    let mut text = Some(String::new());
    loop {
        let len = usize::from(*bytes.get(at)?);
        let label = bytes.get(at + 1..at + 1 + len).filter(|_| len <= 63)?;
        at += 1 + len;
        if at - start > LONGEST {
            return None;
        }
        if len == 0 {
            return Some((text, at));
        }
        if !label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
            text = None;
        }
        if let Some(text) = &mut text {
            if !text.is_empty() {
                text.push('.');
            }
            text.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
        }
    }
}

/// The size in an OPT record among the additional records, which begin at `at` (RFC 6891, section 6.1.2).
fn extension(header: &[u8; HEADER], bytes: &[u8], mut at: usize) -> Option<u16> {
    /// Records that are read: OPT, a signature, and a few more.
    const RECORDS: u16 = 8;
    let [.., 0, 0, 0, 0, high, low] = *header else { return None };
    for _ in 0..u16::from_be_bytes([high, low]).min(RECORDS) {
        let (_, end) = read_name(bytes, at)?;
        let &[k0, k1, s0, s1, _, _, _, _, l0, l1] = bytes.get(end..)?.first_chunk::<10>()?;
        if u16::from_be_bytes([k0, k1]) == kind::OPT && end == at + 1 {
            return Some(u16::from_be_bytes([s0, s1]));
        }
        at = end + 10 + usize::from(u16::from_be_bytes([l0, l1]));
    }
    None
}

/// Whether a message has EDNS, which need not be a valid query: behind whatever questions it has.
fn is_extended(header: &[u8; HEADER], bytes: &[u8]) -> bool {
    /// Questions that are read.
    const QUESTIONS: u16 = 4;
    let count = u16::from_be_bytes([header[4], header[5]]);
    let behind = (0..count).try_fold(HEADER, |at, _| read_name(bytes, at).map(|(_, end)| end + 4));
    count <= QUESTIONS && behind.is_some_and(|at| extension(header, bytes, at).is_some())
}

/// Adds our OPT record (RFC 6891, section 6.1.1: in every answer to a query with EDNS). The last record.
fn write_extension(out: &mut Vec<u8>) {
    if let Some(count) = out.get_mut(11) {
        *count = 1;
    }
    out.extend([0, 0, kind::OPT as u8]);
    out.extend((LONG as u16).to_be_bytes());
    out.extend([0; 6]);
}

/// Whether `answer` is one to `query`, which was asked with the identifier `id`: answer, identifier and question.
pub fn fits(answer: &[u8], id: u16, query: &[u8], question: Range<usize>) -> bool {
    let Some(header) = answer.first_chunk::<HEADER>() else { return false };
    let same = |a: &[u8], b: &[u8]| a.eq_ignore_ascii_case(b);
    header[..2] == id.to_be_bytes()
        && header[2] & ANSWER != 0
        && match (answer.get(question.clone()), query.get(question)) {
            (Some(theirs), Some(ours)) => header[4..6] == [0, 1] && same(theirs, ours),
            _ => false,
        }
}

/// The code of an answer.
pub fn code(answer: &[u8]) -> u8 {
    answer.get(3).map_or(Code::Failed as u8, |flags| flags & 0x0f)
}

/// Writes another identifier into a message.
pub fn set_id(bytes: &mut [u8], id: u16) {
    if let Some(field) = bytes.first_chunk_mut::<2>() {
        *field = id.to_be_bytes();
    }
}

/// Truncates an answer to its question, so that the client asks again over TCP. `extended`: the query has EDNS.
pub fn truncate(answer: &mut Vec<u8>, question: Range<usize>, extended: bool) {
    answer.truncate(question.end);
    if let Some(header) = answer.first_chunk_mut::<HEADER>() {
        header[2] |= TRUNCATED;
        header[6..].fill(0);
    }
    if extended {
        write_extension(answer);
    }
}

/// A refusal of a message that is no valid query; `None` if it is too short.
pub fn refusal(bytes: &[u8], code: Code) -> Option<Vec<u8>> {
    let header = bytes.first_chunk::<HEADER>()?;
    let mut answer = vec![0; HEADER];
    answer[..2].copy_from_slice(&header[..2]);
    answer[2] = ANSWER | header[2] & (0x78 | DESIRED);
    answer[3] = AVAILABLE | code as u8;
    if is_extended(header, bytes) {
        write_extension(&mut answer);
    }
    Some(answer)
}

/// The data of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// An address of the name.
    Addr(IpAddr),
    /// A name of the address.
    Name(String),
}

/// The answer to a query that was read from `bytes`. `zone`: its domain, if it is the segment's.
pub fn answer(bytes: &[u8], query: &Query, code: Code, records: &[Record], zone: Option<&str>) -> Vec<u8> {
    let mut out = bytes.get(..query.question.end).unwrap_or(bytes).to_vec();
    let desired = out[2] & DESIRED;
    out[2] = ANSWER | desired | if zone.is_some() { AUTHORITATIVE } else { 0 };
    out[3] = AVAILABLE | code as u8;
    out[6..HEADER].fill(0);
    out[7] = records.len().min(u8::MAX.into()) as u8;
    for record in records.iter().take(u8::MAX.into()) {
        // the name: that of the question
        out.extend([0xc0, HEADER as u8]);
        match record {
            Record::Addr(IpAddr::V4(addr)) => write_record(&mut out, kind::A, TTL, &addr.octets()),
            Record::Addr(IpAddr::V6(addr)) => write_record(&mut out, kind::AAAA, TTL, &addr.octets()),
            Record::Name(name) => write_record(&mut out, kind::PTR, TTL, &name::wire(name)),
        }
    }
    if let Some(zone) = zone.filter(|_| records.is_empty()) {
        out[9] = 1;
        out.extend(name::wire(zone));
        write_record(&mut out, kind::SOA, NEGATIVE_TTL, &soa(zone));
    }
    if query.extended {
        write_extension(&mut out);
    }
    out
}

/// `type u16 · class u16 · ttl u32 · length u16 · value`, behind the name.
fn write_record(out: &mut Vec<u8>, kind: u16, ttl: u32, value: &[u8]) {
    out.extend(kind.to_be_bytes());
    out.extend(CLASS_IN.to_be_bytes());
    out.extend(ttl.to_be_bytes());
    out.extend((value.len() as u16).to_be_bytes());
    out.extend_from_slice(value);
}

/// SOA: `primary server · mailbox · serial · refresh · retry · expire · minimum` (RFC 1035, section 3.3.13); it has the
/// TTL of negative answers (RFC 2308).
fn soa(zone: &str) -> Vec<u8> {
    let mut value = name::wire(&format!("gateway.{zone}"));
    value.extend(name::wire(&format!("nobody.{zone}")));
    for number in [1, 3600, 600, 86_400, NEGATIVE_TTL] {
        value.extend(number.to_be_bytes());
    }
    value
}

/// The address whose name `name` asks for: `2.2.0.10.in-addr.arpa` (RFC 1035, section 3.5) or 32 hexadecimal digits in
/// front of `ip6.arpa` (RFC 3596, section 2.5).
pub fn reverse(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0; 4];
        let mut parts = digits.split('.');
        for octet in octets.iter_mut().rev() {
            *octet = parts.next()?.parse().ok()?;
        }
        return parts.next().is_none().then_some(Ipv4Addr::from(octets).into());
    }
    let digits = name.strip_suffix(".ip6.arpa")?;
    let mut bits = 0_u128;
    let mut count = 0;
    for digit in digits.split('.').rev() {
        let value = (digit.len() == 1).then(|| u8::from_str_radix(digit, 16).ok())??;
        bits = bits << 4 | u128::from(value);
        count += 1;
    }
    (count == 32).then(|| Ipv6Addr::from_bits(bits).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// dig's: recursion desired, one question, EDNS with 1232 bytes and a cookie.
    fn dig(name: &str, kind: u16) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34, 0x01, 0x20, 0, 1, 0, 0, 0, 0, 0, 1];
        bytes.extend(name::wire(name));
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 12, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
        bytes
    }

    #[test]
    fn a_query_reads() {
        let bytes = dig("Inst1.LAB", kind::A);
        let query = Query::read(&bytes).unwrap();
        assert_eq!((query.id, query.name.as_deref(), query.kind), (0x1234, Some("inst1.lab"), kind::A));
        assert_eq!((query.longest, query.extended, query.internet), (1232, true, true));
        assert_eq!(query.question, 12..27);
        let plain = Query::read(&bytes[..27]).unwrap();
        assert_eq!((plain.longest, plain.extended), (512, false));
        let odd = Query::read(&dig("a b.lab", kind::A)).unwrap();
        assert_eq!(odd.name, None);
    }

    #[test]
    fn what_is_no_query() {
        let good = dig("inst1.lab", kind::A);
        for (at, value, error) in [
            (2, 0x81, None),
            (2, 0x28, Some(Code::NotDone)),
            (5, 0, Some(Code::Malformed)),
            (5, 2, Some(Code::Malformed)),
            (12, 0xc0, Some(Code::Malformed)),
            (12, 63, Some(Code::Malformed)),
        ] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(Query::read(&bad).err(), Some(error), "byte {at} is {value}");
        }
        assert_eq!(Query::read(&good[..11]).err(), Some(None));
        assert_eq!(Query::read(&good[..26]).err(), Some(Some(Code::Malformed)));
        let long = dig(&vec!["a".repeat(63); 4].join("."), kind::A);
        assert_eq!(Query::read(&long).err(), Some(Some(Code::Malformed)));
    }

    #[test]
    fn an_answer_layout() {
        let bytes = dig("inst1.lab", kind::A);
        let query = Query::read(&bytes).unwrap();
        let out = answer(&bytes, &query, Code::Ok, &[Record::Addr([10, 0, 2, 15].into())], Some("lab"));
        assert_eq!(out[..12], [0x12, 0x34, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 1]);
        assert_eq!(out[12..27], bytes[12..27]);
        assert_eq!(out[27..43], [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 2, 15]);
        assert_eq!(out[43..], [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]);
        let none = answer(&bytes, &query, Code::NoName, &[], Some("lab"));
        assert_eq!(none[2..12], [0x85, 0x83, 0, 1, 0, 0, 0, 1, 0, 1]);
        assert!(fits(&none, 0x1234, &bytes, query.question));
    }

    /// RFC 6891, section 6.1.1: a query with EDNS gets an OPT record, whatever its response code.
    #[test]
    fn every_answer_to_whom_says_what_it_can_does_so_too() {
        const OPT: [u8; 11] = [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0];
        let good = dig("inst1.lab", kind::A);
        let mut cut = good.clone();
        cut[2] |= ANSWER;
        truncate(&mut cut, 12..27, true);
        assert_eq!((&cut[2..12], &cut[27..]), (&[0x83, 0x20, 0, 1, 0, 0, 0, 0, 0, 1][..], &OPT[..]));
        let mut status = good.clone();
        status[2] = 0x10;
        let mut two = good.clone();
        two.splice(27..27, good[12..27].to_vec());
        two[5] = 2;
        let mut none = good.clone();
        none.drain(12..27);
        none[5] = 0;
        for (bad, code) in [(status, Code::NotDone), (two, Code::Malformed), (none, Code::Malformed)] {
            assert_eq!(Query::read(&bad).err(), Some(Some(code)));
            let said = refusal(&bad, code).unwrap();
            assert_eq!((said[3], said[11], &said[12..]), (0x80 | code as u8, 1, &OPT[..]), "{code:?}");
        }
        let mut plain = good[..27].to_vec();
        plain[11] = 0;
        plain[2] = 0x10;
        assert_eq!(refusal(&plain, Code::NotDone).map(|said| said.len()), Some(HEADER));
        // a signature before it, as some resolvers have it
        let mut signed = good.clone();
        signed.splice(27..27, [1, b'k', 0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 2, 7, 7]);
        signed[11] = 2;
        assert!(Query::read(&signed).unwrap().extended);
    }

    #[test]
    fn addresses_of_reverse_names() {
        assert_eq!(reverse("15.2.0.10.in-addr.arpa"), Some([10, 0, 2, 15].into()));
        let six = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        assert_eq!(reverse(six), Some("2001:db8::2".parse().unwrap()));
        for bad in ["0.10.in-addr.arpa", "1.2.3.4.5.in-addr.arpa", "256.1.1.1.in-addr.arpa", "1.ip6.arpa", "ip6.arpa"] {
            assert_eq!(reverse(bad), None, "{bad}");
        }
    }
}
