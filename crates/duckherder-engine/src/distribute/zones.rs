//! Where a table has which values of a column, in the snapshot that is read.

use std::ffi::c_void;

use duckherder_planner::Split;

use super::ffi;
use super::fragment::{Fragment, PlainSplit};
use crate::connection::Connection;
use crate::error::Result;
use crate::ffi::DhError;

/// A row group, none of whose rows has a value of the column, as a number, beyond these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowGroupValues {
    /// Its first row id.
    pub first: u64,
    pub least: i64,
    pub greatest: i64,
}

unsafe extern "C" fn push_zone(target: *mut c_void, first: u64, least: i64, greatest: i64) {
    // SAFETY: `row_group_values` gave its list.
    let found = unsafe { &mut *target.cast::<Vec<RowGroupValues>>() };
    found.push(RowGroupValues { first, least, greatest });
}

impl Fragment {
    /// The row groups of the table that `input`, counted among the splits, is of, in order, as the transaction of
    /// `connection` may see them; none if one does not say which values of `column`, by its number in the table, it has.
    ///
    /// # Errors
    /// There is no such input, or it is none of a table.
    pub fn row_group_values(&self, connection: &Connection, input: usize, column: u64) -> Result<Vec<RowGroupValues>> {
        let mut error = DhError::none();
        let mut found: Vec<RowGroupValues> = Vec::new();
        let target = std::ptr::from_mut(&mut found).cast();
        // SAFETY: both are alive; the sink gets the list it expects.
        unsafe {
            ffi::dh_fragment_zones(
                connection.as_ptr(),
                self.as_ptr(),
                input as u64,
                column,
                push_zone,
                target,
                &mut error,
            );
        }
        error.into_result(found)
    }

    /// What a split by keys of `input` says of the rows that it reads, as SQL, in the names of the input's columns; empty
    /// if it reads all.
    ///
    /// # Errors
    /// There is no such input, or it has no such column.
    pub fn key_condition(&self, input: usize, split: &Split) -> Result<String> {
        let plain = PlainSplit::of(split);
        // SAFETY: the fragment is alive; the sink gets the list it expects; the split outlives the call.
        self.text(|this, sink, target, error| unsafe {
            ffi::dh_fragment_key_condition(this, input as u64, plain.get(), sink, target, error);
        })
    }
}
