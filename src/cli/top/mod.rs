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
//! | `terminal` | the terminal, which gets its old self back however this ends |
//!
//! The loop here has the terminal: it draws when something has changed, and sleeps in the terminal's poll.

mod asker;
mod captures;
mod events;
mod model;
mod terminal;
mod view;

use super::print;
use crate::engine::control::Client;
use crate::error::{Class, Error, Result};
use asker::{Asker, Told};
use captures::Captures;
use model::{Action, App};
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use std::io::IsTerminal;
use std::time::{Duration, Instant};
use terminal::{Screen, Signals};
use view::Palette;

/// The longest sleep in the terminal's poll: how late an answer of the bridge is drawn.
const NAP: Duration = Duration::from_millis(100);
/// How long captures may take to write their last frames.
const PATIENCE: Duration = Duration::from_secs(2);

/// Shows the bridge that `client` is connected to, until the user ends it.
///
/// # Errors
/// Standard input or output is no terminal (usage); the bridge had ended when the user did (no-daemon).
pub fn run(client: Client) -> Result<()> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        let error = Error::usage("top needs a terminal, for its output and its keys");
        return Err(error.hint("elsewhere: zbridge status --watch, with --json for a program"));
    }
    let signals = Signals::heard().map_err(|cause| Error::system("signals", &cause))?;
    let mut captures = Captures::new(&client.greeting().name);
    let mut app = App::new(client.greeting());
    let asker = Asker::start(client)?;
    let mut screen = Screen::open(Palette::of_environment()).map_err(|cause| Error::system("the terminal", &cause))?;
    let shown = show(&mut app, &asker, &mut captures, &mut screen, &signals);
    drop(screen);
    // The terminal is itself again: what is to stay is said now.
    captures.end_all(PATIENCE);
    for (path, outcome) in captures.finished() {
        print(format!("{}: {outcome}\n", path.display()))?;
    }
    shown.map_err(|cause| Error::system("the terminal", &cause))?;
    signals.obey();
    match app.gone() {
        Some(why) => Err(Error::new(Class::NoDaemon, why.to_owned())),
        None => Ok(()),
    }
}

/// Draws and takes keys until the user ends it, or a signal comes.
fn show(
    app: &mut App,
    asker: &Asker,
    captures: &mut Captures,
    screen: &mut Screen,
    signals: &Signals,
) -> std::io::Result<()> {
    let mut drawn: Option<Instant> = None;
    loop {
        let mut news = drawn.is_none_or(|at| at.elapsed() >= Duration::from_secs(1));
        while let Some(told) = asker.told() {
            news = true;
            take(app, told);
        }
        while let Some(said) = captures.news() {
            news = true;
            app.say(said);
        }
        if signals.came() {
            return Ok(());
        }
        if news {
            app.set_captures(captures.running());
            screen.draw(app)?;
            drawn = Some(Instant::now());
        }
        if !event::poll(NAP)? {
            continue;
        }
        drawn = None;
        match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => match app.key(key) {
                Some(Action::Quit) => return Ok(()),
                Some(Action::Capture(port)) => {
                    let said = captures.toggle(&port);
                    app.say(said);
                }
                Some(Action::Change(change)) => asker.change(change),
                None => {}
            },
            // A resized terminal is drawn anew, as after every event.
            _ => {}
        }
    }
}

/// Takes what the asker has learned.
fn take(app: &mut App, told: Told) {
    match told {
        Told::Looked(look) => {
            let time = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
            app.look(Instant::now(), &time, *look);
        }
        Told::Gone(why) => app.lose(&why),
        Told::Done(said) => app.say(said),
    }
}
