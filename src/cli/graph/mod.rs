//! `zbridge graph`: a bench as a picture, as text, or as mermaid, graphviz, SVG or JSON.
//!
//! ```text
//! control socket ─ model (Answers → Picture) ─┬─ text, words (mermaid, dot)
//! file ─ planned (Config → Picture) ──────────┘─ layout ─ svg ─ file, page of `zbridge view`
//! ```

mod layout;
pub mod model;
mod planned;
pub mod svg;
mod text;
mod words;

#[cfg(test)]
mod tests;

pub use planned::PLANNED;

use super::style::width_of;
use super::{ask, print};
use crate::error::Result;
use model::{Answers, Before, Picture, picture};
use std::path::PathBuf;
use std::time::Duration;

/// Between the two looks that rates come from.
const LOOK: Duration = Duration::from_millis(500);

/// What `zbridge graph` shows, and how.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct GraphArgs {
    /// Which bridge.
    #[command(flatten)]
    bridge: super::args::Which,

    /// How.
    #[command(flatten)]
    form: Form,

    /// A bench that does not run: what its file says
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["name", "to"])]
    config: Option<PathBuf>,
}

/// The form of a picture.
#[derive(clap::Args, Clone, Copy, PartialEq, Eq, Debug)]
#[group(multiple = false)]
struct Form {
    /// As a flowchart for a Markdown page, which GitHub draws
    #[arg(long)]
    mermaid: bool,
    /// As a graph for graphviz: zbridge graph --dot | dot -Tpng -o bench.png
    #[arg(long)]
    dot: bool,
    /// As a picture that needs nothing else, for light and dark pages
    #[arg(long)]
    svg: bool,
    /// As JSON, one object on one line
    #[arg(long)]
    json: bool,
}

/// Draws the picture.
///
/// # Errors
/// No bridge runs; a file that cannot be read.
pub fn run(args: &GraphArgs) -> Result<()> {
    let shown = match &args.config {
        Some(file) => planned::planned(&super::load(file)?, &crate::programs::name_of(file))?,
        None => running(args.bridge.name().as_deref())?,
    };
    print(match args.form {
        Form { svg: true, .. } => svg::file(&shown).into_bytes(),
        Form { mermaid: true, .. } => words::mermaid(&shown).into_bytes(),
        Form { dot: true, .. } => words::dot(&shown).into_bytes(),
        Form { json: true, .. } => crate::control::print(&shown),
        _ => text::tree(&shown, width_of(std::io::stdout())).into_bytes(),
    })
}

/// A bridge that runs, with its rates.
fn running(name: Option<&str>) -> Result<Picture> {
    let mut client = ask::connect(name)?;
    let before = Before::of(&Answers::of(&mut client)?);
    std::thread::sleep(LOOK);
    Ok(picture(&Answers::of(&mut client)?, &before))
}
