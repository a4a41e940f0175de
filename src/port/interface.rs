//! Common to edges on a network interface: link state and name.

use crate::error::Error;

/// Whether an interface is up, as far as its port has seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkState {
    /// Frames pass.
    Up,
    /// It was set down: it drops frames, and none come.
    Down,
    /// It is up, but its program does not have this TAP or TUN open: it loses frames, and none come.
    Unopened,
}

/// Checks a name as the kernel does, before it cuts or expands it in silence: 1 to 15 bytes, none of them `/`, `:`,
/// `%` or white space, and not `.` or `..` (`dev_valid_name` and `__dev_alloc_name` of net/core/dev.c).
///
/// # Errors
/// A usage error that says what is wrong with it, led by `port` (`tap:zeth0`).
pub fn check_name(port: &str, name: &str) -> Result<(), Error> {
    let wrong = match name {
        "" => "an interface's name is missing",
        "." | ".." => "not a name for an interface",
        _ if name.len() > 15 => "an interface's name has 15 bytes at most",
        _ if name.contains(['/', ':', '%', '\0']) || name.contains(char::is_whitespace) => {
            "an interface's name has no '/', ':', '%' or white space"
        }
        _ => return Ok(()),
    };
    Err(Error::usage(format!("{port}: {wrong}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_kernels() {
        for good in ["zeth0", "enx00005e005300", "fifteen-letters", "a.b@c", "ü"] {
            assert_eq!(check_name("tap", good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "sixteen-letters!", "zeth%d", "a/b", "a:b", "a b", "a\tb", "a\0b", "ünïcödé-ünïcödé"]
        {
            let error = check_name("tap", bad).unwrap_err();
            assert_eq!(error.class(), crate::error::Class::Usage, "{bad:?}");
        }
    }
}
