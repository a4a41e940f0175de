//! Inputs made by chance from those that there are: bits turned, numbers put in, pieces moved, two inputs joined.
//!
//! One seed gives one sequence of inputs. No coverage guides it; what it has instead is that it costs next to nothing,
//! so that a billion inputs are a matter of minutes.

/// No made input is longer.
const LONGEST: usize = 4096;

/// Bytes that parsers have opinions on.
const BYTES: &[u8] = b"\0\x01\x7f\x80\xff,=:\"[]#\n\\/-.\xc0\xdb\xdc\xdd";

/// Numbers at whose sides things change.
const NUMBERS: &[u32] = &[0, 1, 13, 14, 15, 60, 1514, 1518, 4095, 0x8100, 0x88a8, 0xffff, 0x1_0000, 1 << 31, u32::MAX];

/// Makes inputs.
pub struct Mutator {
    state: u64,
}

impl Mutator {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number (SplitMix64).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `end`; 0 when that is 0.
    fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    /// Overwrites `input` with the next input, made from one or two of `corpus`.
    pub fn make(&mut self, corpus: &[Vec<u8>], input: &mut Vec<u8>) {
        input.clear();
        if let Some(parent) = corpus.get(self.below(corpus.len())) {
            input.extend_from_slice(parent);
        }
        for _ in 0..=self.below(6) {
            self.change(corpus, input);
        }
        input.truncate(LONGEST);
    }

    fn change(&mut self, corpus: &[Vec<u8>], input: &mut Vec<u8>) {
        let at = self.below(input.len());
        match self.below(9) {
            0 => overwrite(input, at, |byte, turned| byte ^ (1 << (turned & 7)), self.byte()),
            1 => overwrite(input, at, |_, new| new, self.byte()),
            2 => overwrite(input, at, |_, new| BYTES[usize::from(new) % BYTES.len()], self.byte()),
            3 => overwrite(input, at, u8::wrapping_add, self.byte() % 9),
            4 => self.put_number(input, at),
            5 => drop(input.drain(at..self.end(at, input.len()))),
            6 => {
                let piece = input[at..self.end(at, input.len())].to_vec();
                self.insert(input, &piece);
            }
            7 => {
                let piece: Vec<u8> = (0..=self.below(12)).map(|_| self.byte()).collect();
                self.insert(input, &piece);
            }
            _ => {
                let Some(other) = corpus.get(self.below(corpus.len())) else { return };
                let from = self.below(other.len());
                let piece = &other[from..self.end(from, other.len())];
                if self.next() & 1 == 0 {
                    self.insert(input, piece);
                } else {
                    input.truncate(at);
                    input.extend_from_slice(piece);
                }
            }
        }
    }

    /// The end of a piece that begins at `at`, mostly a short one.
    fn end(&mut self, at: usize, len: usize) -> usize {
        let longest = if self.next() & 3 == 0 { len } else { 16 };
        (at + self.below(longest) + 1).min(len)
    }

    fn insert(&mut self, input: &mut Vec<u8>, piece: &[u8]) {
        if input.len() + piece.len() <= LONGEST {
            let at = self.below(input.len() + 1);
            input.splice(at..at, piece.iter().copied());
        }
    }

    /// Writes one, two or four bytes of a number, in either order.
    fn put_number(&mut self, input: &mut [u8], at: usize) {
        let number = NUMBERS[self.below(NUMBERS.len())].wrapping_add(self.below(3) as u32).wrapping_sub(1);
        let skipped = [0, 2, 3][self.below(3)];
        let mut bytes = number.to_be_bytes();
        let bytes = &mut bytes[skipped..];
        if self.next() & 1 == 0 {
            bytes.reverse();
        }
        for (slot, byte) in input[at..].iter_mut().zip(bytes) {
            *slot = *byte;
        }
    }
}

fn overwrite(input: &mut [u8], at: usize, change: impl Fn(u8, u8) -> u8, with: u8) {
    if let Some(byte) = input.get_mut(at) {
        *byte = change(*byte, with);
    }
}
