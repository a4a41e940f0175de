//! The terminal: its screen is another one while this lasts, and what was on it is there again afterwards, however it
//! ends: by a key, an error, a panic, or a signal.

use super::model::App;
use super::view::{self, Palette};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::{self, Stdout};
use std::sync::Arc;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The terminal is a live view's at this moment.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// Panics restore the terminal before they say anything.
static HOOKED: Once = Once::new();

/// See the head of the file.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
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
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        // Made before the screen is switched: if that fails, its drop restores what was set.
        let screen = Self { terminal, palette, level: log::max_level() };
        // A line of the log would stand amid the picture.
        log::set_max_level(log::LevelFilter::Off);
        execute!(io::stdout(), EnterAlternateScreen)?;
        Ok(screen)
    }

    /// Draws what `app` shows.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn draw(&mut self, app: &mut App) -> io::Result<()> {
        self.terminal.draw(|frame| view::draw(frame, app, self.palette)).map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
        log::set_max_level(self.level);
    }
}

/// Gives the terminal back, once.
fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // A terminal that is gone needs nothing.
        let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
        log::set_max_level(log::LevelFilter::Info);
    }
}

/// The signals that end a program.
pub struct Signals {
    came: Arc<AtomicUsize>,
}

impl Signals {
    /// Hears them from now on, instead of being ended by them.
    ///
    /// # Errors
    /// The system refuses.
    pub fn heard() -> io::Result<Self> {
        let came = Arc::new(AtomicUsize::new(0));
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            signal_hook::flag::register_usize(signal, came.clone(), signal as usize)?;
        }
        Ok(Self { came })
    }

    /// Whether one has come.
    pub fn came(&self) -> bool {
        self.came.load(Ordering::SeqCst) != 0
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
