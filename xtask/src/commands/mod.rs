//! One file a subcommand.

pub mod bench;
pub mod chaos;
pub mod demo;
pub mod dist;
pub mod fuzz;
pub mod test;
