//! The words on what a line of impairments would do with a frame.

use crate::switch::{Impairment, Loss, Prospect, Share, Sure};

/// What the line would do, in the order in which it does it.
pub fn words(line: &Prospect) -> String {
    let Some(settings) = &line.settings else {
        return format!("frame {} of it: `only=` or `match=` lets it pass", line.number);
    };
    let mut parts = Vec::new();
    if line.is_nth {
        parts.push("lost, as `nth=` says".to_owned());
    } else {
        parts.extend(losses(&settings.loss));
        if line.sure() != Sure::Lost {
            parts.extend(changes(settings));
            parts.extend(holding(line, settings));
        }
    }
    format!("frame {} of it: {}", line.number, parts.join(", "))
}

fn losses(loss: &Loss) -> Option<String> {
    match loss {
        Loss::Random(chance) if chance.share.is_none() => None,
        Loss::Random(chance) if chance.share == Share::ALL => Some("lost, as all are".to_owned()),
        Loss::Random(chance) if chance.correlation.is_none() => {
            Some(format!("would be lost with probability {}", percent(chance.share)))
        }
        Loss::Random(chance) => {
            let (share, like) = (percent(chance.share), percent(chance.correlation));
            Some(format!("would be lost with probability {share}, at {like} as the one before"))
        }
        Loss::GilbertElliott { bad, good, .. } => Some(format!(
            "would be lost with probability {} in the bad state of gemodel, {} in the good one",
            percent(*bad),
            percent(*good)
        )),
        Loss::FourStates { .. } => Some("would be lost as the state of the four is".to_owned()),
    }
}

fn changes(settings: &Impairment) -> impl Iterator<Item = String> {
    let each = [(settings.duplicate, "doubled"), (settings.corrupt, "altered by a bit")];
    let chances = each.into_iter().filter(|(chance, _)| !chance.share.is_none());
    chances.map(|(chance, what)| format!("{what} with probability {}", percent(chance.share)))
}

fn holding(line: &Prospect, settings: &Impairment) -> Vec<String> {
    let mut parts = Vec::new();
    match line.sure() {
        Sure::Lost | Sure::Passes => return parts,
        Sure::Full => return vec![format!("dropped, as {} are held and no more may be", line.held)],
        Sure::Held => {}
    }
    if !settings.delay.is_zero() || !settings.jitter.is_zero() {
        let spread = match settings.jitter.is_zero() {
            true => String::new(),
            false => format!(" \u{b1} {:?}", settings.jitter),
        };
        parts.push(format!("held for {:?}{spread}", settings.delay));
    }
    parts.extend(settings.rate.map(|rate| format!("let out at {} bit/s", rate.get())));
    parts.extend(settings.slot.map(|slot| format!("let out in slots {:?} to {:?} apart", slot.from, slot.to)));
    if line.held > 0 {
        parts.push(format!("where {} are held before it", line.held));
    }
    if !settings.reorder.share.is_none() {
        parts.push(format!("but overtakes with probability {}", percent(settings.reorder.share)));
    }
    parts
}

/// A share in percent, with as many decimals as it needs.
fn percent(share: Share) -> String {
    let text = format!("{:.4}", share.part() * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::switch::Chance;
    use crate::time::Duration;

    fn told(set: impl FnOnce(&mut Impairment), held: usize, is_full: bool) -> String {
        let mut settings = Impairment::default();
        set(&mut settings);
        words(&Prospect { number: 7, settings: Some(settings), is_nth: false, held, is_full })
    }

    #[test]
    fn what_is_chance_has_its_probability_and_the_rest_is_sure() {
        let one = |part| Chance::of(Share::of(part));
        let lossy = |it: &mut Impairment| {
            it.loss = Loss::Random(one(0.01));
            (it.delay, it.jitter) = (Duration::from_millis(20), Duration::from_millis(5));
        };
        assert_eq!(
            told(lossy, 3, false),
            "frame 7 of it: would be lost with probability 1 %, held for 20ms \u{b1} 5ms, where 3 are held before it"
        );
        assert_eq!(
            told(lossy, 1000, true),
            "frame 7 of it: would be lost with probability 1 %, dropped, as 1000 are held and no more may be"
        );
        assert_eq!(
            told(|it| it.loss = Loss::Random(Chance::of(Share::ALL)), 0, false),
            "frame 7 of it: lost, as all are"
        );
        assert_eq!(told(|it| it.duplicate = one(0.005), 0, false), "frame 7 of it: doubled with probability 0.5 %");
        let none = Prospect { number: 1, settings: None, is_nth: false, held: 0, is_full: false };
        assert_eq!(words(&none), "frame 1 of it: `only=` or `match=` lets it pass");
    }
}
