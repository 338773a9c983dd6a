//! The stages of one run: what each of their tasks reads, and who runs it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use duckherder_engine::distribute::{Fragment, FragmentInput, QueryRun, Snapshot, StoredGroup, StoredTable};
use duckherder_engine::{Connection, EngineError};
use duckherder_planner::{
    Distribution, Exchange, MergeStrategy, RowGroup, RuntimeFilter, Split, Stage, split, split_files,
};
use duckherder_proto::task::{FileStamp, StoredColumn, StoredRows};

use super::Shared;
use super::files::{FilesOfScans, KnownFiles};
use super::report::Part;
use super::skew::JoinSide;

/// One stage that runs.
pub struct RunningStage {
    pub number: usize,
    pub fragment: Fragment,
    pub inputs: Vec<FragmentInput>,
    /// By split input: the files that it is of.
    pub files: Vec<Option<Arc<KnownFiles>>>,
    /// By task: a split for each split input of the fragment.
    pub splits: Vec<Vec<Split>>,
    /// By split input: what of a table workers may keep.
    pub stored: Vec<Option<StoredInput>>,
    /// Tasks of the stage that the rows are shuffled to, or stages that they are forwarded to; 0 if the driver reads them.
    pub partitions: usize,
    /// The stages that the rows are forwarded to, task by task.
    pub readers: Vec<usize>,
    /// The driver's query gives no row before it has all of these.
    pub blocks: bool,
    /// Its tasks' rows are merged in their order.
    pub sorted: bool,
    /// Each of these reads all rows.
    pub broadcast: bool,
    /// What all tasks together are estimated to give.
    rows: Option<u64>,
    /// By split input: the rows of its table, as far as they are known.
    table_rows: Vec<Option<u64>>,
    /// Of the rows that other tasks read, without their hash.
    pub schema: Option<SchemaRef>,
    /// If they are shuffled for a join.
    pub side: Option<JoinSide>,
    /// Those that it leaves out.
    pub filter: Option<RuntimeFilter>,
}

/// A table, as the query's snapshot has it.
pub struct StoredInput {
    table: StoredTable,
    groups: Vec<StoredGroup>,
}

impl StoredInput {
    /// The rows of a split, if workers may keep them.
    pub fn rows(&self, driver: u64, split: Split) -> Option<StoredRows> {
        let Split::Range { first, last } = split else { return None };
        let after = |group: usize| self.groups.get(group + 1).map_or(u64::MAX, |next| next.first);
        let read = |group: &usize| {
            let of = &self.groups[*group];
            (of.number == 0 || of.inserted > 0)
                && last.is_none_or(|last| of.first <= last)
                && first.is_none_or(|first| after(*group) > first)
        };
        let groups: Vec<usize> = (0..self.groups.len()).filter(read).collect();
        if groups.is_empty() || groups.iter().any(|group| self.groups[*group].number == 0) {
            return None;
        }
        // Where whole row groups are read, nothing divides them.
        let begins = groups.first().map(|group| self.groups[*group].first);
        let ends = groups.last().map(|group| after(*group));
        let proto = |group: &usize| {
            let StoredGroup { first, number, inserted, visible } = self.groups[*group];
            duckherder_proto::task::StoredGroup { first, number, inserted, visible }
        };
        let columns = self
            .table
            .columns
            .iter()
            .map(|(number, name)| Some(StoredColumn { number: u32::try_from(*number).ok()?, name: name.clone() }));
        Some(StoredRows {
            driver,
            table: self.table.name.clone(),
            columns: columns.collect::<Option<_>>()?,
            groups: groups.iter().map(proto).collect(),
            first: first.filter(|first| begins.is_some_and(|begins| *first > begins)),
            last: last.filter(|last| ends.is_some_and(|ends| *last < ends - 1)),
        })
    }
}

impl RunningStage {
    pub fn tasks(&self) -> usize {
        self.splits.len()
    }

    /// Which tasks' rows the task of another stage reads, and of each which part.
    pub fn parts_for(&self, reader: usize, task: usize) -> Vec<(usize, u32)> {
        match self.readers.iter().position(|other| *other == reader) {
            Some(part) if task < self.tasks() => vec![(task, part as u32)],
            Some(_) => Vec::new(),
            None => (0..self.tasks()).map(|source| (source, task as u32)).collect(),
        }
    }

    /// What the task reads of the table, or of the files, that are divided; all of it, if none is.
    pub fn divided(&self, task: usize) -> Part {
        let mut parts = self.splits[task].iter().zip(&self.files);
        match parts.find(|(split, _)| ![Split::WHOLE, Split::NOTHING].contains(split)) {
            Some((split, None)) => Part::Rows(*split),
            Some((split, Some(files))) if files.files.row_groups.is_empty() => Part::Files(*split),
            Some((split, Some(_))) => Part::RowGroups(*split),
            None => Part::Rows(Split::WHOLE),
        }
    }

    /// From where to where the task reads the divided table, about, as parts of all its rows. (DuckDB's progress is that
    /// of a scan of all: it counts the rows before the task's as read.)
    pub fn reach(&self, task: usize) -> Range<f64> {
        let tasks = self.tasks() as f64;
        match self.divided(task) {
            Part::Rows(Split::Range { first, last }) if (first, last) != (None, None) => {
                task as f64 / tasks..(task + 1) as f64 / tasks
            }
            _ => 0.0..1.0,
        }
    }

    /// The files that the task reads.
    pub fn stamps(&self, task: usize) -> Vec<FileStamp> {
        let parts = self.splits[task].iter().zip(&self.files);
        parts.flat_map(|(split, files)| files.iter().flat_map(|files| files.stamps(*split).to_vec())).collect()
    }

    /// How many rows each task of the next stage gets of this one's, about.
    pub fn rows_for_a_task(&self) -> Option<u64> {
        let parts = if self.broadcast { 1 } else { self.partitions.max(1) as u64 };
        self.rows.map(|rows| rows / parts)
    }

    /// How many rows a task reads of a split input, about.
    pub fn rows_of_split(&self, task: usize, input: usize) -> Option<u64> {
        let rows = self.table_rows[input]?;
        Some(match self.splits[task][input] {
            Split::WHOLE => rows,
            Split::NOTHING => 0,
            _ => rows / self.tasks() as u64,
        })
    }

    /// What a task reads of a split input, if its worker may keep that.
    pub fn stored_rows(&self, task: usize, input: usize, driver: u64) -> Option<StoredRows> {
        self.stored.get(input)?.as_ref()?.rows(driver, self.splits[task][input])
    }

    pub fn reads_files(&self) -> bool {
        self.files.iter().any(Option::is_some)
    }

    /// Whether its tasks may run with the plan of the last time. (Files may be others then; and DuckDB 2.0.0 does not see
    /// that rows below a plan that runs again have an order that was asked for.)
    pub fn may_keep_plans(&self) -> bool {
        !self.sorted && !self.reads_files() && !self.is_narrowed()
    }

    /// Whether its scans read what the keys of another stage have to do with: something else each time.
    fn is_narrowed(&self) -> bool {
        self.filter.as_ref().is_some_and(|filter| !filter.ranges.is_empty())
    }

    pub fn reads_exchanges(&self) -> bool {
        self.inputs.iter().any(|input| matches!(input, FragmentInput::Exchange { .. }))
    }
}

/// The stage `top` and those that it reads, these first.
pub fn needed(stages: &[Stage], top: usize) -> Vec<usize> {
    let mut found = Vec::new();
    let mut waiting = vec![top];
    while let Some(number) = waiting.pop() {
        if !found.contains(&number) {
            found.push(number);
            waiting.extend(stages.get(number).map(|stage| stage.inputs.clone()).unwrap_or_default());
        }
    }
    // A stage stands behind those that it reads.
    found.sort_unstable();
    found
}

/// What runs for the stage `top`.
///
/// # Errors
/// DuckDB's, when it is asked for the columns that a stage gives.
pub fn prepare(
    shared: &Shared,
    distribution: &Distribution,
    files: &FilesOfScans,
    top: usize,
    run: QueryRun,
) -> Result<(Vec<RunningStage>, Snapshot), EngineError> {
    let QueryRun { fragments, snapshot, row_groups, stored, .. } = run;
    let elsewhere = shared.cluster.workers().remote > 0;
    let numbers = needed(&distribution.stages, top);
    let mut prepared: Vec<RunningStage> = Vec::new();
    for (number, fragment) in fragments.into_iter().enumerate().filter(|(number, _)| numbers.contains(number)) {
        let Some(stage) = distribution.stages.get(number) else {
            return Err(EngineError::internal(format!("there is no stage {number}")));
        };
        let inputs = fragment.inputs();
        let forwarded = prepared.iter().filter(|other| other.readers.contains(&number)).map(RunningStage::tasks).max();
        let splits = task_splits(stage, forwarded, &inputs, &row_groups, files)?;
        let files = files_of(&inputs, files)?;
        let table_rows = table_rows(&inputs, &row_groups);
        let stored = if elsewhere { stored_inputs(&fragment, &inputs, &stored)? } else { Vec::new() };
        let sorted = stage.merge == MergeStrategy::SortMerge;
        let side = JoinSide::of(stage, &inputs, &row_groups);
        prepared.push(RunningStage {
            number,
            fragment,
            inputs,
            files,
            splits,
            stored,
            partitions: 0,
            readers: readers_of(&distribution.stages, number),
            blocks: matches!(
                stage.merge,
                MergeStrategy::Aggregate | MergeStrategy::GroupBy | MergeStrategy::Distinct | MergeStrategy::TopN
            ),
            sorted,
            broadcast: matches!(stage.exchange, Exchange::Broadcast | Exchange::Forward { .. }),
            rows: stage.rows,
            table_rows,
            schema: None,
            side,
            filter: stage.filter.clone(),
        });
    }
    shuffle(&distribution.stages, &mut prepared);
    if prepared.len() > 1 {
        let connection = shared.connections.enter(&snapshot)?;
        for stage in prepared.iter_mut().filter(|stage| stage.partitions > 0) {
            stage.schema = Some(shuffled_schema(connection.get()?, stage)?);
        }
    }
    Ok((prepared, snapshot))
}

/// The stages that the rows of this one are forwarded to.
fn readers_of(stages: &[Stage], number: usize) -> Vec<usize> {
    match stages[number].exchange {
        Exchange::Forward { .. } => (0..stages.len()).filter(|other| stages[*other].inputs.contains(&number)).collect(),
        Exchange::Gather | Exchange::Hash { .. } | Exchange::Broadcast => Vec::new(),
    }
}

/// How many tasks, or stages, read each stage that the driver does not read.
fn shuffle(stages: &[Stage], prepared: &mut [RunningStage]) {
    let tasks: HashMap<usize, usize> = prepared.iter().map(|stage| (stage.number, stage.tasks())).collect();
    for stage in prepared {
        let reader = stages.iter().position(|other| other.inputs.contains(&stage.number));
        let to_tasks = stages[stage.number].exchange != Exchange::Gather;
        stage.partitions = match stage.readers.len() {
            0 => reader.filter(|_| to_tasks).and_then(|reader| tasks.get(&reader)).copied().unwrap_or(0),
            readers => readers,
        };
    }
}

/// What of each split input workers may keep.
fn stored_inputs(
    fragment: &Fragment,
    inputs: &[FragmentInput],
    stored: &[Vec<StoredGroup>],
) -> Result<Vec<Option<StoredInput>>, EngineError> {
    let of_input = |(number, input): (usize, &FragmentInput)| match input {
        FragmentInput::Split { scan } => Ok(fragment.stored(number)?.map(|table| {
            let groups = stored.get(*scan).cloned().unwrap_or_default();
            StoredInput { table, groups }
        })),
        FragmentInput::Files { .. } | FragmentInput::Exchange { .. } => Ok(None),
    };
    inputs.iter().enumerate().map(of_input).collect()
}

/// Of each split input, if it is a table's.
fn table_rows(inputs: &[FragmentInput], row_groups: &[Vec<RowGroup>]) -> Vec<Option<u64>> {
    let rows = |scan: &usize| row_groups.get(*scan).map(|groups| groups.iter().map(|group| group.rows).sum());
    let of_input = |input: &FragmentInput| match input {
        FragmentInput::Split { scan } => Some(rows(scan)),
        FragmentInput::Files { .. } => Some(None),
        FragmentInput::Exchange { .. } => None,
    };
    inputs.iter().filter_map(of_input).collect()
}

/// The files of each split input.
fn files_of(inputs: &[FragmentInput], files: &FilesOfScans) -> Result<Vec<Option<Arc<KnownFiles>>>, EngineError> {
    let known = |input: &FragmentInput| match input {
        FragmentInput::Split { .. } => Some(Ok(None)),
        FragmentInput::Files { scan } => {
            let unknown = || EngineError::internal(format!("nobody looked at the files of scan {scan}"));
            Some(files.get(*scan).cloned().flatten().ok_or_else(unknown).map(Some))
        }
        FragmentInput::Exchange { .. } => None,
    };
    inputs.iter().filter_map(known).collect()
}

/// A list for each task: what it reads of each split input. `forwarded`: tasks whose rows are forwarded to as many here.
fn task_splits(
    stage: &Stage,
    forwarded: Option<usize>,
    inputs: &[FragmentInput],
    row_groups: &[Vec<RowGroup>],
    files: &FilesOfScans,
) -> Result<Vec<Vec<Split>>, EngineError> {
    let scans = inputs.iter().filter_map(|input| match input {
        FragmentInput::Split { scan } | FragmentInput::Files { scan } => Some(*scan),
        FragmentInput::Exchange { .. } => None,
    });
    let mut columns = Vec::new();
    // Of what is divided, or forwarded, the most parts.
    let mut tasks = forwarded;
    for scan in scans {
        let planned = stage.scans.iter().find(|planned| planned.scan == scan);
        let planned = planned.ok_or_else(|| EngineError::internal(format!("scan {scan} was not planned")))?;
        if planned.whole {
            columns.push(None);
            continue;
        }
        let splits = match files.get(scan).and_then(Option::as_ref) {
            Some(known) => split_files(stage.mode, stage.tasks, &known.files.units()),
            None => {
                let groups = row_groups.get(scan).map_or(&[][..], Vec::as_slice);
                split(stage.mode, stage.tasks, groups)
            }
        };
        tasks = tasks.max(Some(splits.len()));
        columns.push(Some(splits));
    }
    let tasks = tasks.unwrap_or(stage.tasks as usize);
    let of_scan = |splits: &Option<Vec<Split>>, task: usize| match splits {
        None => Split::WHOLE,
        Some(splits) => splits.get(task).copied().unwrap_or(Split::NOTHING),
    };
    let of_task = |task: usize| columns.iter().map(|splits| of_scan(splits, task)).collect();
    Ok((0..tasks).map(of_task).collect())
}

/// The columns of the rows that a stage shuffles, without the hash.
fn shuffled_schema(connection: &Connection, stage: &RunningStage) -> Result<SchemaRef, EngineError> {
    let schema = stage.fragment.schema(connection)?;
    let kept = schema.fields().len().saturating_sub(usize::from(!stage.broadcast));
    Ok(Arc::new(Schema::new(schema.fields()[..kept].to_vec())))
}

/// The columns of what the stage `number` shuffles.
///
/// # Errors
/// It shuffles nothing.
pub fn exchange_schema(prepared: &[RunningStage], number: usize) -> Result<SchemaRef, EngineError> {
    let stage = prepared.iter().find(|stage| stage.number == number);
    stage
        .and_then(|stage| stage.schema.clone())
        .ok_or_else(|| EngineError::internal(format!("stage {number} shuffles nothing")))
}
