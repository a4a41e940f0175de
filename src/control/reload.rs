//! The answer to `reload`.

use serde::{Deserialize, Serialize};

/// What a changed configuration file came to.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct ReloadedInfo {
    /// The file.
    pub file: String,
    /// Ports that have come.
    pub added: Vec<String>,
    /// Ports that have gone.
    pub removed: Vec<String>,
    /// Ports that have other settings, and were there all the time.
    pub changed: Vec<String>,
    /// Ports that have gone and come again otherwise.
    pub replaced: Vec<String>,
    /// What is odd about the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl ReloadedInfo {
    /// `added inst3; changed nat`.
    pub fn summary(&self) -> String {
        let rows = [
            ("removed", &self.removed),
            ("added", &self.added),
            ("changed", &self.changed),
            ("replaced", &self.replaced),
        ];
        let said = rows.iter().filter(|(_, ports)| !ports.is_empty());
        let said: Vec<String> = said.map(|(word, ports)| format!("{word} {}", ports.join(", "))).collect();
        if said.is_empty() { "nothing differs".to_owned() } else { said.join("; ") }
    }
}
