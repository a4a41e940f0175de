//! A topic taken apart: Markdown as a list of blocks, which the terminal and the manual page each lay out in their way.
//!
//! What the topics need of Markdown and no more: headings, paragraphs, fenced code, flat lists and tables. Inside of
//! them, code is kept apart from words, and of a link only its text stays.

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// A piece of a paragraph.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Span {
    /// Words.
    Words(String),
    /// Words of weight.
    Strong(String),
    /// What is typed or printed.
    Code(String),
}

/// What stands for itself, with a blank line around it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Block {
    /// The name of a topic (level 1) or of a part of it.
    Heading(u8, String),
    /// A paragraph.
    Paragraph(Vec<Span>),
    /// One entry of a list.
    Item(Vec<Span>),
    /// Lines as they are, with the language that was said of them.
    Code(String, String),
    /// The cells of each row; the first row is the head.
    Table(Vec<Vec<Vec<Span>>>),
}

/// Takes a topic apart.
pub fn parse(markdown: &str) -> Vec<Block> {
    let mut reader = Reader::default();
    Parser::new_ext(markdown, Options::ENABLE_TABLES).for_each(|event| reader.take(event));
    reader.blocks
}

#[derive(Default)]
struct Reader {
    blocks: Vec<Block>,
    spans: Vec<Span>,
    rows: Vec<Vec<Vec<Span>>>,
    row: Vec<Vec<Span>>,
    is_strong: bool,
    is_item: bool,
    /// The language of the code that is being read.
    language: Option<String>,
}

impl Reader {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(Tag::Strong) => self.is_strong = true,
            Event::End(TagEnd::Strong) => self.is_strong = false,
            Event::Start(Tag::Item) => self.is_item = true,
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => {
                self.language = Some(language.into_string());
            }
            Event::End(end) => self.end(end),
            Event::Text(text) => self.spans.push(match (&self.language, self.is_strong) {
                (None, true) => Span::Strong(text.into_string()),
                _ => Span::Words(text.into_string()),
            }),
            Event::Code(code) => self.spans.push(Span::Code(code.into_string())),
            Event::SoftBreak | Event::HardBreak => self.spans.push(Span::Words(" ".to_owned())),
            _ => {}
        }
    }

    fn end(&mut self, end: TagEnd) {
        match end {
            TagEnd::Heading(level) => {
                let text = plain(&std::mem::take(&mut self.spans));
                self.blocks.push(Block::Heading(if level == HeadingLevel::H1 { 1 } else { 2 }, text));
            }
            TagEnd::Paragraph if !self.is_item => {
                let spans = std::mem::take(&mut self.spans);
                self.blocks.push(Block::Paragraph(spans));
            }
            TagEnd::Item => {
                self.is_item = false;
                let spans = std::mem::take(&mut self.spans);
                self.blocks.push(Block::Item(spans));
            }
            TagEnd::CodeBlock => {
                let text = plain(&std::mem::take(&mut self.spans));
                self.blocks.push(Block::Code(self.language.take().unwrap_or_default(), text));
            }
            TagEnd::TableCell => self.row.push(std::mem::take(&mut self.spans)),
            TagEnd::TableHead | TagEnd::TableRow => self.rows.push(std::mem::take(&mut self.row)),
            TagEnd::Table => self.blocks.push(Block::Table(std::mem::take(&mut self.rows))),
            _ => {}
        }
    }
}

/// The text of `spans`, without any weight.
pub fn plain(spans: &[Span]) -> String {
    spans
        .iter()
        .map(|span| match span {
            Span::Words(text) | Span::Strong(text) | Span::Code(text) => text.as_str(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_is_found() {
        let text = "# Name\n\nOne `code`,\n**two**.\n\n- a\n- b\n  c\n\n```sh\nx  y\n\nz\n```\n\n| h | i |\n|---|---|\n| `a\\|b` | c |\n";
        let words = |text: &str| Span::Words(text.to_owned());
        assert_eq!(
            parse(text),
            [
                Block::Heading(1, "Name".into()),
                Block::Paragraph(vec![
                    words("One "),
                    Span::Code("code".into()),
                    words(","),
                    words(" "),
                    Span::Strong("two".into()),
                    words("."),
                ]),
                Block::Item(vec![words("a")]),
                Block::Item(vec![words("b"), words(" "), words("c")]),
                Block::Code("sh".into(), "x  y\n\nz\n".into()),
                Block::Table(vec![
                    vec![vec![words("h")], vec![words("i")]],
                    vec![vec![Span::Code("a|b".into())], vec![words("c")]],
                ]),
            ]
        );
    }
}
