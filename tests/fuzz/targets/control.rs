//! What comes on the control socket: bytes cut into lines, lines into requests.
//!
//! However the bytes are cut into reads, the lines are the same. What parses is written as a line that parses to the
//! same again. No error hands a control character of its input on to a terminal, and its answer is one line.

use zbridge::internals::control::{Lines, Reply, Request, print};

/// The longest line of this target, so that small inputs reach the bound.
const LIMIT: usize = 200;

/// The first byte says how long each read is.
pub fn control(data: &[u8]) {
    let Some((&read, bytes)) = data.split_first() else { return };
    let at_once = lines(bytes, bytes.len().max(1));
    assert_eq!(lines(bytes, usize::from(read).max(1)), at_once);
    at_once.iter().for_each(|line| request(line));
}

/// The lines until the end, or until one is too long.
fn lines(bytes: &[u8], read: usize) -> Vec<Vec<u8>> {
    let mut lines = Lines::new(LIMIT);
    let mut got = Vec::new();
    for piece in bytes.chunks(read) {
        lines.push(piece);
        loop {
            match lines.next_line() {
                Ok(Some(line)) => got.push(line.to_vec()),
                Ok(None) => break,
                Err(too_long) => {
                    assert_eq!((too_long.limit, lines.next_line().is_err()), (LIMIT, true));
                    return got;
                }
            }
        }
    }
    got
}

fn request(line: &[u8]) {
    assert!(line.len() <= LIMIT);
    match Request::parse(line) {
        Ok(request) => {
            let printed = request.print();
            assert_eq!(printed.iter().filter(|&&byte| byte == b'\n').count(), 1);
            assert_eq!(Request::parse(printed.trim_ascii_end()), Ok(request));
        }
        Err(bad) => {
            let shown = bad.error.to_string();
            assert_eq!(shown.chars().find(|char| char.is_control() && *char != '\n'), None, "{shown:?}");
            let answer = print(&Reply::error(bad.id, &bad.error));
            assert_eq!(answer.iter().position(|&byte| byte == b'\n'), Some(answer.len() - 1));
        }
    }
}
