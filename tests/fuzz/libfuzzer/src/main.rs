//! The fuzz targets under libFuzzer, all in one program; `ZBRIDGE_FUZZ_TARGET` says which one runs.
#![no_main]

#[path = "../../targets/mod.rs"]
mod targets;

use std::sync::OnceLock;
use targets::{TARGETS, Target};

static CHOSEN: OnceLock<&Target> = OnceLock::new();

fn chosen() -> &'static Target {
    let name = std::env::var("ZBRIDGE_FUZZ_TARGET").unwrap_or_default();
    Target::find(&name).unwrap_or_else(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("ZBRIDGE_FUZZ_TARGET has to be one of {}", names.join(" "));
        std::process::exit(2);
    })
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| (CHOSEN.get_or_init(chosen).run)(data));
