//! Every aggregate over every type, through workers in this process.

use crate::herd::{Herd, battery};

#[test]
fn every_aggregate_over_every_type() {
    battery::check_all(&Herd::new(3));
}
