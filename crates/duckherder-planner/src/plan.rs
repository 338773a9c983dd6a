//! DuckDB's optimised plan as plain data, as the engine writes it (`cpp/distribute/describe.cpp`).

use serde::Deserialize;

/// A plan and what holds for all of it.
#[derive(Clone, Debug, Deserialize)]
pub struct Plan {
    /// The operator on top (what is below EXPLAIN).
    pub root: PlanNode,
    /// The transaction has changed something: only its own connection sees that.
    pub has_written: bool,
}

/// One operator.
#[derive(Clone, Debug, Deserialize)]
pub struct PlanNode {
    /// Its place in preorder, from 0: the name by which the engine finds it again.
    pub id: u64,
    pub operator: Operator,
    #[serde(default)]
    pub children: Vec<PlanNode>,
    /// An expression that gives another value each time (`random()`, `nextval`).
    #[serde(default)]
    pub volatile: bool,
    #[serde(default)]
    pub scan: Option<Scan>,
    #[serde(default)]
    pub aggregate: Option<Aggregate>,
    #[serde(default)]
    pub limit: Option<Limit>,
    /// DISTINCT ON rather than DISTINCT.
    #[serde(default)]
    pub distinct_on: bool,
}

/// DuckDB's operator types, as far as the planner knows what to do with them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum Operator {
    Scan,
    Filter,
    Projection,
    Aggregate,
    Distinct,
    OrderBy,
    TopN,
    Limit,
    Window,
    Unnest,
    /// Anything else that only reads: joins, set operations, constants.
    Relational,
    /// What is not part of a query, or runs several times; by DuckDB's name.
    Other(String),
}

/// DuckDB's names of the operators that are [`Operator::Relational`].
const RELATIONAL: [&str; 17] = [
    "ANY_JOIN",
    "ASOF_JOIN",
    "CHUNK_GET",
    "COMPARISON_JOIN",
    "CROSS_PRODUCT",
    "CTE",
    "CTE_SCAN",
    "DELIM_GET",
    "DELIM_JOIN",
    "DUMMY_SCAN",
    "EMPTY_RESULT",
    "EXCEPT",
    "EXPRESSION_GET",
    "INTERSECT",
    "JOIN",
    "POSITIONAL_JOIN",
    "UNION",
];

impl From<String> for Operator {
    fn from(name: String) -> Self {
        match name.as_str() {
            "GET" => Self::Scan,
            "FILTER" => Self::Filter,
            "PROJECTION" => Self::Projection,
            "AGGREGATE" => Self::Aggregate,
            "DISTINCT" => Self::Distinct,
            "ORDER_BY" => Self::OrderBy,
            "TOP_N" => Self::TopN,
            "LIMIT" => Self::Limit,
            "WINDOW" => Self::Window,
            "UNNEST" => Self::Unnest,
            _ if RELATIONAL.contains(&name.as_str()) => Self::Relational,
            _ => Self::Other(name),
        }
    }
}

/// What a scan reads.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Scan {
    /// The table's name, or the function's.
    pub name: String,
    /// A table of the driver's database that every connection sees (not a temporary one, not a function).
    pub shared_table: bool,
    /// Rows of the table before any filter.
    pub rows: u64,
    /// A row id, or another column that is not the table's own, is read.
    pub virtual_columns: bool,
    /// The scan takes a sample.
    pub sampled: bool,
    /// A filter that an index of the table answers.
    pub index_lookup: bool,
}

/// What an aggregate computes.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Aggregate {
    pub groups: u64,
    /// GROUPING SETS, ROLLUP or CUBE, or a call of GROUPING().
    pub grouping_sets: bool,
    pub calls: Vec<AggregateCall>,
}

/// One aggregate function.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct AggregateCall {
    pub name: String,
    pub distinct: bool,
    /// The bound function can export its state and combine states.
    pub exportable: bool,
}

/// LIMIT and OFFSET, or a TOP N's.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Limit {
    /// A constant number of rows; `None`: no limit, a percentage, or an expression.
    pub rows: Option<u64>,
    /// A constant offset; `None`: an expression.
    pub offset: Option<u64>,
}

impl PlanNode {
    /// Itself and everything below.
    pub fn walk(&self) -> Vec<&PlanNode> {
        let mut found = vec![self];
        let mut next = 0;
        // Breadth first is enough for the callers, which ask what there is, not in which order.
        while next < found.len() {
            found.extend(found[next].children.iter());
            next += 1;
        }
        found
    }

    /// The operators from here down to the node `id`, both included; empty if it is not below.
    pub fn path_to(&self, id: u64) -> Vec<&PlanNode> {
        if self.id == id {
            return vec![self];
        }
        for child in &self.children {
            let mut path = child.path_to(id);
            if !path.is_empty() {
                path.insert(0, self);
                return path;
            }
        }
        Vec::new()
    }
}
