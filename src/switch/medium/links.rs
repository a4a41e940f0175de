//! The links of a radio medium, with their delivery probabilities: read from the file formats of simulators.
//!
//! ```text
//! 0,1,0.5          a matrix, as net-tools' virtual-hub has it:     # a list of edges, as RIOT's zep_dispatch has it:
//! 1,0,1            row sender, column receiver, no names           root  node1
//! 0.5,1,0                                                          node1 node2  0.9      both ways
//!                                                                  node2 node3  0.9 0.3  there and back
//! ```
//!
//! Numbers are probabilities of delivery from 0 to 1. Nodes of a matrix are the ports in the order in which they join;
//! those of a list are ports by name. Text behind `#` is a comment. A file with a comma in its first line of content is
//! a matrix.

/// The most nodes that a file may have.
const NODES_MAX: usize = 4096;

/// The links between nodes, with their delivery probabilities.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Links {
    /// Every node receives every frame of every other.
    #[default]
    AllToAll,
    /// As a file says.
    Matrix {
        /// The nodes' names; empty: they have none.
        names: Vec<String>,
        /// `chances[sender][receiver]`, each from 0 to 1.
        chances: Vec<Vec<f64>>,
    },
}

/// A file of links that cannot be parsed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {what}")]
#[non_exhaustive]
pub struct BadLinks {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

impl Links {
    /// Reads a matrix or a list of edges.
    ///
    /// # Errors
    /// [`BadLinks`]. No text panics.
    pub fn parse(text: &str) -> Result<Self, BadLinks> {
        let lines: Vec<(usize, &str)> = (1..)
            .zip(text.lines())
            .map(|(number, line)| (number, line.split('#').next().unwrap_or_default().trim()))
            .filter(|(_, line)| !line.is_empty())
            .collect();
        match lines.first() {
            None => Err(BadLinks { line: 1, what: "there are no links in it".to_owned() }),
            Some((_, first)) if first.contains(',') => matrix(&lines),
            Some(_) => edges(&lines),
        }
    }

    /// The names of the nodes, where they have names.
    pub fn names(&self) -> &[String] {
        match self {
            Self::AllToAll => &[],
            Self::Matrix { names, .. } => names,
        }
    }

    /// The index of a node by its name; the outer `None`: nodes have no names.
    pub(super) fn named_place(&self, name: &str) -> Option<Option<usize>> {
        let names = self.names();
        (!names.is_empty()).then(|| names.iter().position(|known| known == name))
    }

    /// The first free index of a matrix without names.
    pub(super) fn free_place(&self, taken: &[usize]) -> Option<usize> {
        match self {
            Self::Matrix { names, chances } if names.is_empty() => {
                (0..chances.len()).find(|place| !taken.contains(place))
            }
            _ => None,
        }
    }

    /// The probability that a frame arrives, from 0 to 1.
    pub(super) fn chance(&self, from: Option<usize>, to: Option<usize>) -> f64 {
        match self {
            Self::AllToAll => 1.0,
            Self::Matrix { chances, .. } => {
                let chance = from.zip(to).and_then(|(from, to)| chances.get(from)?.get(to).copied());
                chance.unwrap_or(0.0)
            }
        }
    }
}

fn chance(line: usize, text: &str) -> Result<f64, BadLinks> {
    let good = text.parse().ok().filter(|chance| (0.0..=1.0).contains(chance));
    good.ok_or_else(|| BadLinks { line, what: format!("{text:?}: expected a probability from 0 to 1") })
}

fn matrix(lines: &[(usize, &str)]) -> Result<Links, BadLinks> {
    let nodes = lines.len();
    let mut chances = Vec::with_capacity(nodes.min(NODES_MAX));
    for &(number, line) in lines {
        let bad = |what| BadLinks { line: number, what };
        let row = line.split(',').map(|cell| chance(number, cell.trim())).collect::<Result<Vec<_>, _>>()?;
        if row.len() != nodes {
            let what = format!("{} columns in a matrix of {nodes} rows: it has to be square", row.len());
            return Err(bad(what));
        }
        if nodes > NODES_MAX {
            return Err(bad(format!("{nodes} nodes: {NODES_MAX} at most")));
        }
        chances.push(row);
    }
    Ok(Links::Matrix { names: Vec::new(), chances })
}

fn edges(lines: &[(usize, &str)]) -> Result<Links, BadLinks> {
    let mut names: Vec<String> = Vec::new();
    let mut edges = Vec::new();
    for &(number, line) in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (a, b, weights) = match *words.as_slice() {
            [a, b] => (a, b, [1.0, 1.0]),
            [a, b, both] => (a, b, [chance(number, both)?; 2]),
            [a, b, there, back] => (a, b, [chance(number, there)?, chance(number, back)?]),
            _ => {
                let what = "expected NODE NODE [PROBABILITY [PROBABILITY BACK]]".to_owned();
                return Err(BadLinks { line: number, what });
            }
        };
        let [a, b] = [a, b].map(|name| {
            names.iter().position(|known| known == name).unwrap_or_else(|| {
                names.push(name.to_owned());
                names.len() - 1
            })
        });
        if names.len() > NODES_MAX {
            return Err(BadLinks { line: number, what: format!("more than {NODES_MAX} nodes") });
        }
        edges.push((a, b, weights[0]));
        edges.push((b, a, weights[1]));
    }
    let mut chances = vec![vec![0.0; names.len()]; names.len()];
    for (from, to, weight) in edges {
        if let Some(cell) = chances.get_mut(from).and_then(|row| row.get_mut(to)) {
            *cell = weight;
        }
    }
    Ok(Links::Matrix { names, chances })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_matrix_is_by_sender_and_receiver() {
        let links = Links::parse("# three in a row\n0,1,0\n1, 0, 0.25\n\n0,0.5,0\n").unwrap();
        assert_eq!(links.chance(Some(1), Some(2)), 0.25);
        assert_eq!(links.chance(Some(2), Some(1)), 0.5);
        assert_eq!((links.chance(Some(0), Some(2)), links.chance(None, Some(1))), (0.0, 0.0));
        assert_eq!((links.free_place(&[0, 2]), links.free_place(&[0, 1, 2])), (Some(1), None));
        assert_eq!(links.named_place("x"), None);
    }

    #[test]
    fn edges_are_by_name() {
        let links = Links::parse("root a\na b 0.9\nb c 0.9 0.3 # weak back\n").unwrap();
        let place = |name| links.named_place(name).unwrap();
        assert_eq!(links.chance(place("root"), place("a")), 1.0);
        assert_eq!(links.chance(place("b"), place("a")), 0.9);
        assert_eq!(links.chance(place("c"), place("b")), 0.3);
        assert_eq!(links.chance(place("root"), place("b")), 0.0);
        assert_eq!((place("nobody"), links.free_place(&[])), (None, None));
    }

    #[test]
    fn what_is_wrong_has_its_line() {
        for (text, line, what) in [
            ("", 1, "no links"),
            ("0,1\n1,0,1\n", 2, "square"),
            ("0,1\n1,x\n", 2, "\"x\": expected a probability"),
            ("0,1.5\n1,0", 1, "from 0 to 1"),
            ("0,nan\n1,0", 1, "from 0 to 1"),
            ("a b\na\n", 2, "expected NODE NODE"),
            ("a b 2\n", 1, "from 0 to 1"),
            ("a b 1 1 1\n", 1, "expected NODE NODE"),
        ] {
            let error = Links::parse(text).unwrap_err();
            assert_eq!(error.line, line, "{text:?}: {error}");
            assert!(error.what.contains(what), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "([0-9.,#a-c \n-]|\\PC){0,60}") {
            if let Ok(links) = Links::parse(&text) {
                prop_assert!((0.0..=1.0).contains(&links.chance(Some(0), Some(1))));
            }
        }
    }
}
