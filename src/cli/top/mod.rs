//! `zbridge top`: a running bridge as a live view: ports with rates and drops, stations, and what has happened.
//!
//! # The plan
//! | room | what it is |
//! |---|---|
//! | `model` | what is shown, as plain data: it takes answers of the bridge and keys, and says what is to be done |
//! | `events` | what has happened between two answers |
//! | `view` | draws the model into a frame of whatever size |
//! | `asker` | a thread that asks the bridge, changes it, and comes back to one that was started again |
//! | `captures` | captures of ports into files |
//! | `keys` | what is typed and pasted |
//! | `terminal` | the terminal, which gets its old self back however this ends |
//!
//! The loop here has the terminal: it draws when something has changed, and sleeps in the terminal's poll.

mod asker;
mod captures;
mod events;
mod keys;
mod model;
mod terminal;
mod view;

use super::print;
use crate::engine::control::DEFAULT_NAME;
use crate::error::{Class, Error, Result};
use asker::{Asker, Told};
use captures::Captures;
use keys::{Input, Keys};
use model::{Action, App};
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};
use terminal::{Screen, Signals};
use view::Palette;

/// The longest sleep of a turn: how late an answer of the bridge is drawn.
const NAP: Duration = Duration::from_millis(100);
/// How long the bridge may take to answer before the screen says that it is waited for.
const SOON: Duration = Duration::from_millis(500);
/// How long it may take where there is no terminal: longer than anybody waits for a bridge.
const ALWAYS: Duration = Duration::from_secs(60);
/// How long captures may take to write their last frames, and how long after a signal.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(200));

/// Shows the bridge called `name`, or the one that is meant when none is named, until the user ends it.
///
/// # Errors
/// No bridge runs (no-daemon); standard input or output is no terminal (usage), or goes away; the bridge had ended, or
/// had not answered, when the user ended this.
pub fn run(name: Option<String>) -> Result<()> {
    let is_terminal = io::stdout().is_terminal() && io::stdin().is_terminal();
    let mut app = App::new(name.as_deref().unwrap_or(DEFAULT_NAME));
    let reach = name.clone();
    let asker = Asker::start(name)?;
    // A bridge that is not there is said so where the command was typed.
    if let Some(told) = asker.told(if is_terminal { SOON } else { ALWAYS }) {
        take(&mut app, told)?;
    }
    if !is_terminal {
        let error = Error::usage("top needs a terminal, for its output and its keys");
        return Err(error.hint("elsewhere: zbridge status --watch, with --json for a program"));
    }
    let signals = Signals::heard()?;
    let mut captures = Captures::new(reach);
    let mut screen = Screen::open(Palette::of_environment()).map_err(|cause| of_terminal(&cause))?;
    let shown = show(&mut app, &asker, &mut captures, &mut screen, &signals);
    drop(screen);
    // The terminal is itself again: what is to stay is said now.
    captures.end_all(if signals.came() { PATIENCE.1 } else { PATIENCE.0 });
    let said = captures.finished().iter().map(|(path, outcome)| format!("{}: {outcome}\n", path.display()));
    let said = print(said.collect::<String>());
    signals.obey();
    shown.and(said)?;
    match (app.gone(), app.bridge()) {
        (None, (_, Some(_))) => Ok(()),
        (Some(why), (_, Some(_))) => Err(Error::new(Class::NoDaemon, why.to_owned())),
        (_, (name, None)) => Err(Error::new(Class::Runtime, format!("the bridge {name} has not answered"))),
    }
}

fn of_terminal(cause: &io::Error) -> Error {
    Error::system("the terminal", cause)
}

/// Draws and takes keys until the user ends it, or a signal comes.
fn show(app: &mut App, asker: &Asker, captures: &mut Captures, screen: &mut Screen, signals: &Signals) -> Result<()> {
    let (mut keys, mut drawn) = (Keys::default(), None::<Instant>);
    loop {
        let mut news = screen.is_resized() || drawn.is_none_or(|at| at.elapsed() >= Duration::from_secs(1));
        while let Some(told) = asker.told(Duration::ZERO) {
            news = true;
            take(app, told)?;
        }
        while let Some(said) = captures.news() {
            news = true;
            app.say(said);
        }
        if signals.came() {
            return Ok(());
        }
        if signals.is_to_stop() {
            screen.stop().map_err(|cause| of_terminal(&cause))?;
            drawn = None;
            continue;
        }
        if !screen.is_held() {
            return Err(Error::new(Class::Fault, "a thread of this command has failed"));
        }
        if news {
            app.set_captures(captures.running());
            screen.draw(app).map_err(|cause| of_terminal(&cause))?;
            drawn = Some(Instant::now());
        }
        for input in keys.read(NAP).map_err(|cause| of_terminal(&cause))? {
            drawn = None;
            let action = match input {
                Input::Key(key) => app.key(key),
                Input::Text(text) => {
                    app.paste(&text);
                    None
                }
            };
            match action {
                Some(Action::Quit) => return Ok(()),
                Some(Action::Capture(port)) => {
                    let said = captures.toggle(app.bridge().0, &port);
                    app.say(said);
                }
                Some(Action::Change(change)) => asker.change(change),
                Some(Action::Stop) => signals.stop(),
                None => {}
            }
        }
    }
}

/// Takes what the asker has learned.
///
/// # Errors
/// There is no bridge.
fn take(app: &mut App, told: Told) -> Result<()> {
    match told {
        Told::Met(greeting) => app.meet(&greeting),
        Told::Refused(error) => return Err(error),
        Told::Looked(look) => {
            let time = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
            app.look(Instant::now(), &time, *look);
        }
        Told::Gone(why) => app.lose(&why),
        Told::Done(said) => app.say(said),
    }
    Ok(())
}
