//! `zbridge events`: what comes, changes and goes on a running bridge, a line each.

use super::args::Which;
use super::ask::connect;
use super::print;
use crate::control::EventInfo;
use crate::error::Result;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// What is asked of `events`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct EventsArgs {
    /// Which bridge.
    #[command(flatten)]
    bridge: Which,
    /// As JSON, one object a line
    #[arg(long)]
    json: bool,
    /// First what there is now, and then what happens
    #[arg(long)]
    initial_state: bool,
}

/// Prints events until the bridge ends.
///
/// # Errors
/// No bridge runs (class no-daemon), or it has ended.
pub fn run(args: &EventsArgs) -> Result<()> {
    let mut client = connect(args.bridge.name().as_deref())?;
    client.subscribe(args.initial_state)?;
    loop {
        let event = client.next_event()?;
        print(if args.json { crate::control::print(&event) } else { line(&event).into_bytes() })?;
    }
}

/// `12:00:00  port      changed  inst1: up, was listening`.
fn line(event: &EventInfo) -> String {
    let millis = i64::try_from(event.time).unwrap_or(i64::MAX);
    let time = Timestamp::from_millisecond(millis).unwrap_or_default().to_zoned(TimeZone::system());
    let time = time.strftime("%H:%M:%S");
    if event.of == "missed" {
        return format!("{time}  missed    {} events, as they were not read\n", event.count);
    }
    let at = Some(&event.port).filter(|port| !port.is_empty()).map(|port| format!(" on {port}")).unwrap_or_default();
    let state = Some(&event.state).filter(|it| !it.is_empty()).map(|state| format!(": {state}")).unwrap_or_default();
    let was = Some(&event.was).filter(|was| !was.is_empty()).map(|was| format!(", was {was}")).unwrap_or_default();
    format!("{time}  {:8}  {:7}  {}{at}{state}{was}\n", event.of, event.what, event.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line() {
        let event = |json| line(&serde_json::from_value(json).unwrap())[10..].to_owned();
        let changed = serde_json::json!({
            "time": 0, "event": "port", "what": "changed", "name": "inst1", "state": "up", "was": "listening"
        });
        assert_eq!(event(changed), "port      changed  inst1: up, was listening\n");
        let drop = serde_json::json!({"time": 0, "event": "drop", "what": "new", "name": "stalled", "port": "inst1"});
        assert_eq!(event(drop), "drop      new      stalled on inst1\n");
        let missed = serde_json::json!({"time": 0, "event": "missed", "what": "new", "name": "", "count": 7});
        assert_eq!(event(missed), "missed    7 events, as they were not read\n");
    }
}
