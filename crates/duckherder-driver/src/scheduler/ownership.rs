//! Which part of all tables each worker keeps: the same in all queries.
//!
//! ```text
//!   workers a, b, c, d    owners of even parts, in order, as long as nobody keeps anything
//!   e joins               has a share of theirs, for good
//!   d does not answer     others have its share until it does, or, once it is removed, for good
//! ```
//!
//! It ends with the driver: so does what tells workers that rows which they keep are those that a query reads.

use std::sync::Mutex;

use duckherder_planner::Owners;

use super::Shared;
use super::crew::Crew;
use crate::cluster::local_id;
use crate::sync::lock;

/// The owners once all workers answered that may go on being workers.
#[derive(Default)]
pub struct Ownership(Mutex<Option<Owners>>);

impl Shared {
    /// The owners for a query that these workers run; `None` if nobody keeps what it reads.
    pub fn owners(&self, crew: &Crew) -> Option<Owners> {
        crew.remote().next()?;
        let cluster = &self.cluster;
        let local = (0..cluster.local_workers().len()).map(local_id);
        let all: Vec<String> = local.clone().chain(cluster.staying()).collect();
        let active: Vec<String> = local.chain(cluster.remote_workers().into_iter().map(|worker| worker.id)).collect();
        // Of what workers keep of a storage nobody hears.
        let keep = self.storage.is_some() || self.caches.has_fetched();
        self.ownership.of(&names(&all), &names(&active), &crew.ids(), keep)
    }
}

fn names(ids: &[String]) -> Vec<&str> {
    ids.iter().map(String::as_str).collect()
}

impl Ownership {
    /// `all`: workers that stay; `active`: those of them that answer; `crew`: those that run a query. `keep`: some may keep
    /// what they have read.
    fn of(&self, all: &[&str], active: &[&str], crew: &[&str], keep: bool) -> Option<Owners> {
        let change = |owners: &Owners, workers: &[&str]| match owners.workers() == workers {
            true => owners.clone(),
            false => owners.changed(workers),
        };
        let mut owners = lock(&self.0);
        let known = owners.take().filter(|_| keep);
        *owners = match known {
            Some(known) if all == active => Some(change(&known, all)),
            None if all == active && !all.is_empty() => Some(Owners::even(all)),
            known => known,
        };
        match &*owners {
            Some(owners) => Some(change(owners, crew)),
            None => (!crew.is_empty()).then(|| Owners::even(crew)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const FOUR: [&str; 4] = ["a", "b", "c", "d"];

    #[test]
    fn workers_that_keep_nothing_have_even_parts() {
        let ownership = Ownership::default();
        for workers in [&FOUR[..2], &FOUR[1..], &FOUR] {
            assert!(ownership.of(workers, workers, workers, false).unwrap().is_even());
        }
        let five = ["a", "b", "c", "d", "e"];
        assert!(!ownership.of(&five, &five, &five, true).unwrap().is_even());
        assert!(ownership.of(&FOUR, &FOUR, &FOUR, true).unwrap().is_even(), "it was here for a moment");
    }

    #[test]
    fn who_does_not_answer_for_a_while_has_its_part_when_it_does() {
        let ownership = Ownership::default();
        let before = ownership.of(&FOUR, &FOUR, &FOUR, true).unwrap();
        let others = ["a", "c", "d"];
        let meanwhile = ownership.of(&FOUR, &others, &others, true).unwrap();
        assert_eq!(meanwhile.workers(), others);
        assert_eq!(ownership.of(&FOUR, &FOUR, &FOUR, true), Some(before.clone()));
        // A query that some can't run, since they don't see its files.
        assert_eq!(ownership.of(&FOUR, &FOUR, &others, true), Some(meanwhile.clone()));
        assert_eq!(ownership.of(&others, &others, &others, true), Some(meanwhile));
        // Another one takes the place of one that is lost, whether or not that is known yet.
        let ownership = Ownership::default();
        ownership.of(&FOUR, &FOUR, &FOUR, true).unwrap();
        let active = ["a", "c", "d", "e"];
        let now = ownership.of(&["a", "b", "c", "d", "e"], &active, &active, true).unwrap();
        assert_eq!(ownership.of(&active, &active, &active, true), Some(now.clone()));
        assert_eq!(now.parts().len(), before.parts().len());
    }
}
