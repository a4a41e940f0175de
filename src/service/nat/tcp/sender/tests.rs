//! The sender's segments, and when they leave, under a virtual clock.

use super::*;
use crate::service::nat::tcp::segment::Options;

const MSS: usize = 1000;

/// A sender whose SYN is acknowledged after 10 ms, to a guest with this window.
fn opened(window: u16) -> Sender {
    let mut sender = Sender::new(0);
    sender.agree(MSS, &Segment { window, ..Segment::default() });
    assert!(sender.next(at(0)).unwrap().syn);
    assert_eq!(hear(&mut sender, 10, 1, window), Acked::Something);
    sender
}

fn at(millis: u64) -> Instant {
    Instant::from_secs(1) + Duration::from_millis(millis)
}

fn hear(sender: &mut Sender, millis: u64, ack: u32, window: u16) -> Acked {
    sender.acknowledge(at(millis), Heard { seq: 1, ack, window, bare: true, blocks: Blocks::default() })
}

fn give(sender: &mut Sender, count: usize) {
    let read = |room: &mut [u8]| Ok::<_, ()>(room.len());
    assert_eq!(sender.fill(count, &mut vec![0; count], read), Ok(count));
}

/// Segments sent at this time: sequence number, length, and whether there is a FIN.
fn sent(sender: &mut Sender, millis: u64) -> Vec<(u32, usize, bool)> {
    let drafts = std::iter::from_fn(|| sender.next(at(millis))).take(100);
    drafts.map(|draft| (draft.seq, draft.range.len(), draft.fin)).collect()
}

#[test]
fn a_window_that_opens_is_filled_at_once() {
    for window in [500, 5000] {
        let mut sender = opened(1000);
        give(&mut sender, 5000);
        assert_eq!(sent(&mut sender, 20), [(1, 1000, false)]);
        hear(&mut sender, 30, 1001, 0);
        assert_eq!(sent(&mut sender, 30), []);
        // probes are lost, or answered with the same; they come less and less often
        let mut now = 0;
        for _ in 0..6 {
            let due = sender.poll_timeout().unwrap();
            now = (due - at(0)).as_millis() as u64 + 1;
            assert!(sender.handle_timeout(at(now)));
            assert_eq!(sent(&mut sender, now), [(1001, 1, false)]);
            hear(&mut sender, now, 1001, 0);
        }
        hear(&mut sender, now + 1, 1001, window);
        let count = 4000.min(window.into());
        assert_eq!(sent(&mut sender, now + 1), [(1001, count, false)]);
        let patience = sender.poll_timeout().unwrap() - at(now + 1);
        assert!(patience <= super::super::round_trip::LEAST_RTO, "{patience:?}");
    }
}

#[test]
fn a_lost_segment_is_sent_again_as_it_was() {
    let mut sender = opened(10_000);
    give(&mut sender, 300);
    assert_eq!(sent(&mut sender, 20), [(1, 300, false)]);
    give(&mut sender, 200);
    sender.end();
    for _ in 0..3 {
        hear(&mut sender, 30, 1, 10_000);
    }
    assert_eq!(sender.next(at(30)).map(|draft| (draft.range, draft.fin)), Some((0..300, false)));
    // bytes behind it were never sent
    assert_eq!(sent(&mut sender, 30), [(301, 200, true)]);
    assert_eq!(hear(&mut sender, 40, 502, 10_000), Acked::Something);
    assert!(sender.is_done());
}

/// A SACK block for these bytes, too.
fn hold(sender: &mut Sender, millis: u64, ack: u32, held: &[(u32, u32)]) {
    let mut blocks = Blocks::default();
    blocks.iter_mut().zip(held).for_each(|(block, held)| *block = *held);
    sender.acknowledge(at(millis), Heard { seq: 1, ack, window: 60_000, bare: true, blocks });
}

/// A sender of 10 segments and a FIN, to a guest with SACK.
fn telling() -> Sender {
    let mut sender = Sender::new(0);
    let options = Options { sack_permitted: true, ..Options::default() };
    sender.agree(MSS, &Segment { window: 60_000, options, ..Segment::default() });
    assert!(sender.next(at(0)).unwrap().syn);
    hold(&mut sender, 10, 1, &[]);
    give(&mut sender, 10 * MSS);
    sender.end();
    assert_eq!(sent(&mut sender, 20), [(1, 10_000, true)]);
    sender
}

#[test]
fn only_what_the_guest_does_not_hold_is_sent_again() {
    let mut sender = telling();
    // the second, the fifth and the sixth are lost
    hold(&mut sender, 30, 1001, &[(2001, 4001)]);
    assert_eq!(sent(&mut sender, 30), []);
    hold(&mut sender, 31, 1001, &[(6001, 8001), (2001, 4001)]);
    assert_eq!(sent(&mut sender, 31), [(1001, 1000, false)]);
    hold(&mut sender, 32, 1001, &[(6001, 10_001), (2001, 4001)]);
    assert_eq!(sent(&mut sender, 32), [(4001, 2000, false)]);
    // a copy of an old acknowledgement changes nothing, nor does one of numbers never sent
    hold(&mut sender, 33, 1, &[(6001, 8001)]);
    hold(&mut sender, 33, 1001, &[(20_001, 30_001), (2001, 500), (6001, 10_001)]);
    assert_eq!(sent(&mut sender, 33), []);
    hold(&mut sender, 51, 4001, &[(6001, 10_001)]);
    assert_eq!(sent(&mut sender, 51), []);
    hold(&mut sender, 52, 10_002, &[]);
    assert!(sender.is_done());
}

#[test]
fn a_lost_end_is_sent_again_alone() {
    let mut sender = telling();
    hold(&mut sender, 30, 10_001, &[]);
    assert!(sender.handle_timeout(sender.poll_timeout().unwrap()));
    assert_eq!(sent(&mut sender, 500), [(10_001, 0, true)]);
}

/// A guest may discard bytes that it has reported (RFC 2018, 8), so SACK blocks from before a timeout do not count.
#[test]
fn after_a_timeout_the_guest_is_asked_again() {
    let mut sender = telling();
    hold(&mut sender, 30, 1, &[(5001, 10_001)]);
    assert_eq!(sent(&mut sender, 30), [(1, 1000, false), (1001, 3000, false)]);
    assert!(sender.handle_timeout(at(1000)));
    assert_eq!(sent(&mut sender, 1000), [(1, 1000, false)]);
    hold(&mut sender, 1010, 1001, &[(2001, 10_001)]);
    assert_eq!(sent(&mut sender, 1010), [(1001, 1000, false), (10_001, 0, true)]);
    hold(&mut sender, 1020, 10_002, &[]);
    assert!(sender.is_done());
}

#[test]
fn an_end_is_sent_once() {
    let mut sender = opened(10_000);
    sender.end();
    assert_eq!(sent(&mut sender, 20), [(1, 0, true)]);
    assert_eq!(hear(&mut sender, 30, 2, 10_000), Acked::Something);
    assert_eq!((sent(&mut sender, 30), sender.poll_timeout()), (vec![], None));
}

/// RFC 9293, section 3.8.6.2.1: a window that opens byte by byte is not filled byte by byte.
#[test]
fn a_silly_window_gets_a_segment_now_and_then() {
    let mut sender = opened(5000);
    give(&mut sender, 20_000);
    let (mut acked, mut segments) = (1, 0);
    for millis in (20..4020).step_by(2) {
        if sender.poll_timeout().is_some_and(|due| due <= at(millis)) {
            assert!(sender.handle_timeout(at(millis)));
        }
        let sent = sent(&mut sender, millis);
        segments += sent.len();
        acked += sent.iter().map(|(_, bytes, _)| *bytes as u32).sum::<u32>();
        hear(&mut sender, millis + 1, acked, 1);
    }
    assert!((5..40).contains(&segments), "{segments} segments in 4 s");
    // half of the largest window is worth one
    hear(&mut sender, 5000, acked, 2500);
    assert_eq!(sent(&mut sender, 5000), [(acked, 2000, false)]);
    let mut small = opened(600);
    give(&mut small, 5000);
    assert_eq!(sent(&mut small, 20), [(1, 600, false)], "a guest that never has more");
}
