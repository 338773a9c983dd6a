//! What to distribute, and how: pure functions over plain data. Knows neither DuckDB nor sockets.
//!
//! ```text
//!   Plan (described by the engine) + Workers --decide()--> Local { reason }
//!                                                     \--> Distribution: stages, and what is left on the driver
//!        place   where each operator runs               join   which side of a join moves
//!        filter  which rows need not move            aggregate, shuffle   early  where what is shuffled is narrow
//!        ranges  what is read by ranges of a key, as tables are stored   zones   which values are where
//!        partition   what runs where rows are divided already    shared, together   CTEs    union   UNION ALL
//!        readers   whether all rows come to who reads them    order   whose order shows
//!        cost    what that takes, here and on workers
//!   Plan + Distribution --Graph::distributed()--> what duckherder_explain() draws, in mermaid
//!                      --outlines()--> what each stage does, for EXPLAIN
//!   row groups at the query's snapshot ----split()----> one Split a task
//!     owners   which parts of all tables workers elsewhere keep, once others have come or gone   layout   who reads which then
//! ```

mod aggregate;
pub mod cost;
pub mod decide;
mod early;
mod filter;
pub mod graph;
mod join;
mod layout;
mod mermaid;
mod order;
mod outline;
mod owners;
mod partition;
mod place;
pub mod plan;
mod ranges;
mod readers;
mod shared;
mod shuffle;
pub mod skew;
pub mod split;
pub mod stage;
#[cfg(test)]
mod tests;
mod together;
mod union;
mod zones;

pub use cost::{Capacity, Estimate};
pub use decide::{Prospect, decide, once_cached};
pub use graph::Graph;
pub use layout::Layout;
pub use outline::outlines;
pub use owners::Owners;
pub use plan::{Aggregate, AggregateCall, Files, Limit, Operator, Plan, PlanNode, Scan};
pub use split::{Mode, RowGroup, Split, Workers, split, split_by_keys, split_files};
pub use stage::{
    Cut, Decision, Distribution, Exchange, KeyOfScan, MergeStrategy, RuntimeFilter, ScanKey, ScanUse, Stage,
};
pub use zones::{Zone, Zones};
