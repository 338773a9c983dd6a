//! One file a subcommand.

pub mod bench;
pub mod demo;
pub mod dist;
pub mod test;
