//! What is sent when, under a clock of its own.

use super::*;

const MSS: usize = 1000;

/// A sender whose SYN is acknowledged after 10 ms, to a guest with this window.
fn opened(window: u16) -> Sender {
    let mut sender = Sender::new(0);
    sender.agree(MSS, 0, window, 0);
    assert!(sender.next(at(0)).unwrap().syn);
    assert_eq!(hear(&mut sender, 10, 1, window), Acked::Something);
    sender
}

fn at(millis: u64) -> Instant {
    Instant::from_secs(1) + Duration::from_millis(millis)
}

fn hear(sender: &mut Sender, millis: u64, ack: u32, window: u16) -> Acked {
    sender.acknowledge(at(millis), Heard { seq: 1, ack, window, bare: true })
}

fn give(sender: &mut Sender, count: usize) {
    let read = |room: &mut [u8]| Ok::<_, ()>(room.len());
    assert_eq!(sender.fill(count, &mut vec![0; count], read), Ok(count));
}

/// Everything that is sent at this time: from which number, how many bytes, and whether it ends with a FIN.
fn sent(sender: &mut Sender, millis: u64) -> Vec<(u32, usize, bool)> {
    let pieces = std::iter::from_fn(|| sender.next(at(millis))).take(100);
    pieces.map(|piece| (piece.seq, piece.range.len(), piece.fin)).collect()
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
        assert!(patience <= LEAST_RTO, "{patience:?}");
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
    assert_eq!(sender.next(at(30)).map(|piece| (piece.range, piece.fin)), Some((0..300, false)));
    // what follows was never sent
    assert_eq!(sent(&mut sender, 30), [(301, 200, true)]);
    assert_eq!(hear(&mut sender, 40, 502, 10_000), Acked::Something);
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
