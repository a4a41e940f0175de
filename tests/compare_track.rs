//! The check of sequence numbers in `benches/compare`: a comparison is worth no more than what it would notice.

#[path = "../benches/compare/track.rs"]
mod track;

use proptest::prelude::*;
use std::collections::HashSet;
use track::Track;

fn seen(numbers: &[u64]) -> (u64, u64, u64) {
    let mut track = Track::default();
    numbers.iter().for_each(|&number| track.saw(number));
    (track.seen(), track.reordered, track.doubled)
}

#[test]
fn order_loss_doubles_and_delay_are_told_apart() {
    assert_eq!(seen(&[0, 1, 2, 3]), (4, 0, 0));
    assert_eq!(seen(&[0, 3]), (2, 0, 0), "1 and 2 are missing");
    assert_eq!(seen(&[0, 1, 1, 0]), (2, 0, 2));
    assert_eq!(seen(&[0, 5, 3, 1, 2, 4]), (6, 4, 0));
    assert_eq!(seen(&[4, 2, 2, 0]), (3, 2, 1), "a hole is filled once");
}

proptest! {
    #[test]
    fn any_arrivals(numbers in prop::collection::vec(0_u64..40, 0..80)) {
        let mut before = HashSet::new();
        let (mut late, mut doubled, mut highest) = (0, 0, None);
        for &number in &numbers {
            if !before.insert(number) {
                doubled += 1;
            } else if Some(number) < highest {
                late += 1;
            }
            highest = highest.max(Some(number));
        }
        prop_assert_eq!(seen(&numbers), (before.len() as u64, late, doubled));
    }
}
