//! Stand-ins for simulators: small C programs, compiled when a test asks for them.

use crate::TempDir;
use crate::needs::{Missing, missing, tool};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How a stand-in is compiled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Build {
    /// As most programs are.
    Dynamic,
    /// Without a library that could be preloaded.
    Static,
    /// For a 32-bit machine, as native_sim is by default.
    Bits32,
}

/// Compiles the program that opens a TAP as native_sim does (`tests/support/standin/tap_program.c`, whose head tells its
/// arguments) into `dir`.
///
/// # Errors
/// What is needed for that.
pub fn tap_program(dir: &TempDir, build: Build) -> Result<PathBuf, Missing> {
    compile(dir, "tap_program", build)
}

/// Compiles the program that opens a TUN as Contiki-NG does (`tests/support/standin/tun_program.c`) into `dir`.
///
/// # Errors
/// What is needed for that.
pub fn tun_program(dir: &TempDir) -> Result<PathBuf, Missing> {
    compile(dir, "tun_program", Build::Dynamic)
}

fn compile(dir: &TempDir, stem: &str, build: Build) -> Result<PathBuf, Missing> {
    tool("cc", "gcc")?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("standin/{stem}.c"));
    let (end, flags): (_, &[&str]) = match build {
        Build::Dynamic => ("", &[]),
        Build::Static => ("_static", &["-static"]),
        Build::Bits32 => ("_32", &["-m32"]),
    };
    let program = dir.path(&format!("{stem}{end}"));
    let mut compiler = Command::new("cc");
    compiler.args(["-O1", "-Wall", "-Wextra"]).args(flags).arg("-o").arg(&program).arg(source);
    let compiled = compiler.output().expect("cc runs");
    if !compiled.status.success() {
        assert_eq!(build, Build::Bits32, "{}", String::from_utf8_lossy(&compiled.stderr));
        missing("32-bit C libraries", "install with `apt-get install gcc-multilib`")?;
    }
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("a mode in the test's folder");
    Ok(program)
}
