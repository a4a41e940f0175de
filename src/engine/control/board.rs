//! What the control socket tells of the programs that its process runs beside the bridge.
//!
//! Who runs them (`programs`) writes here; the control socket's thread and the metrics read. Nobody holds the lock for
//! longer than it takes to copy a few lines.

use crate::control::InstanceInfo;
use parking_lot::Mutex;
use std::collections::VecDeque;

/// Lines that are kept of each program.
const LINES: usize = 12;
/// Bytes that are worth keeping of a line.
pub const LINE_BYTES: usize = 400;

/// See the head of the file.
#[derive(Default)]
pub struct Board(Mutex<Vec<Program>>);

/// A program.
#[derive(Default)]
struct Program {
    info: InstanceInfo,
    lines: VecDeque<String>,
}

impl Board {
    /// Adds a program, which waits. Its index is how many there were.
    pub fn add(&self, name: &str, log: Option<String>) {
        let info = InstanceInfo { name: name.to_owned(), state: "waits".into(), log, ..InstanceInfo::default() };
        self.0.lock().push(Program { info, lines: VecDeque::new() });
    }

    /// Changes what is told of a program.
    pub fn change(&self, index: usize, change: impl FnOnce(&mut InstanceInfo)) {
        if let Some(program) = self.0.lock().get_mut(index) {
            change(&mut program.info);
        }
    }

    /// A program has written a line: as many of its bytes as are kept, made readable.
    pub fn line(&self, index: usize, line: String) {
        if let Some(program) = self.0.lock().get_mut(index) {
            program.lines.push_back(line);
            if program.lines.len() > LINES {
                program.lines.pop_front();
            }
        }
    }

    /// All that is known of the programs.
    pub fn instances(&self) -> Vec<InstanceInfo> {
        let told = |program: &Program| {
            let lines = program.lines.iter().cloned().collect();
            InstanceInfo { lines, ..program.info.clone() }
        };
        self.0.lock().iter().map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept() {
        let board = Board::default();
        board.add("a", None);
        (0..LINES + 3).for_each(|number| board.line(0, number.to_string()));
        board.line(7, "nobody's".to_owned());
        board.change(0, |info| info.state = "ready".into());
        let told = board.instances();
        assert_eq!((told.len(), told[0].lines.len(), told[0].state.as_str()), (1, LINES, "ready"));
        assert_eq!(told[0].lines[0], "3");
    }
}
