//! DuckDB's optimised plan as plain data, as the engine writes it (`cpp/distribute/describe.cpp`).

use std::ops::Range;

use serde::Deserialize;

use crate::cost::Measured;
use crate::split::{ROW_GROUP_ROWS, RowGroup};
use crate::zones::Zone;

/// A plan and what holds for all of it.
#[derive(Clone, Debug, Deserialize)]
pub struct Plan {
    /// The operator on top (what is below EXPLAIN).
    pub root: PlanNode,
    /// The transaction has changed something: only its own connection sees that.
    pub has_written: bool,
    /// Why nothing of it is for workers; empty if nothing is known against that.
    #[serde(default)]
    pub kept: String,
    /// What the session asks for.
    #[serde(default)]
    pub distribution: Distributed,
    /// A table with fewer rows is one task.
    #[serde(default = "row_group_rows")]
    pub min_split_rows: u64,
    /// Of the driver's DuckDB.
    #[serde(default = "one_thread")]
    pub threads: u64,
    /// Operators have labels, and their keys names.
    #[serde(default)]
    pub explained: bool,
    /// Workers elsewhere read the driver's tables themselves, where it keeps them.
    #[serde(default)]
    pub stored: bool,
    /// Operators, by id, at which a cut was tried and DuckDB could not write the SQL.
    #[serde(default)]
    pub not_written: Vec<u64>,
    /// The same for plans that are alike, also in their constants (`fingerprint.cpp`).
    #[serde(default)]
    pub fingerprint: u64,
    /// What such plans have taken before.
    #[serde(skip)]
    pub measured: Measured,
}

fn row_group_rows() -> u64 {
    ROW_GROUP_ROWS
}

fn one_thread() -> u64 {
    1
}

/// The setting `duckherder_distribution`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Distributed {
    /// Where it costs less.
    #[default]
    Auto,
    /// Wherever it is possible.
    Always,
    Never,
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
    /// Of a sample: it takes the same rows each time (REPEATABLE), from rows that come in the same pieces.
    #[serde(default)]
    pub repeatable: bool,
    #[serde(default)]
    pub scan: Option<Scan>,
    #[serde(default)]
    pub aggregate: Option<Aggregate>,
    #[serde(default)]
    pub limit: Option<Limit>,
    /// Of a COPY TO that makes a directory of files.
    #[serde(default)]
    pub write: Option<Write>,
    /// DISTINCT ON rather than DISTINCT.
    #[serde(default)]
    pub distinct_on: bool,
    /// Of DISTINCT ON: an order says which row of those is taken.
    #[serde(default)]
    pub ordered: bool,
    /// DuckDB's estimate of the rows that it gives.
    #[serde(default)]
    pub estimated_rows: Option<u64>,
    /// Of a row that it gives, in memory; texts are taken to be of one length.
    #[serde(default)]
    pub row_bytes: Option<u64>,
    /// Functions, comparisons, casts and aggregates that it computes for a row.
    #[serde(default)]
    pub operations: u64,
    /// Those of them that work on a text.
    #[serde(default)]
    pub text_operations: u64,
    #[serde(default)]
    pub join: Option<Join>,
    /// Of a CTE: the optimizer has made it, of the rows that several grouping sets are of.
    #[serde(default)]
    pub grouping_sets: bool,
    /// UNION ALL rather than UNION, and so on.
    #[serde(default)]
    pub all: bool,
    /// Of INTERSECT and EXCEPT without ALL: how many different rows each child gives, as far as its columns' values were
    /// counted.
    #[serde(default)]
    pub distinct_rows: Vec<Option<u64>>,
    /// Itself in a few words, if the plan is explained.
    #[serde(default)]
    pub label: String,
    /// For each child: the keys by which its rows must meet, if there are such.
    #[serde(default)]
    pub keys: Vec<Vec<ShuffleKey>>,
    /// Columns that are those of its first child under another name.
    #[serde(default)]
    pub renames: Vec<Rename>,
    /// Of a CTE and of those that read it: which one.
    #[serde(default)]
    pub cte: Option<u64>,
    /// Of a CTE: what its definition gives; of who reads it: the names that these have there.
    #[serde(default)]
    pub columns: Vec<Column>,
}

/// The engine's name of a column, unique in a plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub struct Column(pub String);

impl Column {
    /// The numbers of its table and of itself there, in DuckDB's plan.
    pub fn numbers(&self) -> Option<(u64, u64)> {
        let (table, column) = self.0.split_once('.')?;
        Some((table.parse().ok()?, column.parse().ok()?))
    }
}

/// One of the keys by which rows must meet.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ShuffleKey {
    /// The column that it is, if it is one.
    #[serde(default)]
    pub column: Option<Column>,
    /// The column of another type of integers that it is a cast of: equal where that is, but of another hash.
    #[serde(default)]
    pub cast_from: Option<Column>,
    /// A row with NULL here need not meet any other.
    #[serde(default)]
    pub null_meets_none: bool,
    /// As the user knows it, if the plan is explained.
    #[serde(default)]
    pub text: String,
}

impl ShuffleKey {
    /// The column whose value it has, in whatever type.
    pub fn value(&self) -> Option<&Column> {
        self.column.as_ref().or(self.cast_from.as_ref())
    }
}

/// A column that has the value of another.
#[derive(Clone, Debug, Deserialize)]
pub struct Rename {
    pub now: Column,
    pub was: Column,
    /// As another type of integers.
    #[serde(default)]
    pub cast: bool,
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
    /// Also a cross product and what has no equality; see [`PlanNode::join`].
    Join,
    Union,
    /// INTERSECT, EXCEPT
    SetOperation,
    /// Rows that are written in the query.
    Constants,
    /// Rows that the optimizer has made, of a list after IN.
    Collected,
    /// Its first child is read by every [`CteScan`](Self::CteScan) below its second.
    Cte,
    CteScan,
    /// Anything else that only reads.
    Relational,
    /// Its second child runs several times.
    RecursiveCte,
    /// Puts the rows of its child somewhere: INSERT, CREATE TABLE AS, COPY TO; by DuckDB's name.
    Write(String),
    /// What is not part of a query; by DuckDB's name.
    Other(String),
}

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
            "ANY_JOIN" | "ASOF_JOIN" | "COMPARISON_JOIN" | "CROSS_PRODUCT" => Self::Join,
            "UNION" => Self::Union,
            "EXCEPT" | "INTERSECT" => Self::SetOperation,
            "DUMMY_SCAN" | "EMPTY_RESULT" | "EXPRESSION_GET" => Self::Constants,
            "CHUNK_GET" => Self::Collected,
            "CTE" => Self::Cte,
            "CTE_SCAN" => Self::CteScan,
            "DELIM_GET" | "DELIM_JOIN" | "JOIN" | "PIVOT" | "POSITIONAL_JOIN" | "SAMPLE" => Self::Relational,
            "REC_CTE" => Self::RecursiveCte,
            "COPY_TO_FILE" | "CREATE_TABLE" | "INSERT" => Self::Write(name),
            _ => Self::Other(name),
        }
    }
}

/// How the two children of a join meet.
#[derive(Clone, Debug, Deserialize)]
pub struct Join {
    #[serde(rename = "type")]
    pub kind: JoinKind,
    /// Each left row meets the nearest right one only.
    #[serde(default)]
    pub asof: bool,
}

/// DuckDB's join types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JoinKind {
    Inner,
    Left,
    Right,
    #[serde(rename = "FULL")]
    Outer,
    Semi,
    Anti,
    /// Each left row, and whether the right side has its key (TRUE, FALSE or NULL).
    Mark,
    /// Each left row with its one partner.
    Single,
    RightSemi,
    RightAnti,
    #[serde(other)]
    Invalid,
}

impl JoinKind {
    /// Of the left and the right side: whether the join of each part of its rows with all of the other side's gives
    /// together the whole join's rows.
    pub fn divisible(self) -> [bool; 2] {
        let left = matches!(self, Self::Inner | Self::Left | Self::Semi | Self::Anti | Self::Mark | Self::Single);
        let right = matches!(self, Self::Inner | Self::Right | Self::RightSemi | Self::RightAnti);
        [left, right]
    }

    /// Of the left and the right side: whether each row that comes out, whose key is not NULL, has a key of that side.
    pub fn gives_only_keys_of(self) -> [bool; 2] {
        let left = !matches!(self, Self::Right | Self::RightAnti | Self::Outer | Self::Invalid);
        let right = matches!(self, Self::Inner | Self::Right | Self::Semi | Self::RightSemi | Self::RightAnti);
        [left, right]
    }

    /// Whether each two rows that match are a row of the join.
    pub fn gives_pairs(self) -> bool {
        matches!(self, Self::Inner | Self::Left | Self::Right | Self::Outer)
    }
}

/// What a scan reads.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Scan {
    /// The table's name, or the function's.
    pub name: String,
    /// The qualified name of a table that workers may keep rows of, with the numbers of the columns that are read; empty
    /// otherwise.
    #[serde(default)]
    pub table: String,
    #[serde(default)]
    pub columns: Vec<u64>,
    /// The part of its rows that workers elsewhere have in their caches, as far as that is known, where each reads its own
    /// rows, and where each reads all of them.
    #[serde(default)]
    pub cached: f64,
    #[serde(default)]
    pub cached_whole: f64,
    /// A table of one of the driver's databases that every connection sees (not a temporary one, not a function).
    pub shared_table: bool,
    /// Rows of the table before any filter.
    pub rows: u64,
    /// Of a row's columns that are read, in memory.
    #[serde(default)]
    pub row_bytes: Option<u64>,
    /// A row id, or another column that is not the table's own, is read.
    pub virtual_columns: bool,
    /// The scan takes a sample.
    pub sampled: bool,
    /// A filter that an index of the table answers.
    pub index_lookup: bool,
    /// Those of the columns by whose range its rows can be asked for.
    #[serde(default)]
    pub ranges: Vec<RangeColumn>,
    /// In the place of a table: files that workers may be able to read.
    #[serde(default)]
    pub files: Option<Files>,
    /// Why only the driver can read it; empty if nothing is known against that.
    #[serde(default)]
    pub kept: String,
}

/// A column that a scan reads as the table, or the files, have it, of whole numbers, dates or timestamps.
#[derive(Clone, Debug, Deserialize)]
pub struct RangeColumn {
    pub column: Column,
    /// In the table, or among the files' columns.
    pub number: u64,
    /// What it has where; empty if that is not known, or it has NULLs.
    #[serde(default)]
    pub zones: Vec<Zone>,
}

/// Files, and the units that tasks divide among them: row groups, or whole files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Files {
    pub paths: Vec<String>,
    /// Rows of each row group of each file; empty if files are not divided.
    pub row_groups: Vec<Vec<u64>>,
    /// CSV or JSON.
    #[serde(default)]
    pub text: bool,
    /// Text of which the driver can't say how it is written: whoever reads it must first find out.
    #[serde(default)]
    pub sampled_again: bool,
    /// Others that the query leaves out, but that every worker elsewhere looks at, since they decide about the columns.
    #[serde(default)]
    pub others: Vec<String>,
    /// Of each file, once the driver has looked.
    #[serde(default)]
    pub bytes: Vec<u64>,
}

impl Files {
    /// In order, as if a unit were a row: what [`split`](crate::split::split) takes.
    pub fn units(&self) -> Vec<RowGroup> {
        let weights: Vec<u64> = match self.row_groups.is_empty() {
            true => (0..self.paths.len()).map(|file| self.bytes.get(file).copied().unwrap_or(1).max(1)).collect(),
            false => self.row_groups.iter().flatten().map(|rows| (*rows).max(1)).collect(),
        };
        weights.into_iter().enumerate().map(|(start, rows)| RowGroup { start: start as u64, rows }).collect()
    }

    /// The places in [`paths`](Self::paths) of the files that the units `first` to `last` are in; `None` is open-ended.
    pub fn of_units(&self, first: Option<u64>, last: Option<u64>) -> Range<usize> {
        let mut places = None;
        let mut start = 0;
        for place in 0..self.paths.len() {
            let end = start + self.row_groups.get(place).map_or(1, |groups| groups.len() as u64);
            if first.is_none_or(|first| first < end) && last.is_none_or(|last| last >= start) {
                places.get_or_insert(place..place).end = place + 1;
            }
            start = end;
        }
        places.unwrap_or(0..0)
    }
}

/// What an aggregate computes.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Aggregate {
    pub groups: u64,
    /// GROUPING SETS, ROLLUP or CUBE, or a call of GROUPING().
    pub grouping_sets: bool,
    /// Its groups, as far as the distinct values of columns tell.
    #[serde(default)]
    pub distinct: Option<u64>,
    /// How many values each of its keys has, where these were counted.
    #[serde(default)]
    pub key_values: Vec<Option<u64>>,
    /// Which of its keys are texts, by their numbers.
    #[serde(default)]
    pub text_keys: Vec<usize>,
    /// It exports states that an aggregate above combines, whose rows nothing else tells apart: a group may have several.
    #[serde(default)]
    pub combined: bool,
    pub calls: Vec<AggregateCall>,
}

/// One aggregate function.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct AggregateCall {
    pub name: String,
    pub distinct: bool,
    /// The bound function can export its state and combine states.
    pub exportable: bool,
    /// Its value depends on the order of the rows (`first`, `list`).
    #[serde(default)]
    pub order_dependent: bool,
}

/// Aggregates of which the order of the rows changes how they are rounded, and nothing else: no thread of DuckDB's has an
/// order for these.
const ROUNDED: [&str; 18] = [
    "avg",
    "corr",
    "covar_pop",
    "covar_samp",
    "favg",
    "fsum",
    "kahan_sum",
    "mean",
    "product",
    "sem",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "sum",
    "sumkahan",
    "var_pop",
    "var_samp",
    "variance",
];

impl AggregateCall {
    /// Whether its value tells in which order the rows came.
    pub fn sees_order(&self) -> bool {
        self.order_dependent && !ROUNDED.contains(&self.name.as_str())
    }
}

/// Files that COPY TO makes in a directory.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Write {
    /// Its absolute path.
    pub directory: String,
    /// Why only the driver can write them; empty if nothing is known against tasks.
    #[serde(default)]
    pub kept: String,
}

/// LIMIT and OFFSET, or a TOP N's.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Limit {
    /// A constant number of rows; `None`: no limit, a percentage, or an expression.
    pub rows: Option<u64>,
    /// A constant offset; `None`: an expression.
    pub offset: Option<u64>,
}

/// More rows that the optimizer has made are no part of a fragment: it has each as text.
const MOST_WRITTEN_ROWS: u64 = 2_048;

impl PlanNode {
    /// Whether its rows stand in a fragment's text, wherever they are needed.
    pub fn is_written_out(&self) -> bool {
        match self.operator {
            // VALUES of columns of an outer query are of the rows below.
            Operator::Constants => self.children.iter().all(Self::is_written_out),
            Operator::Collected => self.estimated_rows.is_some_and(|rows| rows <= MOST_WRITTEN_ROWS),
            _ => false,
        }
    }

    /// What a scan reads, filtered or computed.
    pub fn is_of_one_scan(&self) -> bool {
        match (&self.operator, self.children.as_slice()) {
            (Operator::Scan, _) => true,
            (Operator::Filter | Operator::Projection, [child]) => child.is_of_one_scan(),
            _ => false,
        }
    }

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

    /// The scans from here down, in preorder.
    pub fn preorder_scans_mut(&mut self) -> Vec<&mut Scan> {
        let mut found: Vec<_> = self.scan.iter_mut().collect();
        found.extend(self.children.iter_mut().flat_map(Self::preorder_scans_mut));
        found
    }

    /// The scans from here down, with their nodes' ids, in preorder: the order of their numbers.
    pub fn preorder_scans(&self) -> Vec<(u64, &Scan)> {
        let mut found: Vec<_> = self.scan.iter().map(|scan| (self.id, scan)).collect();
        found.extend(self.children.iter().flat_map(Self::preorder_scans));
        found
    }
}
