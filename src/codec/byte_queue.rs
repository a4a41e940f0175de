//! Bytes under way, in the chunks that they came in: nothing is copied to put one behind the other.

use std::collections::VecDeque;
use std::io::IoSlice;

/// Bytes up to which small chunks are put together.
const TOGETHER: usize = 64 << 10;

/// A queue of bytes. See the module.
#[derive(Default, Debug)]
pub struct ByteQueue {
    chunks: VecDeque<Vec<u8>>,
    /// Bytes of the first chunk that are done with; less than all.
    done: usize,
    length: usize,
    /// The last chunk is one of [`ByteQueue::extend`].
    open: bool,
    /// A buffer for the next one of these.
    spare: Vec<u8>,
}

impl ByteQueue {
    /// Puts a chunk behind the others as it is.
    pub fn push(&mut self, chunk: Vec<u8>) {
        if !chunk.is_empty() {
            self.length += chunk.len();
            self.chunks.push_back(chunk);
            self.open = false;
        }
    }

    /// Copies `bytes` behind the others, into a chunk with their neighbours that came in this way.
    pub fn extend(&mut self, bytes: &[u8]) {
        match self.chunks.back_mut() {
            Some(last) if self.open && last.len() + bytes.len() <= TOGETHER => last.extend_from_slice(bytes),
            _ => {
                let mut chunk = std::mem::take(&mut self.spare);
                chunk.extend_from_slice(bytes);
                self.chunks.push_back(chunk);
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

    /// The rest of the first chunk; empty only if the queue is.
    pub fn first(&self) -> &[u8] {
        self.chunks.front().and_then(|chunk| chunk.get(self.done..)).unwrap_or_default()
    }

    /// Fills `list` with the first chunks, for one system call, and gives how many there are.
    pub fn gather<'a>(&'a self, list: &mut [IoSlice<'a>]) -> usize {
        let rest = self.chunks.iter().skip(1).map(Vec::as_slice);
        let chunks = std::iter::once(self.first()).filter(|first| !first.is_empty()).chain(rest);
        list.iter_mut().zip(chunks).map(|(place, chunk)| *place = IoSlice::new(chunk)).count()
    }

    /// The first `count` bytes are done with.
    pub fn took(&mut self, count: usize) {
        self.length -= count.min(self.length);
        self.done += count;
        while let Some(first) = self.chunks.front()
            && first.len() <= self.done
        {
            self.done -= first.len();
            let chunk = self.chunks.pop_front();
            if let Some(mut chunk) = chunk.filter(|chunk| (1..=TOGETHER).contains(&chunk.capacity())) {
                chunk.clear();
                self.spare = chunk;
            }
        }
        if self.chunks.is_empty() {
            self.done = 0;
        }
    }

    /// Takes the rest of the first chunk.
    pub fn take_first(&mut self) -> Option<Vec<u8>> {
        let mut chunk = self.chunks.pop_front()?;
        chunk.drain(..std::mem::take(&mut self.done));
        self.length -= chunk.len();
        Some(chunk)
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
    fn chunks_are_taken_in_order_and_across_their_edges() {
        let mut queue = ByteQueue::default();
        for chunk in [&[1, 2, 3][..], &[], &[4], &[5, 6]] {
            queue.push(chunk.to_vec());
        }
        assert_eq!((queue.len(), queue.first()), (6, &[1, 2, 3][..]));
        queue.took(2);
        let mut list = [IoSlice::new(&[]); 2];
        assert_eq!(queue.gather(&mut list), 2);
        assert_eq!((&*list[0], &*list[1]), (&[3][..], &[4][..]));
        queue.took(3);
        assert_eq!((queue.len(), queue.first()), (1, &[6][..]));
        queue.clear();
        assert!(queue.is_empty() && queue.first().is_empty());
        queue.push(vec![7]);
        assert_eq!(queue.first(), [7]);
    }

    #[test]
    fn small_ones_are_put_together_and_large_ones_left_alone() {
        let mut queue = ByteQueue::default();
        queue.extend(&[1; 40]);
        queue.extend(&[2; 60]);
        queue.push(vec![3; 100_000]);
        queue.extend(&[4; 10]);
        queue.took(30);
        let lengths: Vec<_> = std::iter::from_fn(|| queue.take_first()).map(|chunk| (chunk[0], chunk.len())).collect();
        assert_eq!(lengths, [(1, 70), (3, 100_000), (4, 10)]);
        (0..3).for_each(|_| queue.extend(&[5; 40_000]));
        assert_eq!(queue.len(), 120_000);
        let lengths: Vec<_> = std::iter::from_fn(|| queue.take_first()).map(|chunk| chunk.len()).collect();
        assert_eq!(lengths, [40_000; 3]);
    }
}
