//! Scenarios: what is done to a bench while it runs, when, and what is expected of it.
//!
//! ```text
//! [[scenario]] (config) ─ step: words into conditions and deeds ─ machine: when each is due, and what has become of it
//!                              │                                      │ looks, deeds and probes, by who drives it (play)
//!                              └─ condition ─ expr, look              └─ report: JUnit, and a summary for people
//! ```
//!
//! All of it is sans-I/O. The one language of conditions ([`Condition`]) is that of scenarios, of `zbridge wait` and of
//! `zbridge assert`.

mod condition;
mod expr;
mod junit;
mod look;
mod machine;
mod report;
mod step;
mod timeline;

pub use condition::{Condition, Probe};
pub use expr::figures;
pub use junit::junit;
pub use look::{Look, News};
pub use machine::{Action, Machine};
pub use report::{Report, summary};
pub use step::{Act, Names, Scenario, compile};
pub use timeline::timeline;
