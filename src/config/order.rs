//! Checks the dependencies between the instances of a bench: each must exist, and there must be no cycle.

use super::grammar::{Fault, nearest};
use super::instance::InstanceSpec;
use std::collections::HashMap;

/// Checks the dependencies. Returns at least one fault, with its index in the list: instances that do not exist or, if
/// all do, instances on a cycle.
pub fn order(instances: &[InstanceSpec]) -> Result<(), Vec<(usize, Fault)>> {
    let names = || instances.iter().map(|instance| instance.name.as_str());
    let places: HashMap<&str, usize> = names().enumerate().map(|(index, name)| (name, index)).collect();
    let mut waits_for = Vec::with_capacity(instances.len());
    let mut wrong = Vec::new();
    for (index, instance) in instances.iter().enumerate() {
        if let Some(unknown) = instance.after.iter().find(|after| !places.contains_key(after.as_str())) {
            let others = names().filter(|name| *name != instance.name);
            let known = if instances.len() > 1 { nearest(unknown, others) } else { "there is no other".to_owned() };
            let what = format!("{} is after {unknown:?}, which is no instance; {known}", instance.name);
            wrong.push((index, Fault::new(what)));
        }
        waits_for.push(instance.after.iter().filter_map(|name| places.get(name.as_str()).copied()).collect());
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let Some(ring) = ring(&waits_for) else { return Ok(()) };
    let words: Vec<&str> = ring.iter().filter_map(|at| instances.get(*at)).map(|it| it.name.as_str()).collect();
    let what = format!("instances wait for each other: {}", words.join(" is after "));
    let first = ring.first().copied().unwrap_or(0);
    Err(vec![(first, Fault::new(what).hint("take one `after` out of the ring"))])
}

/// A cycle, its first node in the list first and last; `None`: there is none. `edges` are the successors of each node.
///
/// Nodes from which no cycle is reached are removed first (Kahn's algorithm), in one step for each edge.
fn ring(edges: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut led_to_by = vec![Vec::new(); edges.len()];
    for (from, to) in edges.iter().enumerate().flat_map(|(from, to)| to.iter().map(move |to| (from, *to))) {
        led_to_by.get_mut(to)?.push(from);
    }
    let mut left: Vec<usize> = edges.iter().map(Vec::len).collect();
    let mut free: Vec<usize> = (0..edges.len()).filter(|node| left.get(*node) == Some(&0)).collect();
    while let Some(node) = free.pop() {
        for from in led_to_by.get(node)? {
            let count = left.get_mut(*from)?;
            *count -= 1;
            if *count == 0 {
                free.push(*from);
            }
        }
    }
    // The rest are on a cycle or lead to one: following the first edge to another of the rest ends on a cycle.
    let is_left = |node: &usize| left.get(*node).is_some_and(|count| *count > 0);
    let mut at = (0..edges.len()).find(is_left)?;
    let mut seen = vec![false; edges.len()];
    while !std::mem::replace(seen.get_mut(at)?, true) {
        at = edges.get(at)?.iter().copied().find(is_left)?;
    }
    // `at` is on a cycle. Collect it, and rotate it to its first node in the list.
    let mut around = vec![at];
    loop {
        let next = edges.get(*around.last()?)?.iter().copied().find(is_left)?;
        if next == at {
            break;
        }
        around.push(next);
    }
    let first = around.iter().enumerate().min_by_key(|(_, node)| **node).map_or(0, |(place, _)| place);
    around.rotate_left(first);
    around.extend(around.first().copied());
    Some(around)
}
