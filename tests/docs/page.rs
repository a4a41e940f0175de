//! A page of Markdown as a reader takes it: the fenced blocks, and the commands in them.

/// A fenced block.
pub struct Block {
    /// What stands behind the fence: `sh`, `toml`, `text`.
    pub language: String,
    /// Its lines.
    pub text: String,
}

/// The fenced blocks of a page, in order. One that stands in a list is as far to the left as its fence.
pub fn blocks(markdown: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut indent = None;
    for line in markdown.lines() {
        let bare = line.trim_start();
        match (indent, bare.strip_prefix("```")) {
            (None, Some(language)) => {
                indent = Some(line.len() - bare.len());
                found.push(Block { language: language.to_owned(), text: String::new() });
            }
            (Some(_), Some(_)) => indent = None,
            (Some(indent), None) => {
                let block = found.last_mut().expect("a block has begun");
                block.text += line.get(indent..).unwrap_or_default();
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

/// The commands of a block as they are typed, each with all its lines.
pub fn commands(block: &Block) -> Vec<String> {
    let mut found = Vec::new();
    let mut command = String::new();
    for line in block.text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        // In a terminal a page has a margin, which parts what goes on in the middle of a word.
        assert!(!line.ends_with('\\') || line.ends_with(" \\"), "{line:?} goes on in the middle of a word");
        command += line;
        command.push('\n');
        if !line.ends_with(['\\', '|']) {
            found.push(std::mem::take(&mut command));
        }
    }
    assert!(command.is_empty(), "{command:?} goes on nowhere");
    found
}

#[test]
fn a_page_is_taken_apart() {
    let page = "a\n```sh\n# what\nb c \\\n  d   # e\nf |\ng\n```\n\n1. x\n\n   ```toml\n   y = 1\n\n   ```\n";
    let blocks = blocks(page);
    assert_eq!(commands(&blocks[0]), ["b c \\\n  d   # e\n", "f |\ng\n"]);
    assert_eq!((blocks[1].language.as_str(), blocks[1].text.as_str()), ("toml", "y = 1\n\n"));
}
