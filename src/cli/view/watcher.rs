//! Looks at the bridge and keeps the last look. It looks on while nobody looks at the page: what happens then has its own time,
//! not that of the next look at the page.
//!
//! A bridge that ends is said to have ended, and tried again until one of its name runs.

use crate::cli::graph::model::{Answers, Before, Picture, picture};
use crate::cli::graph::svg;
use crate::cli::table::OF_SERVICE;
use crate::cli::watch::Watch;
use crate::control::print;
use crate::counters::DROP_REASONS;
use crate::engine::control::Client;
use crate::error::{Error, Result};
use crate::rights::role::{BASE, NETWORK, READ, SOCKETS};
use crate::rights::{self, Role};
use crate::service::NAT_DROPS;
use parking_lot::{Condvar, Mutex};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// It asks the bridge.
static ROLE: Role = Role::new("watcher of view", &[BASE, SOCKETS, NETWORK, READ]);

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// How long a first question waits for a look.
const FIRST: Duration = Duration::from_secs(4);
/// Events that are kept.
const EVENTS: usize = 100;
/// The widest picture.
const WIDEST: u32 = 4000;

/// See the head of the file.
pub struct Watcher {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Looks so far.
    looks: u64,
    picture: Picture,
    /// Why the picture is not of now.
    trouble: Option<String>,
    events: VecDeque<String>,
    version: String,
    pid: u32,
    since: u64,
}

/// What the page gets.
#[derive(Serialize)]
struct Shown<'a> {
    bridge: &'a str,
    version: &'a str,
    pid: u32,
    since: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<&'a str>,
    svg: String,
    picture: &'a Picture,
    events: &'a VecDeque<String>,
    /// What the words of reasons mean.
    meanings: BTreeMap<String, &'static str>,
}

impl Watcher {
    /// Looks at the bridge of `client`, which can be reached again as `reach` and is called `name`.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(client: Client, reach: String, name: String) -> Result<Self> {
        let state = State {
            looks: 0,
            picture: Picture { bridge: name, ..Picture::default() },
            trouble: None,
            events: VecDeque::new(),
            version: client.greeting().version.clone(),
            pid: client.greeting().pid,
            since: 0,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let theirs = shared.clone();
        let started = rights::spawn("zb-view", &ROLE, move || theirs.look_on(client, &reach));
        started.map_err(|error| Error::system("cannot start a thread", &error))?;
        Ok(Self { shared })
    }

    /// The last look, as JSON, with the picture in a width.
    pub fn shown(&self, width: u32) -> Vec<u8> {
        let mut state = self.shared.state.lock();
        let _ = self.shared.changed.wait_while_for(&mut state, |state| state.looks == 0, FIRST);
        let State { picture, trouble, events, version, pid, since, .. } = &*state;
        print(&Shown {
            bridge: &picture.bridge,
            version,
            pid: *pid,
            since: *since,
            trouble: trouble.as_deref(),
            svg: svg::draw(picture, width.min(WIDEST), svg::Use::Page),
            picture,
            events,
            meanings: meanings(),
        })
    }
}

/// What the words of reasons mean, of ports and of services.
fn meanings() -> BTreeMap<String, &'static str> {
    let own = DROP_REASONS.iter().map(|row| (row.word.to_owned(), row.meaning));
    let services = NAT_DROPS.iter().map(|(row, _)| (format!("{OF_SERVICE}{}", row.word), row.meaning));
    own.chain(services).collect()
}

/// The names of all programs, and how each is.
fn programs(picture: &Picture) -> impl Iterator<Item = (&str, &str)> {
    let ports = picture.switches.iter().flat_map(|switch| &switch.ports);
    let of_ports =
        ports.flat_map(|port| std::iter::once(port).chain(&port.clients)).filter_map(|port| port.program.as_ref());
    picture.programs.iter().chain(of_ports).map(|program| (program.name.as_str(), program.state.as_str()))
}

impl Shared {
    fn look_on(&self, client: Client, reach: &str) {
        let (mut client, mut before, mut watch) = (Some(client), Before::default(), None);
        loop {
            let looked = match &mut client {
                Some(known) => Answers::of(known),
                None => Client::connect(reach).and_then(|mut fresh| {
                    let answers = Answers::of(&mut fresh)?;
                    client = Some(fresh);
                    Ok(answers)
                }),
            };
            match looked {
                Ok(answers) => {
                    before = self.note(&answers, &before, &mut watch, client.as_ref());
                }
                Err(error) => {
                    (client, before, watch) = (None, Before::default(), None);
                    self.lost(&error);
                }
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Keeps a look, and what has changed since the last one.
    fn note(&self, answers: &Answers, before: &Before, watch: &mut Option<Watch>, client: Option<&Client>) -> Before {
        let mut state = self.state.lock();
        if state.trouble.take().is_some() {
            // One that did not answer may have run all the time.
            let is_same = (state.pid, state.since) == (answers.status.pid, answers.status.since);
            state.event(if is_same { "the bridge answers again" } else { "the bridge runs again" }.to_owned());
        }
        if let Some(watch) = watch {
            let events = watch.comings(answers.at, &answers.status);
            events.into_iter().for_each(|event| state.event(event));
        } else {
            *watch = Some(Watch::new(answers.at, &answers.status, None));
        }
        let fresh = picture(answers, before);
        for (name, is) in programs(&fresh) {
            let was = programs(&state.picture).find(|(known, _)| *known == name).map(|(_, was)| was.to_owned());
            if was.is_some_and(|was| was != is) {
                state.event(format!("program {name}: {is}"));
            }
        }
        state.picture = fresh;
        state.since = answers.status.since;
        if let Some(greeting) = client.map(Client::greeting) {
            (state.version, state.pid) = (greeting.version.clone(), greeting.pid);
        }
        state.looks += 1;
        self.changed.notify_all();
        Before::of(answers)
    }

    fn lost(&self, error: &Error) {
        let mut state = self.state.lock();
        if state.trouble.is_none() {
            state.event(format!("the bridge does not answer: {}", error.what()));
        }
        state.trouble = Some(error.what().to_owned());
        state.looks += 1;
        self.changed.notify_all();
    }
}

impl State {
    /// Notes what has happened, with the time.
    fn event(&mut self, what: String) {
        let time = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
        self.events.push_back(format!("{time} {what}"));
        if self.events.len() > EVENTS {
            self.events.pop_front();
        }
    }
}
