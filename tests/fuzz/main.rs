//! Fuzzing, as a test: every target runs over its committed corpus, and over inputs made from it by chance.
//!
//! ```text
//! cargo test --test fuzz                                  the corpus, and 2,000 made inputs for each target
//! ZBRIDGE_FUZZ_RUNS=100000000 cargo test --release --test fuzz view    one target for longer
//! ZBRIDGE_FUZZ_SEED=7 cargo test --test fuzz view         the same inputs as in the run that printed this seed
//! tests/fuzz/libfuzzer/run view -max_total_time=600       guided by coverage, with libFuzzer
//! ```
//!
//! A failure shows the input; a file of these bytes under `corpus/TARGET` keeps the fault from coming back. New corpora
//! come out of `tests/fuzz/libfuzzer/run`, which says how.

mod mutate;
mod targets;

use mutate::Mutator;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use targets::{TARGETS, Target};

/// Made inputs for each target, unless `ZBRIDGE_FUZZ_RUNS` says otherwise.
const RUNS: u64 = 2_000;

/// A test for each target, and the list of these tests.
macro_rules! fuzz {
    ($($name:ident)+) => {
        const TESTED: &[&str] = &[$(stringify!($name)),+];
        $(
            #[test]
            fn $name() {
                fuzz(stringify!($name));
            }
        )+
    };
}

fuzz! {
    port_spec switch_spec config length_prefix slip uart_pipe view offload coalesce checksum rewrite switch failing_edges
    failing_switch endpoint pdu usbip usbip_client usbip_split hid_script nat dhcp4 dhcp6 dns tftp dhcp_client control
    filter trace_words scenario
}

#[test]
fn every_target_has_its_test() {
    assert_eq!(TARGETS.iter().map(|target| target.name).collect::<Vec<_>>(), TESTED);
}

fn fuzz(name: &str) {
    let target = Target::find(name).expect("a row of the table");
    let corpus = corpus(name);
    assert!(!corpus.is_empty(), "no corpus for {name}");
    for (path, input) in &corpus {
        run(target, input, &path.display());
    }
    let inputs: Vec<Vec<u8>> = corpus.into_iter().map(|(_, input)| input).collect();
    let runs = number("ZBRIDGE_FUZZ_RUNS").unwrap_or(RUNS);
    let seed = number("ZBRIDGE_FUZZ_SEED").unwrap_or_else(|| RandomState::new().hash_one(name));
    println!("{name}: {} files, {runs} made inputs, ZBRIDGE_FUZZ_SEED={seed}", inputs.len());
    let mut mutator = Mutator::new(seed);
    let mut input = Vec::new();
    for _ in 0..runs {
        mutator.make(&inputs, &mut input);
        run(target, &input, &"a made input");
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The files of a target, by name.
fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("a folder that can be read").path());
    let mut files: Vec<_> = paths.map(|path| (path.clone(), std::fs::read(path).expect("a file"))).collect();
    files.sort();
    files
}

fn run(target: &Target, input: &[u8], origin: &dyn std::fmt::Display) {
    let _shown = Shown { input, origin };
    (target.run)(input);
}

/// Shows the input when the target panics.
struct Shown<'a> {
    input: &'a [u8],
    origin: &'a dyn std::fmt::Display,
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let hex: String = self.input.iter().map(|byte| format!("{byte:02x}")).collect();
            eprintln!("{}: {}\nas a file: echo {hex} | xxd -r -p > FILE", self.origin, self.input.escape_ascii());
        }
    }
}
