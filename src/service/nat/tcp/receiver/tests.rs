//! Out-of-order segments, and the SACK blocks for them.

use super::*;

/// A receiver whose window is open, behind number 0.
fn receiver(sacks: bool) -> Receiver {
    let mut receiver = Receiver::new(0, SCALE, sacks);
    receiver.announce(false);
    receiver.acknowledged(true);
    receiver
}

/// The byte of a number.
fn byte(seq: u32) -> u8 {
    (seq ^ seq >> 8) as u8
}

/// Receives `from..to`, and holds as much as it can.
fn hear(receiver: &mut Receiver, from: u32, to: u32, fin: bool) {
    let bytes: Vec<u8> = (from..to).map(byte).collect();
    receiver.accept(from, &bytes, fin, 1 << 20, &mut |_| 0);
}

/// How many acknowledgements are due.
fn owed(receiver: &mut Receiver) -> usize {
    std::iter::from_fn(|| receiver.owes().then(|| receiver.acknowledged(true))).count()
}

#[test]
fn the_newest_block_is_told_first() {
    let mut receiver = receiver(true);
    for from in [200, 400, 600, 800, 1000] {
        hear(&mut receiver, from, from + 100, false);
        assert_eq!(owed(&mut receiver), 1);
    }
    assert_eq!(receiver.blocks(), [(1000, 1100), (800, 900), (600, 700), (400, 500)]);
    hear(&mut receiver, 450, 650, false);
    assert_eq!(receiver.blocks(), [(400, 700), (1000, 1100), (800, 900), (200, 300)]);
    // a segment that fills the first gaps, and covers other blocks
    hear(&mut receiver, 1, 1050, false);
    assert_eq!((receiver.nxt(), receiver.blocks()), (1100, Blocks::default()));
    assert!(receiver.held().iter().copied().eq((1..1100).map(byte)));
    assert_eq!((receiver.memory(), owed(&mut receiver)), (receiver.held().capacity(), 1), "all that is taken counts");
}

#[test]
fn a_guest_that_understands_no_blocks_hears_of_each_segment() {
    let mut receiver = receiver(false);
    (2..9).for_each(|at| hear(&mut receiver, at * 100, at * 100 + 100, false));
    assert_eq!((owed(&mut receiver), receiver.blocks()), (3, Blocks::default()));
    hear(&mut receiver, 1, 200, false);
    assert_eq!((receiver.nxt(), owed(&mut receiver)), (900, 1));
}

#[test]
fn gaps_are_bounded_and_so_is_memory() {
    let mut receiver = receiver(true);
    (1..1000).for_each(|at| hear(&mut receiver, at * 100, at * 100 + 50, false));
    assert_eq!((receiver.early.len(), receiver.memory()), (GAPS, GAPS * 50));
    receiver.accept(70, &[0; 20], false, 10, &mut |_| 0);
    let outside = receiver.edge;
    hear(&mut receiver, outside - 10, outside + 10, true);
    assert_eq!((receiver.early.len(), receiver.memory(), receiver.fin), (GAPS, GAPS * 50, None));
}

#[test]
fn an_end_that_comes_too_early_keeps_its_place() {
    for parts in [&[(101, 201, true), (1, 101, false)][..], &[(201, 201, true), (101, 201, false), (1, 101, false)]] {
        let mut receiver = receiver(true);
        for &(from, to, fin) in parts {
            assert!(!receiver.has_ended());
            hear(&mut receiver, from, to, fin);
        }
        assert!(receiver.has_ended());
        assert_eq!((receiver.nxt(), receiver.held().len(), owed(&mut receiver)), (202, 200, 1));
        // all of it again
        hear(&mut receiver, 1, 201, true);
        assert_eq!((receiver.nxt(), receiver.held().len(), owed(&mut receiver)), (202, 200, 1));
    }
}

/// The host takes a part, and there is no memory: the end is where it was when the rest comes again.
#[test]
fn an_end_waits_for_what_found_no_memory() {
    let mut receiver = receiver(true);
    receiver.accept(1, &[7; 100], true, 0, &mut |_| 60);
    assert_eq!((receiver.nxt(), receiver.has_ended()), (61, false));
    receiver.accept(61, &[7; 40], false, 0, &mut |_| 40);
    assert_eq!((receiver.nxt(), receiver.has_ended()), (102, true));
}
