//! What a test needs of the machine, and what becomes of it where that is missing.
//!
//! A need is a function that gives [`Missing`] if it is not met: what is missing, and where to get it. On a
//! developer's machine such a test prints one line and returns; the project's own run (`tests/run`) sets
//! `ZBRIDGE_REQUIRE=1`, and there it fails, so that a skipped test is never taken for a passed one.

use std::env;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// Something the machine lacks.
#[derive(Clone, Debug)]
pub struct Missing {
    what: String,
    remedy: String,
}

/// Whether a need is met.
pub type Need = Result<(), Missing>;

impl fmt::Display for Missing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "needs {}, {}", self.what, self.remedy)
    }
}

/// `what` is missing and `remedy` gets it: `Err` of any need, for tests with needs of their own.
pub fn missing(what: impl Into<String>, remedy: impl Into<String>) -> Need {
    Err(Missing { what: what.into(), remedy: remedy.into() })
}

/// Whether tests must run rather than be skipped (`ZBRIDGE_REQUIRE=1`).
pub fn required() -> bool {
    env::var_os("ZBRIDGE_REQUIRE").is_some_and(|value| value == "1")
}

/// Whether the calling test is to be skipped for `need`; says so on stderr, past the test runner's capture. What
/// [`require!`](crate::require!) calls.
///
/// # Panics
/// If the need is not met and `required`.
pub fn skips(need: Need, required: bool) -> bool {
    let Err(missing) = need else { return false };
    assert!(!required, "{missing} (ZBRIDGE_REQUIRE=1 allows no skipped test)");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // a lost diagnostic is no reason to fail
    let _ = writeln!(std::io::stderr(), "{test}: skipped: {missing}");
    true
}

/// Effective user id 0.
pub fn root() -> Need {
    if rustix::process::geteuid().is_root() { Ok(()) } else { missing("root", "run the tests as root") }
}

/// `/dev/net/tun` can be opened.
pub fn tun() -> Need {
    match File::options().read(true).write(true).open("/dev/net/tun") {
        Ok(_) => Ok(()),
        Err(error) => missing(
            format!("/dev/net/tun ({error})"),
            "load it with `modprobe tun`, or give the container `--device /dev/net/tun`",
        ),
    }
}

/// Network namespaces can be made.
pub fn netns() -> Need {
    static MET: OnceLock<Need> = OnceLock::new();
    root()?;
    tool("ip", "iproute2")?;
    MET.get_or_init(|| {
        let name = format!("zbt-{}-probe", std::process::id());
        let ip = |verb: &str| Command::new("ip").args(["netns", verb, &name]).output();
        let refusal = match ip("add") {
            Ok(made) if made.status.success() => {
                return ip("del").map(drop).or_else(|error| missing(format!("ip netns ({error})"), "see ip-netns(8)"));
            }
            Ok(made) => String::from_utf8_lossy(&made.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        let remedy = "give the container CAP_SYS_ADMIN and CAP_NET_ADMIN";
        missing(format!("network namespaces ({refusal})"), remedy)
    })
    .clone()
}

/// `program` is on the PATH; Debian's `package` has it.
pub fn tool(program: &str, package: &str) -> Need {
    let path = env::var_os("PATH").unwrap_or_default();
    // Debian keeps administrators' programs where a plain user's PATH does not look
    let mut folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    if folders.any(|folder| folder.join(program).is_file()) {
        return Ok(());
    }
    missing(program, format!("install with `apt-get install {package}`"))
}

/// What `zbridge run` and `up` need where an ordinary user starts them.
pub fn programs() -> Need {
    root()?;
    tun()?;
    tool("setpriv", "util-linux")?;
    tool("unshare", "util-linux")?;
    tool("ip", "iproute2")
}

/// The guest of `tests/vm` can be booted. Builds it at the first call, which needs Debian's package archive.
pub fn guest() -> Need {
    static MET: OnceLock<Need> = OnceLock::new();
    for (program, package) in [
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("apt-get", "apt"),
        ("cpio", "cpio"),
        ("objdump", "binutils"),
        ("depmod", "kmod"),
        ("xz", "xz-utils"),
        ("cc", "gcc"),
    ] {
        tool(program, package)?;
    }
    MET.get_or_init(|| {
        let build = vm_folder().join("build");
        let remedy = "run tests/vm/build to see what it lacks";
        match Command::new(&build).output() {
            Ok(built) if built.status.success() => Ok(()),
            Ok(built) => {
                let errors = String::from_utf8_lossy(&built.stderr);
                missing(
                    format!("the test guest ({})", errors.trim().lines().last().unwrap_or("no reason given")),
                    remedy,
                )
            }
            Err(error) => missing(format!("the test guest ({error})"), remedy),
        }
    })
    .clone()
}

/// `tests/vm`, where the guest is built and booted.
pub fn vm_folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../vm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_met_need_lets_the_test_run() {
        assert!(!skips(tool("sh", "dash"), true));
        assert!(!skips(tool("sh", "dash"), false));
    }

    #[test]
    fn a_missing_tool_skips_and_says_where_to_get_it() {
        let need = tool("no-such-program", "no-such-package");
        let text = need.clone().unwrap_err().to_string();
        assert_eq!(text, "needs no-such-program, install with `apt-get install no-such-package`");
        assert!(skips(need, false));
    }

    #[test]
    fn a_missing_tool_fails_where_tests_are_required() {
        let outcome = std::panic::catch_unwind(|| skips(tool("no-such-program", "p"), true));
        let message = *outcome.unwrap_err().downcast::<String>().unwrap();
        assert!(message.starts_with("needs no-such-program"), "{message}");
    }
}
