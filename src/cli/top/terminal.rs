//! The terminal: its screen is another one while this lasts, and what was on it is there again afterwards, however it
//! ends: by a key, an error, a panic, or a signal.

use super::keys::MARKED;
use super::model::App;
use super::view::{self, Palette};
use crate::error::{Error, Result};
use crate::rights::role::{BASE, SOCKETS};
use crate::rights::{self, Role};
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::style::Print;
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::crossterm::{Command, execute};
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::stdio::stdout;
use rustix::termios::tcgetwinsize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use std::fs::File;
use std::io::{self, Read, Stdout};
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// The terminal is a live view's at this moment.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// Panics restore the terminal before they say anything.
static HOOKED: Once = Once::new();

/// The most columns and rows that are drawn: a terminal may claim 65535 of each, which no memory holds.
const MOST: (u16, u16) = (1000, 500);
/// The size of a terminal that has none, as a serial line.
const USUAL: (u16, u16) = (80, 24);
/// How long after a signal this may still end by itself.
const GRACE: Duration = Duration::from_millis(600);

/// It waits for a signal, and gives the terminal back.
static ROLE: Role = Role::new("top-signals", &[BASE, SOCKETS]);

/// See the head of the file.
pub struct Screen {
    /// Its own drop would write, and panic if the terminal is gone: [`restore`] does what is to be done.
    terminal: ManuallyDrop<Terminal<CrosstermBackend<Stdout>>>,
    palette: Palette,
    /// How much is logged otherwise.
    level: log::LevelFilter,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// It cannot be set.
    pub fn open(palette: Palette) -> io::Result<Self> {
        HOOKED.call_once(|| {
            let usual = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                restore();
                usual(info);
            }));
        });
        let terminal = ManuallyDrop::new(of_size(size())?);
        // Made before the screen is switched: if that fails, its drop restores what was set.
        let screen = Self { terminal, palette, level: log::max_level() };
        take()?;
        Ok(screen)
    }

    /// Stops the process as a shell's job is stopped, and goes on when the shell has it go on: until then the terminal is
    /// the shell's.
    ///
    /// # Errors
    /// The terminal cannot be set again.
    pub fn stop(&mut self) -> io::Result<()> {
        restore();
        // Here it sleeps.
        let _ = signal_hook::low_level::emulate_default_handler(SIGTSTP);
        take()?;
        // With its cursor shown, the drop of the old one writes nothing.
        self.terminal.show_cursor()?;
        *self.terminal = of_size(size())?;
        Ok(())
    }

    /// Whether it has another size than the picture.
    pub fn is_resized(&mut self) -> bool {
        size() != self.terminal.get_frame().area()
    }

    /// Whether the terminal is still this one's: a panic of any thread gives it back.
    pub fn is_held(&self) -> bool {
        TAKEN.load(Ordering::SeqCst)
    }

    /// Draws what `app` shows.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn draw(&mut self, app: &mut App) -> io::Result<()> {
        if self.is_resized() {
            // With its cursor shown, the drop of the old one writes nothing.
            self.terminal.show_cursor()?;
            *self.terminal = of_size(size())?;
            execute!(io::stdout(), Clear(ClearType::All))?;
        }
        self.terminal.draw(|frame| view::draw(frame, app, self.palette)).map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
        log::set_max_level(self.level);
    }
}

/// A terminal of exactly this size: ratatui would take whatever size the terminal claims.
fn of_size(area: Rect) -> io::Result<Terminal<CrosstermBackend<Stdout>>> {
    let options = TerminalOptions { viewport: Viewport::Fixed(area) };
    Terminal::with_options(CrosstermBackend::new(io::stdout()), options)
}

/// What is drawn of the terminal.
fn size() -> Rect {
    let claimed = tcgetwinsize(stdout()).map(|size| (size.ws_col, size.ws_row)).unwrap_or_default();
    let (width, height) = if claimed == (0, 0) { USUAL } else { claimed };
    Rect::new(0, 0, width.min(MOST.0), height.min(MOST.1))
}

/// Sets the terminal.
fn take() -> io::Result<()> {
    enable_raw_mode()?;
    TAKEN.store(true, Ordering::SeqCst);
    // A line of the log would stand amid the picture.
    log::set_max_level(log::LevelFilter::Off);
    execute!(io::stdout(), EnterAlternateScreen, Print(MARKED.0), Clear(ClearType::All))
}

/// Gives the terminal back, once.
fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // A terminal that is gone needs nothing.
        let _ = disable_raw_mode();
        let _ = execute!(io::stdout(), Print(MARKED.1), LeaveAlternateScreen, Show);
        log::set_max_level(log::LevelFilter::Info);
    }
}

/// The same while another thread perhaps hangs in writing to the terminal, and holds its lock: it waits for nothing.
fn restore_at_once() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    let _ = disable_raw_mode();
    let mut last = MARKED.1.to_owned();
    // Writing to a string cannot fail.
    let _ = LeaveAlternateScreen.write_ansi(&mut last).and_then(|()| Show.write_ansi(&mut last));
    // The terminal is the shell's too: it gets its flags back.
    if let Ok(flags) = fcntl_getfl(stdout())
        && fcntl_setfl(stdout(), flags | OFlags::NONBLOCK).is_ok()
    {
        let _ = rustix::io::write(stdout(), last.as_bytes());
        let _ = fcntl_setfl(stdout(), flags);
    }
}

/// The signals that end a program.
pub struct Signals {
    came: Arc<AtomicUsize>,
    /// SIGTSTP has come, or its key.
    stop: Arc<AtomicBool>,
}

impl Signals {
    /// Hears them from now on, instead of being ended by them. What hangs then, in a terminal that nobody reads or in a
    /// question to the bridge, is ended a little later all the same.
    ///
    /// # Errors
    /// The system refuses, or has no thread left.
    pub fn heard() -> Result<Self> {
        let failed = |cause| Error::system("signals", &cause);
        let came = Arc::new(AtomicUsize::new(0));
        let (near, far) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
        for signal in [SIGTERM, SIGINT, SIGHUP, SIGQUIT] {
            signal_hook::flag::register_usize(signal, came.clone(), signal as usize).map_err(failed)?;
            let far = far.try_clone().map_err(failed)?;
            signal_hook::low_level::pipe::register(signal, far).map_err(failed)?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGTSTP, stop.clone()).map_err(failed)?;
        let mut near = File::from(near);
        let signals = Self { came: came.clone(), stop: stop.clone() };
        let work = move || {
            if near.read_exact(&mut [0]).is_ok() {
                std::thread::sleep(GRACE);
                restore_at_once();
                Self { came, stop }.obey();
            }
        };
        rights::spawn_to_look("zb-signals", &ROLE, work)
            .map_err(|cause| Error::system("cannot start a thread", &cause))?;
        Ok(signals)
    }

    /// Whether one has come.
    pub fn came(&self) -> bool {
        self.came.load(Ordering::SeqCst) != 0
    }

    /// The process is to be stopped.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Whether it is to be stopped now, once for each time.
    pub fn is_to_stop(&self) -> bool {
        self.stop.swap(false, Ordering::SeqCst)
    }

    /// Ends the process by the signal that has come, if one has: whoever sent it sees that in the status.
    pub fn obey(&self) {
        let signal = self.came.load(Ordering::SeqCst);
        if signal != 0 {
            // If it cannot be obeyed the process ends otherwise.
            let _ = signal_hook::low_level::emulate_default_handler(signal as i32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, tcgetattr};
    use std::process::{Command, Stdio};

    /// Set in the process of the test below that panics.
    const PANICS: &str = "ZBRIDGE_TEST_TOP_PANICS";

    /// This test starts itself at a terminal, where another thread panics: the terminal is itself again before the
    /// message of the panic is written.
    #[test]
    fn a_panic_gives_the_terminal_back() {
        if std::env::var_os(PANICS).is_some() {
            let screen = Screen::open(Palette::new(false)).unwrap();
            assert!(screen.is_held());
            let panicked = std::thread::spawn(|| panic!("on purpose")).join();
            assert!(panicked.is_err() && !screen.is_held());
            // No drop of the screen helps.
            std::process::exit(7);
        }
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).and_then(|()| unlockpt(&master)).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap();
        let slave = File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
        let end = || Stdio::from(slave.try_clone().unwrap());
        let name = "cli::top::terminal::tests::a_panic_gives_the_terminal_back";
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([name, "--exact", "--nocapture"]).env(PANICS, "1").stdin(end()).stdout(end()).stderr(end());
        assert_eq!(command.status().unwrap().code(), Some(7));
        let mut room = [0; 8192];
        // It stays open: a terminal without it has no modes any more.
        let mut master = File::from(master);
        let count = master.read(&mut room).unwrap();
        let written = String::from_utf8_lossy(&room[..count]).into_owned();
        let place = |text: &str| written.find(text).unwrap_or_else(|| panic!("{text:?} is not in {written:?}"));
        assert!(place("\x1b[?1049h") < place("\x1b[?1049l"), "{written:?}");
        assert!(
            place("\x1b[?2004l") < place("on purpose") && place("\x1b[?1049l") < place("on purpose"),
            "{written:?}"
        );
        let modes = tcgetattr(&slave).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO), "{modes:?}");
    }
}
