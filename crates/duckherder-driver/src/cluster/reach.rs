//! Workers that exchange rows have to reach each other: a network may be cut between two of them only, while the driver
//! reaches both.

use std::collections::BTreeMap;

/// The workers without as many as it takes for all others to reach each other: whoever is parted from most goes first,
/// among equals the last one. `unreachable`: the locations that a worker can't reach.
pub fn together<W>(
    mut workers: Vec<W>,
    location: impl Fn(&W) -> &str,
    unreachable: impl Fn(&W) -> Vec<String>,
) -> Vec<W> {
    let mut parted = pairs(&workers, location, unreachable);
    while !parted.is_empty() {
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        for (one, other) in &parted {
            *counts.entry(*one).or_default() += 1;
            *counts.entry(*other).or_default() += 1;
        }
        let Some((&worst, _)) = counts.iter().max_by_key(|(_, count)| **count) else { break };
        workers.remove(worst);
        parted.retain(|(one, other)| *one != worst && *other != worst);
        for place in parted.iter_mut().flat_map(|(one, other)| [one, other]).filter(|place| **place > worst) {
            *place -= 1;
        }
    }
    workers
}

/// Places of those that are parted, the first before the second.
fn pairs<W>(
    workers: &[W],
    location: impl Fn(&W) -> &str,
    unreachable: impl Fn(&W) -> Vec<String>,
) -> Vec<(usize, usize)> {
    let mut parted = Vec::new();
    for (number, worker) in workers.iter().enumerate() {
        for lost in unreachable(worker) {
            let other = workers.iter().position(|other| location(other) == lost);
            parted.extend(other.filter(|other| *other != number).map(|other| (number.min(other), number.max(other))));
        }
    }
    parted.sort_unstable();
    parted.dedup();
    parted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `parted`: who can't reach whom, by places.
    fn left(count: usize, parted: &[(usize, usize)]) -> Vec<String> {
        let names: Vec<String> = (0..count).map(|number| format!("w{number}")).collect();
        let known = names.clone();
        let unreachable = |name: &String| {
            let of_it = parted.iter().filter(|(one, _)| known[*one] == *name);
            of_it.map(|(_, other)| format!("w{other}")).collect()
        };
        together(names, |name| name, unreachable)
    }

    #[test]
    fn whoever_is_left_reaches_all_others() {
        assert_eq!(left(3, &[]), ["w0", "w1", "w2"]);
        assert_eq!(left(3, &[(0, 1), (1, 0)]), ["w0", "w2"]);
        // one that is parted from several
        assert_eq!(left(4, &[(0, 1), (2, 1), (3, 1)]), ["w0", "w2", "w3"]);
        // two halves
        assert_eq!(left(4, &[(0, 2), (0, 3), (1, 2), (3, 1)]).len(), 2);
        // somebody who is no worker any more
        assert_eq!(left(2, &[(0, 7)]), ["w0", "w1"]);
    }
}
