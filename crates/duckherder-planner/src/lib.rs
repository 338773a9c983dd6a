//! What to distribute, and how: pure functions over plain data. Knows neither DuckDB nor sockets.
//!
//! ```text
//!   Plan (described by the engine) + Cluster --decide()--> Local { reason }
//!                                                     \--> Distribution: cut, merge, split strategy, tasks
//!   row groups at the query's snapshot ----split()----> one Split a task
//! ```

pub mod decide;
pub mod plan;
pub mod split;

pub use decide::{Cut, Decision, Distribution, MergeStrategy, decide};
pub use plan::{Aggregate, AggregateCall, Limit, Operator, Plan, PlanNode, Scan};
pub use split::{Mode, RowGroup, Split, Workers, split};
