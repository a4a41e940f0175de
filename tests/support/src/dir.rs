//! A folder for one test, with a path short enough for sockets.

use std::path::{Path, PathBuf};

/// A new folder directly under `/tmp`, removed on drop. A UNIX socket's path has room for 107 octets (unix(7),
/// `sun_path`), which the usual temporary folders of build machines use up.
#[derive(Debug)]
pub struct TempDir(tempfile::TempDir);

impl TempDir {
    /// Makes the folder.
    #[expect(clippy::new_without_default, reason = "it makes a folder, which is no default value")]
    pub fn new() -> Self {
        Self(tempfile::Builder::new().prefix("zbt").tempdir_in("/tmp").expect("a new folder in /tmp"))
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        self.0.path()
    }

    /// The path of `name` in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The same as text, for command lines.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("ASCII by construction").to_owned()
    }

    /// Writes a file in the folder and gives its path.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("a file in the test's folder");
        path
    }
}
