//! Queries of several stages, through workers in this process, against DuckDB itself.

use crate::herd::{Herd, skew, stages};

#[test]
fn stages_on_local_workers() {
    for workers in [1, 4] {
        let herd = Herd::new(workers);
        stages::make_tables(&herd);
        stages::check(&herd, &mut herd.session(), 35);
        stages::check_writes(&herd, &mut herd.session());
    }
}

/// These workers share their memory: most of the joins divide one side only.
#[test]
fn skewed_joins_on_local_workers() {
    let herd = Herd::new(4);
    skew::make_tables(&herd);
    skew::check(&herd, &mut herd.session(), false);
}
