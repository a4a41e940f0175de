//! The thread that talks with the bridge, so that one that hangs does not hold up the keys.

use super::super::stations::{Station, stations};
use crate::control::{Greeting, InstanceInfo, Lifetime, StatusInfo};
use crate::engine::control::Client;
use crate::error::{Class, Error, Result};
use crate::rights::role::{BASE, NETWORK, READ, SOCKETS};
use crate::rights::{self, Role};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use std::time::Duration;

/// Time from one look to the next, and between attempts to find the bridge again.
const LOOK: Duration = Duration::from_secs(1);

/// It asks over a control socket.
static ROLE: Role = Role::new("top", &[BASE, SOCKETS, NETWORK, READ]);

/// What the bridge has answered.
pub struct Look {
    /// Its switches and ports.
    pub status: StatusInfo,
    /// Who is on it.
    pub stations: Vec<Station>,
    /// The programs that it runs.
    pub instances: Vec<InstanceInfo>,
}

/// What the thread has learned.
pub enum Told {
    /// Which bridge it is, once.
    Met(Greeting),
    /// There is none, or none for this user; it asks no more.
    Refused(Error),
    /// How the bridge is.
    Looked(Box<Look>),
    /// It does not answer, or has ended.
    Gone(String),
    /// A change was made, or refused.
    Done(String),
}

/// A change of the bridge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Removes a port.
    Remove(String),
    /// Opens a port that was removed.
    Add(String),
    /// Changes settings of a port.
    Set(String, Vec<String>),
}

/// The near end of the thread. It ends when this is dropped.
pub struct Asker {
    changes: Sender<Change>,
    told: Receiver<Told>,
}

impl Asker {
    /// Starts it, for the bridge called so, or the one that is meant when none is named.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(name: Option<String>) -> Result<Self> {
        let ((changes, wanted), (tell, told)) = (unbounded(), unbounded());
        let work = move || talk(name, &wanted, &tell);
        rights::spawn_to_look("zb-top", &ROLE, work).map_err(|cause| Error::system("cannot start a thread", &cause))?;
        Ok(Self { changes, told })
    }

    /// The next that it has learned, if there is any within `patience`.
    pub fn told(&self, patience: Duration) -> Option<Told> {
        self.told.recv_timeout(patience).ok()
    }

    /// Has a change made.
    pub fn change(&self, change: Change) {
        // The thread lasts as long as this does.
        let _ = self.changes.send(change);
    }
}

/// Asks, until nobody listens any more.
fn talk(mut name: Option<String>, changes: &Receiver<Change>, tell: &Sender<Told>) {
    let (mut client, mut is_met) = (None, false);
    loop {
        let told = match client.as_mut().map(look) {
            Some(Ok(look)) => Told::Looked(Box::new(look)),
            Some(Err(error)) => {
                // Whatever came late on this connection is another question's answer.
                client = None;
                Told::Gone(error.what().to_owned())
            }
            None => match name.as_deref().map_or_else(Client::connect_default, Client::connect) {
                Ok(found) => {
                    let greeting = found.greeting().clone();
                    // From now on it is this one, even if others are started.
                    name.get_or_insert_with(|| greeting.name.clone());
                    client = Some(found);
                    if !std::mem::replace(&mut is_met, true) && tell.send(Told::Met(greeting)).is_err() {
                        return;
                    }
                    continue;
                }
                // One that is there, and only does not answer yet, is worth waiting for.
                Err(error) if !is_met && error.class() != Class::Runtime => {
                    // Fails only when nobody listens any more.
                    let _ = tell.send(Told::Refused(error));
                    return;
                }
                Err(error) => Told::Gone(error.what().to_owned()),
            },
        };
        if tell.send(told).is_err() {
            return;
        }
        match changes.recv_timeout(LOOK) {
            Ok(change) => {
                let said = client.as_mut().map_or_else(|| "the bridge is not there".to_owned(), |it| make(it, &change));
                if tell.send(Told::Done(said)).is_err() {
                    return;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn look(client: &mut Client) -> Result<Look> {
    let status = client.status()?;
    let stations = client.fdb(None).and_then(|fdb| Ok(stations(fdb, &client.stations()?, &status)));
    // A switch that has ended, or hangs, has no stations; its trouble is in the status.
    match stations {
        Ok(stations) => Ok(Look { status, stations, instances: client.instances()?.instances }),
        Err(error) if error.class() == Class::NoDaemon => Err(error),
        Err(_) => Ok(Look { status, stations: Vec::new(), instances: client.instances()?.instances }),
    }
}

/// Makes a change, and says how that went.
fn make(client: &mut Client, change: &Change) -> String {
    let done = match change {
        Change::Remove(port) => client.remove_port(port).map(|()| format!("{port} is removed; u adds it again")),
        Change::Set(port, words) => client.set(port, words).map(|()| format!("{port}: set {}", words.join(" "))),
        Change::Add(spec) => client.add_port(spec, Lifetime::Bridge).map(|added| format!("{} is back", added.port)),
    };
    done.unwrap_or_else(|error| error.what().to_owned())
}
