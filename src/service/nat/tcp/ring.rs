//! Ring buffer of the sender: bytes are read into the place where they stay until they are acknowledged, and move only
//! when the ring grows or shrinks.

use super::SMALL;
use std::ops::Range;

/// The smallest buffer.
const LEAST: usize = 4 << 10;

/// See the module.
#[derive(Default)]
pub(super) struct Ring {
    /// The buffer. Its length is a power of two, or 0.
    room: Vec<u8>,
    head: usize,
    len: usize,
}

impl Ring {
    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Memory that it takes.
    pub fn capacity(&self) -> usize {
        self.room.len()
    }

    /// How many bytes more it can hold with `room` bytes more of memory.
    pub fn affords(&self, room: usize) -> usize {
        let most = self.room.len() + room;
        let size = if most < LEAST { 0 } else { 1 << most.ilog2() };
        size.max(self.room.len()) - self.len
    }

    fn free(&self) -> usize {
        self.room.len() - self.len
    }

    /// Lets `read` append at most `want` bytes, and takes as many as it says it wrote. It may get a part of `scratch`
    /// instead, as it is not known yet whether there is anything to read, and how much.
    ///
    /// # Errors
    /// Errors of `read`; then nothing is taken.
    pub fn fill<E>(
        &mut self,
        want: usize,
        scratch: &mut [u8],
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        if self.len == 0 && self.free() < want {
            let most = want.min(scratch.len());
            let count = read(&mut scratch[..most])?.min(most);
            let bytes = &scratch[..count];
            return self.extend(count, |room| {
                room.copy_from_slice(bytes);
                Ok(count)
            });
        }
        self.extend(want, read)
    }

    fn extend<E>(&mut self, want: usize, read: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Result<usize, E> {
        if self.free() < want {
            self.resize(Self::size(self.len + want));
        }
        if self.len == 0 {
            self.head = 0;
        }
        let tail = self.place(self.len);
        let end = if tail < self.head || self.len == self.room.len() { self.head } else { self.room.len() };
        let free = self.room.get_mut(tail..end.min(tail + want)).unwrap_or_default();
        let most = free.len();
        let count = read(free)?.min(most);
        self.len += count;
        Ok(count)
    }

    /// Forgets the first `count` bytes.
    pub fn consume(&mut self, count: usize) {
        let count = count.min(self.len);
        self.head = self.place(count);
        self.len -= count;
    }

    /// Some of the bytes, in two slices where they go over the end of the room.
    pub fn slices(&self, range: &Range<usize>) -> [&[u8]; 2] {
        let (from, to) = (range.start.min(self.len), range.end.min(self.len));
        let count = to.saturating_sub(from);
        let start = self.place(from);
        let first = count.min(self.room.len() - start);
        let slice = |range: Range<usize>| self.room.get(range).unwrap_or_default();
        [slice(start..start + first), slice(0..count - first)]
    }

    /// Shrinks the buffer: to nothing when it is empty, and else when three quarters are free.
    pub fn rest(&mut self) {
        if self.len == 0 {
            *self = Self::default();
        } else if self.room.len() > SMALL && self.len < self.room.len() / 4 {
            self.resize(Self::size(self.len * 2));
        }
    }

    /// Where byte `offset` lies, or would.
    fn place(&self, offset: usize) -> usize {
        (self.head + offset) & self.room.len().wrapping_sub(1)
    }

    fn size(len: usize) -> usize {
        len.next_power_of_two().max(LEAST)
    }

    fn resize(&mut self, size: usize) {
        let mut room = vec![0; size];
        let mut rest = room.as_mut_slice();
        for slice in self.slices(&(0..self.len)) {
            let (here, behind) = rest.split_at_mut(slice.len());
            here.copy_from_slice(slice);
            rest = behind;
        }
        (self.room, self.head) = (room, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    #[test]
    fn what_was_taken_is_given_back() {
        let mut ring = Ring::default();
        assert_eq!(ring.fill(1 << 20, &mut vec![0; 1 << 20], |room| Ok::<_, ()>(room.len())), Ok(1 << 20));
        ring.consume((1 << 20) - 10);
        ring.rest();
        assert_eq!((ring.len(), ring.capacity()), (10, LEAST));
        ring.consume(10);
        ring.rest();
        assert_eq!(ring.capacity(), 0);
    }

    #[test]
    fn an_error_takes_nothing() {
        let mut ring = Ring::default();
        assert_eq!(ring.fill(10, &mut [0; 10], |_| Err(7)), Err(7));
        assert_eq!((ring.len(), ring.slices(&(0..5))), (0, [&[][..], &[]]));
    }

    proptest! {
        #[test]
        fn it_is_a_queue(steps in prop::collection::vec((0usize..9000, 0usize..9000, any::<bool>()), 1..60)) {
            let (mut ring, mut queue, mut next) = (Ring::default(), VecDeque::new(), 0_u8);
            for (want, gone, rests) in steps {
                let (room, before) = (gone, ring.capacity());
                let want = want.min(ring.affords(room));
                let count = ring.fill(want, &mut [0; 5000], |room| {
                    assert!(room.len() <= want && (want == 0 || !room.is_empty()));
                    room.iter_mut().for_each(|byte| {
                        next = next.wrapping_add(37);
                        *byte = next;
                        queue.push_back(next);
                    });
                    Ok::<_, ()>(room.len())
                });
                prop_assert!(count.is_ok() && ring.capacity() <= before + room);
                let gone = gone.min(queue.len());
                ring.consume(gone);
                queue.drain(..gone);
                if rests {
                    ring.rest();
                    prop_assert!(ring.capacity() <= (queue.len() * 4).max(SMALL));
                }
                prop_assert_eq!(ring.len(), queue.len());
                let range = queue.len() / 3..queue.len() + 5;
                let found = ring.slices(&range).concat();
                prop_assert!(queue.iter().skip(range.start).eq(&found));
            }
        }
    }
}
