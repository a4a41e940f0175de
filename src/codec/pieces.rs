//! Bytes under way, in the pieces that they came in: nothing is copied to put one behind the other.

use std::collections::VecDeque;
use std::io::IoSlice;

/// Bytes up to which small pieces are put together.
const TOGETHER: usize = 64 << 10;

/// A queue of bytes. See the module.
#[derive(Default, Debug)]
pub struct Pieces {
    pieces: VecDeque<Vec<u8>>,
    /// Bytes of the first piece that are done with; less than all.
    done: usize,
    length: usize,
    /// The last piece is one of [`Pieces::extend`].
    open: bool,
    /// A buffer for the next one of these.
    spare: Vec<u8>,
}

impl Pieces {
    /// Puts a piece behind the others as it is.
    pub fn push(&mut self, piece: Vec<u8>) {
        if !piece.is_empty() {
            self.length += piece.len();
            self.pieces.push_back(piece);
            self.open = false;
        }
    }

    /// Copies `bytes` behind the others, into a piece with their neighbours that came in this way.
    pub fn extend(&mut self, bytes: &[u8]) {
        match self.pieces.back_mut() {
            Some(last) if self.open && last.len() + bytes.len() <= TOGETHER => last.extend_from_slice(bytes),
            _ => {
                let mut piece = std::mem::take(&mut self.spare);
                piece.extend_from_slice(bytes);
                self.pieces.push_back(piece);
                self.open = true;
            }
        }
        self.length += bytes.len();
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// No bytes at all.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// What is left of the first piece; empty only where all is.
    pub fn first(&self) -> &[u8] {
        self.pieces.front().and_then(|piece| piece.get(self.done..)).unwrap_or_default()
    }

    /// Fills `list` with the first pieces, for one system call, and gives how many there are.
    pub fn gather<'a>(&'a self, list: &mut [IoSlice<'a>]) -> usize {
        let rest = self.pieces.iter().skip(1).map(Vec::as_slice);
        let pieces = std::iter::once(self.first()).filter(|first| !first.is_empty()).chain(rest);
        list.iter_mut().zip(pieces).map(|(place, piece)| *place = IoSlice::new(piece)).count()
    }

    /// The first `count` bytes are done with.
    pub fn took(&mut self, count: usize) {
        self.length -= count.min(self.length);
        self.done += count;
        while let Some(first) = self.pieces.front()
            && first.len() <= self.done
        {
            self.done -= first.len();
            let piece = self.pieces.pop_front();
            if let Some(mut piece) = piece.filter(|piece| (1..=TOGETHER).contains(&piece.capacity())) {
                piece.clear();
                self.spare = piece;
            }
        }
        if self.pieces.is_empty() {
            self.done = 0;
        }
    }

    /// Takes what is left of the first piece.
    pub fn take_first(&mut self) -> Option<Vec<u8>> {
        let mut piece = self.pieces.pop_front()?;
        piece.drain(..std::mem::take(&mut self.done));
        self.length -= piece.len();
        Some(piece)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.took(self.length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_taken_in_order_and_across_their_edges() {
        let mut pieces = Pieces::default();
        for piece in [&[1, 2, 3][..], &[], &[4], &[5, 6]] {
            pieces.push(piece.to_vec());
        }
        assert_eq!((pieces.len(), pieces.first()), (6, &[1, 2, 3][..]));
        pieces.took(2);
        let mut list = [IoSlice::new(&[]); 2];
        assert_eq!(pieces.gather(&mut list), 2);
        assert_eq!((&*list[0], &*list[1]), (&[3][..], &[4][..]));
        pieces.took(3);
        assert_eq!((pieces.len(), pieces.first()), (1, &[6][..]));
        pieces.clear();
        assert!(pieces.is_empty() && pieces.first().is_empty());
        pieces.push(vec![7]);
        assert_eq!(pieces.first(), [7]);
    }

    #[test]
    fn small_ones_are_put_together_and_large_ones_left_alone() {
        let mut pieces = Pieces::default();
        pieces.extend(&[1; 40]);
        pieces.extend(&[2; 60]);
        pieces.push(vec![3; 100_000]);
        pieces.extend(&[4; 10]);
        pieces.took(30);
        let lengths: Vec<_> = std::iter::from_fn(|| pieces.take_first()).map(|piece| (piece[0], piece.len())).collect();
        assert_eq!(lengths, [(1, 70), (3, 100_000), (4, 10)]);
        (0..3).for_each(|_| pieces.extend(&[5; 40_000]));
        assert_eq!(pieces.len(), 120_000);
        let lengths: Vec<_> = std::iter::from_fn(|| pieces.take_first()).map(|piece| piece.len()).collect();
        assert_eq!(lengths, [40_000; 3]);
    }
}
