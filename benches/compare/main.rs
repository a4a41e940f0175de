//! zbridge against its peers and against the least that system calls cost, on this machine, back to back.
//!
//! ```text
//! cargo bench --bench compare                          everything, five rounds (about half an hour)
//! cargo bench --bench compare -- --list                the workloads, and who is there
//! cargo bench --bench compare -- stream-64 tap-tcp     these
//! cargo bench --bench compare -- --markdown            the README's table, in eight minutes at most
//! cargo bench --bench compare -- --quick               a smoke run
//! ```
//!
//! In each round every contender runs every workload once, in an order drawn anew; what is shown are the medians, at the
//! end.
//! Programs that are not installed are left out. Traffic stays on UNIX sockets and in network namespaces made for it
//! (which, with TAPs, need root). CPU time is that of the switch's process alone, in `/proc/PID/task/*/schedstat`.
//!
//! `load.rs` makes and checks the load, `relay.rs` has the bare relays, `contender.rs` starts the programs,
//! `workload.rs` is the table of what is done, `measure.rs` does it, `report.rs`, `markdown.rs` and `plot.rs` tell of it.

mod contender;
mod frames;
mod link;
mod load;
mod markdown;
mod measure;
mod plot;
mod process;
mod relay;
mod report;
mod track;
mod workload;

use clap::Parser;
use contender::{ALL, Contender, Lab, Medium};
use frames::Random;
use measure::{Effort, measure};
use report::Results;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use support::needs;
use workload::{WORKLOADS, Workload};

/// What went wrong.
type Fault = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Fault>;

/// Measures zbridge, its peers and bare relays back to back.
#[derive(Parser, Debug)]
#[command(name = "compare", bin_name = "cargo bench --bench compare --")]
struct Options {
    /// The workloads, by name or the beginning of it; all of them without
    workloads: Vec<String>,

    /// Says which workloads there are and who is installed, and ends
    #[arg(long)]
    list: bool,

    /// One short round with fewer stations
    #[arg(long)]
    quick: bool,

    /// How often each is measured
    #[arg(long, default_value_t = 5, value_name = "N")]
    rounds: usize,

    #[arg(long, value_name = "S", help = "How long one measurement takes (default: 2)")]
    seconds: Option<f64>,

    /// Only those whose names begin so, as zbridge or bare; may be given often
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,

    /// Writes everything, every round, to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Measures what is in the README's table, and prints it; with --minutes 8 --seconds 0.5, unless said
    #[arg(long)]
    markdown: bool,

    /// Begins no round that would not end within this time; the first is always whole
    #[arg(long, value_name = "M")]
    minutes: Option<f64>,

    /// Draws the medians
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Another zbridge than the one just built
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_zbridge"))]
    zbridge: PathBuf,

    /// Decides the order
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// What cargo bench says
    #[arg(long, hide = true)]
    bench: bool,

    /// Runs a bare relay
    #[arg(long, hide = true, num_args = 1..)]
    relay: Vec<String>,
}

fn main() -> ExitCode {
    if std::env::args().len() == 1 {
        // so does `cargo test --all-targets`, which is no time to measure
        println!("measures only on demand: cargo bench --bench compare -- --help");
        return ExitCode::SUCCESS;
    }
    let options = Options::parse();
    let done = if options.relay.is_empty() { run(&options) } else { relay::run(&options.relay) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("compare: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    frames::now();
    let chosen = match &options.workloads[..] {
        [] if options.markdown => choose(&markdown::ROWS.map(str::to_owned))?,
        names => choose(names)?,
    };
    let there = contenders(&options.only);
    if options.list {
        list(&there);
        return Ok(());
    }
    // vde_switch and a thousand ports want a descriptor each, and so do their other ends
    let mut files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    files.current = files.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, files)?;
    let lab = Lab { zbridge: options.zbridge.clone(), relay: std::env::current_exe()? };
    let effort = Effort {
        time: Duration::from_secs_f64(options.seconds.unwrap_or(match (options.quick, options.markdown) {
            (true, _) => 0.3,
            (_, true) => 0.5,
            _ => 2.0,
        })),
        quick: options.quick,
    };
    let rounds = if options.quick { 1 } else { options.rounds };
    let seed = options.seed.unwrap_or_else(|| std::process::id().into());
    let mut random = Random::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let minutes = options.minutes.or(options.markdown.then_some(8.0));
    let limit = minutes.map(|minutes| Duration::from_secs_f64(60.0 * minutes));
    let mut field: Vec<Field> = chosen.into_iter().map(|workload| Field::new(workload, &there, options)).collect();
    let done = run_rounds(&lab, &mut field, rounds, limit, effort, &mut random);
    let told = format!("{done} rounds of {:?}, order from seed {seed}, {}", effort.time, machine());
    let all: Vec<(&Workload, Results)> = field.into_iter().map(|field| (field.workload, field.results)).collect();
    if options.markdown {
        for (workload, results) in &all {
            results.failures.iter().for_each(|(who, why)| eprintln!("{}, {}: {why}", workload.name, who.name()));
        }
        println!("{}", markdown::table(&told, &all));
    } else {
        println!("{told}");
        all.iter().for_each(|(workload, results)| println!("\n{}", report::table(workload, results).trim_end()));
    }
    if let Some(path) = &options.json {
        let json = report::json(head(options, effort, done, seed, &there), &all);
        std::fs::write(path, serde_json::to_string_pretty(&json)? + "\n")?;
    }
    if let Some(path) = &options.svg {
        std::fs::write(path, plot::svg(&all))?;
    }
    // that a peer fails is a result
    let own = |results: &Results| results.failures.keys().any(|failed| failed.program().is_none());
    if all.iter().any(|(_, results)| own(results)) {
        return Err("not all of zbridge and the bare relays could be measured, see above".into());
    }
    Ok(())
}

/// A workload, who can carry it, and what came of it.
struct Field {
    workload: &'static Workload,
    contenders: Vec<Contender>,
    results: Results,
}

impl Field {
    fn new(workload: &'static Workload, there: &[Contender], options: &Options) -> Self {
        let asked = |contender: &Contender| !options.markdown || markdown::shows(workload, *contender);
        let mut contenders: Vec<Contender> = workload.contenders.to_vec();
        contenders.retain(|contender| there.contains(contender) && asked(contender));
        let mut results = Results::default();
        if workload.medium == Medium::Tap
            && let Err(missing) = needs::netns().and_then(|()| needs::tun())
        {
            results.failures.extend(contenders.drain(..).map(|contender| (contender, missing.to_string())));
        }
        Self { workload, contenders, results }
    }
}

/// Who takes longer than this, when the time is limited, is measured once: vde_switch that learns a million stations.
const SLOW: Duration = Duration::from_secs(10);

/// Measures every workload once in each round, as many rounds as the time allows. Returns how many.
fn run_rounds(
    lab: &Lab,
    all: &mut [Field],
    rounds: usize,
    limit: Option<Duration>,
    effort: Effort,
    random: &mut Random,
) -> usize {
    let start = Instant::now();
    for round in 1..=rounds {
        let begun = Instant::now();
        for Field { workload, contenders, results } in &mut *all {
            eprintln!("round {round} after {:.0} s: {}", start.elapsed().as_secs_f64(), workload.name);
            random.shuffle(contenders);
            contenders.retain(|&contender| {
                let begun = Instant::now();
                match measure(lab, contender, workload, effort) {
                    Ok(sample) => results.samples.entry(contender).or_default().push(sample),
                    Err(fault) => drop(results.failures.entry(contender).or_insert_with(|| fault.to_string())),
                }
                limit.is_none() || begun.elapsed() < SLOW
            });
        }
        if limit.is_some_and(|limit| start.elapsed() + begun.elapsed() > limit) {
            return round;
        }
    }
    rounds
}

fn choose(names: &[String]) -> Result<Vec<&'static Workload>> {
    if names.is_empty() {
        return Ok(WORKLOADS.iter().collect());
    }
    let mut chosen: Vec<&Workload> = Vec::new();
    for name in names {
        let exact = WORKLOADS.iter().filter(|workload| workload.name == name).collect::<Vec<_>>();
        let some = WORKLOADS.iter().filter(|workload| workload.name.starts_with(name.as_str())).collect::<Vec<_>>();
        let found = if exact.is_empty() { some } else { exact };
        if found.is_empty() {
            return Err(format!("there is no workload {name}; --list says which there are").into());
        }
        chosen.extend(found);
    }
    Ok(chosen)
}

fn contenders(only: &[String]) -> Vec<Contender> {
    let asked = |contender: &Contender| {
        only.is_empty() || only.iter().any(|name| contender.name().to_lowercase().starts_with(&name.to_lowercase()))
    };
    ALL.into_iter().filter(asked).filter(|contender| contender.missing().is_none()).collect()
}

fn list(there: &[Contender]) {
    println!("Workloads:");
    for workload in WORKLOADS {
        let names: Vec<_> = workload.contenders.iter().map(|contender| contender.name()).collect();
        println!("  {:<20} {}\n  {:<20}   {}", workload.name, workload.what, "", names.join(", "));
    }
    println!("\nContenders:");
    for contender in ALL {
        let state = contender.missing().unwrap_or_else(|| contender.version());
        let chosen = if there.contains(&contender) { ' ' } else { '-' };
        println!("{chosen} {:<20} {state}", contender.name());
    }
}

/// The machine, in a few words.
fn machine() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{count} × {}, Linux {}", model.trim_start_matches(['\t', ' ', ':']), release.trim())
}

fn head(options: &Options, effort: Effort, rounds: usize, seed: u64, there: &[Contender]) -> Map<String, Value> {
    let versions: Map<String, Value> =
        there.iter().map(|contender| (contender.name().to_owned(), json!(contender.version()))).collect();
    let head = json!({
        "machine": machine(),
        "rounds": rounds,
        "seconds": effort.time.as_secs_f64(),
        "quick": options.quick,
        "seed": seed,
        "versions": versions,
    });
    if let Value::Object(head) = head { head } else { Map::new() }
}
