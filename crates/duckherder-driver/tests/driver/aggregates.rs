//! Every aggregate over every type, through workers in this process.

use crate::herd::{Herd, battery};

#[test]
fn every_aggregate_over_every_type() {
    let herd = Herd::new(3);
    battery::make_kinds(&herd, 125_000);
    let mut session = herd.session();
    let checked = battery::check_aggregates(&herd, &mut session);
    assert!(checked > 500, "{checked} calls");
}
