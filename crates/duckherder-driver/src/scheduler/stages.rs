//! The stages of one run: what each of their tasks reads, and who runs it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use duckherder_engine::distribute::{
    Fragment, FragmentInput, QueryRun, RowGroupValues, Snapshot, StoredGroup, StoredTable,
};
use duckherder_engine::{Connection, EngineError};
use duckherder_planner::{
    Distribution, Exchange, Layout, MergeStrategy, Mode, Owners, RowGroup, RuntimeFilter, Split, Stage, split,
    split_by_keys, split_files,
};
use duckherder_proto::task::{FileStamp, StoredColumn, StoredRows};

use super::Shared;
use super::caches::Caches;
use super::files::{FilesOfScans, KnownFiles};
use super::query::Reach;
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
    /// By task: the worker that owns what it reads; none where all workers get tasks in turn.
    pub owners: Vec<String>,
    /// By task: the part of what is divided that it reads; none where all read as much.
    shares: Vec<f64>,
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
    /// Somebody sees in which order the rows come.
    order_shows: bool,
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
    /// Where its tasks put the files that they write, if they do.
    pub directory: Option<String>,
}

/// A table, as the query's snapshot has it.
pub struct StoredInput {
    table: StoredTable,
    groups: Vec<StoredGroup>,
}

impl StoredInput {
    /// The table's qualified name, as SQL.
    pub fn name(&self) -> &str {
        &self.table.name
    }

    /// The row groups that have rows of one part of a split, by their places; `None` if workers may not keep them.
    fn groups_of(&self, part: &Split) -> Option<Vec<usize>> {
        let (Split::Range { first, last } | Split::Keys { first, last, .. }) = *part else { return None };
        let read = |group: &usize| {
            let of = &self.groups[*group];
            (of.number == 0 || of.inserted > 0)
                && last.is_none_or(|last| of.first <= last)
                && first.is_none_or(|first| self.after(*group) > first)
        };
        let groups: Vec<usize> = (0..self.groups.len()).filter(read).collect();
        groups.iter().all(|group| self.groups[*group].number != 0).then_some(groups)
    }

    /// Where the row group after this one begins.
    fn after(&self, group: usize) -> u64 {
        self.groups.get(group + 1).map_or(u64::MAX, |next| next.first)
    }

    /// The rows of one part of a split, which are in these row groups. `condition`: which of those, as SQL.
    fn rows(&self, driver: u64, part: &Split, groups: &[usize], condition: String) -> Option<StoredRows> {
        let (Split::Range { first, last } | Split::Keys { first, last, .. }) = *part else { return None };
        // Where whole row groups are read, nothing divides them.
        let begins = groups.first().map(|group| self.groups[*group].first);
        let ends = groups.last().map(|group| self.after(*group));
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
            condition,
            in_any_order: false,
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
            Some((split, None)) => Part::Rows(split.clone()),
            Some((split, Some(files))) if files.files.row_groups.is_empty() => Part::Files(split.clone()),
            Some((split, Some(_))) => Part::RowGroups(split.clone()),
            None => Part::Rows(Split::WHOLE),
        }
    }

    /// What a task runs that writes a file: one that no other attempt has, so that whoever is lost in the middle of it
    /// writes to none that is used. `None` if it gives its rows.
    ///
    /// # Errors
    /// Nothing says what the file is to be.
    pub fn writing(
        &self,
        fragment: &Fragment,
        query: u64,
        task: usize,
        attempt: u32,
    ) -> Result<Option<Fragment>, EngineError> {
        let path = self.directory.as_ref().map(|directory| format!("{directory}/{query:x}-{task}-{attempt}"));
        path.map(|path| fragment.writing(&path)).transpose()
    }

    /// From where to where the task reads the divided table, about, as parts of all its rows. (DuckDB's progress is that
    /// of a scan of all: it counts the rows before the task's as read.)
    pub fn reach(&self, task: usize) -> Range<f64> {
        let tasks = self.tasks() as f64;
        match self.divided(task) {
            Part::Rows(Split::Range { first, last } | Split::Keys { first, last, .. })
                if (first, last) != (None, None) && self.owners.is_empty() =>
            {
                task as f64 / tasks..(task + 1) as f64 / tasks
            }
            _ => 0.0..1.0,
        }
    }

    /// The files that the task reads.
    pub fn stamps(&self, task: usize) -> Vec<FileStamp> {
        let parts = self.splits[task].iter().zip(&self.files);
        parts.flat_map(|(split, files)| files.iter().flat_map(|files| files.stamps(split).to_vec())).collect()
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
            _ => match self.shares.get(task) {
                Some(share) => (rows as f64 * share) as u64,
                None => rows / self.tasks() as u64,
            },
        })
    }

    /// What a task reads of a split input, part by part, if its worker may keep that.
    pub fn stored_rows(&self, task: usize, input: usize, driver: u64) -> Vec<StoredRows> {
        let of_part = |stored: &StoredInput, part: &Split| {
            let groups = stored.groups_of(part)?;
            if groups.is_empty() {
                return Some(None);
            }
            let rows = stored.rows(driver, part, &groups, self.fragment.key_condition(input, part).ok()?)?;
            Some(Some(StoredRows { in_any_order: !self.order_shows, ..rows }))
        };
        let Some(Some(stored)) = self.stored.get(input) else { return Vec::new() };
        let parts = self.splits[task][input].parts().iter().map(|part| of_part(stored, part));
        parts.collect::<Option<Vec<_>>>().into_iter().flatten().flatten().collect()
    }

    pub fn reads_files(&self) -> bool {
        self.files.iter().any(Option::is_some)
    }

    /// Whether its tasks may run with the plan of the last time. (Files may be others then; and DuckDB 2.0.0 does not see
    /// that rows below a plan that runs again have an order that was asked for.)
    pub fn may_keep_plans(&self) -> bool {
        !self.sorted && !self.reads_files() && !self.is_narrowed() && self.directory.is_none()
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

/// What runs for the stage `top`. `owners`: who keeps what of tables.
///
/// # Errors
/// DuckDB's, when it is asked for the columns that a stage gives.
pub fn prepare(
    shared: &Shared,
    distribution: &Distribution,
    reach: &Reach,
    top: usize,
    run: QueryRun,
    owners: Option<&Owners>,
) -> Result<(Vec<RunningStage>, Snapshot), EngineError> {
    let QueryRun { fragments, snapshot, row_groups, stored, directory, .. } = run;
    let elsewhere = shared.cluster.workers().remote > 0;
    let files = &reach.files;
    let numbers = needed(&distribution.stages, top);
    let mut prepared: Vec<RunningStage> = Vec::new();
    for (number, fragment) in fragments.into_iter().enumerate().filter(|(number, _)| numbers.contains(number)) {
        let Some(stage) = distribution.stages.get(number) else {
            return Err(EngineError::internal(format!("there is no stage {number}")));
        };
        let inputs = fragment.inputs();
        let forwarded = prepared.iter().filter(|other| other.readers.contains(&number)).map(RunningStage::tasks).max();
        let layout = owners.and_then(|owners| layout_of(stage, owners, reach, &shared.caches));
        let TaskSplits { mut splits, tasks } =
            task_splits(stage, forwarded, &inputs, &row_groups, files, layout.as_ref())?;
        let owned =
            layout.iter().flat_map(|layout| tasks.iter().map(|task| (layout.owner(*task), layout.share(*task))));
        let (owners_of_tasks, shares) = owned.map(|(owner, share)| (owner.to_string(), share)).unzip();
        let files = files_of(&inputs, files)?;
        let table_rows = table_rows(&inputs, &row_groups);
        if elsewhere && stage.scans.iter().any(|read| read.key.is_some()) {
            let connection = shared.connections.enter(&snapshot)?;
            within_row_groups(connection.get()?, &fragment, &files, &mut splits)?;
        }
        let stored = if elsewhere { stored_inputs(&fragment, &inputs, &stored)? } else { Vec::new() };
        let sorted = stage.merge == MergeStrategy::SortMerge;
        let side = JoinSide::of(stage, &inputs, &row_groups);
        prepared.push(RunningStage {
            number,
            fragment,
            inputs,
            files,
            splits,
            owners: owners_of_tasks,
            shares,
            stored,
            partitions: 0,
            readers: readers_of(&distribution.stages, number),
            blocks: stage.writes.is_some()
                || matches!(
                    stage.merge,
                    MergeStrategy::Aggregate | MergeStrategy::GroupBy | MergeStrategy::Distinct | MergeStrategy::TopN
                ),
            sorted,
            order_shows: stage.order_shows,
            broadcast: matches!(stage.exchange, Exchange::Broadcast | Exchange::Forward { .. }),
            rows: stage.rows,
            table_rows,
            schema: None,
            side,
            filter: stage.filter.clone(),
            directory: directory.clone().filter(|_| stage.writes.is_some()),
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

/// Says in splits by keys of tables in which row groups their rows are: whoever keeps rows keeps those of row groups.
fn within_row_groups(
    connection: &Connection,
    fragment: &Fragment,
    files: &[Option<Arc<KnownFiles>>],
    splits: &mut [Vec<Split>],
) -> Result<(), EngineError> {
    for input in (0..files.len()).filter(|input| files[*input].is_none()) {
        let column = splits.iter().flat_map(|task| task[input].parts()).find_map(|part| match part {
            Split::Keys { column, .. } => Some(*column),
            Split::Range { .. } | Split::Blocks { .. } | Split::Several(_) => None,
        });
        let Some(column) = column else { continue };
        let groups = fragment.row_group_values(connection, input, column)?;
        splits.iter_mut().for_each(|task| task[input] = among(&task[input], &groups));
    }
    Ok(())
}

/// The split, and where its rows are: those of each part from the first to the last row group that may have some. Where no
/// row group says anything, they may be anywhere.
fn among(split: &Split, groups: &[RowGroupValues]) -> Split {
    if groups.is_empty() {
        return split.clone();
    }
    let of_part = |part: &Split| {
        let Split::Keys { column, least, greatest, .. } = *part else { return Some(part.clone()) };
        let has = |group: &RowGroupValues| {
            greatest.is_none_or(|greatest| group.least <= greatest) && least.is_none_or(|least| group.greatest >= least)
        };
        let first = groups.iter().position(has)?;
        let next = groups.iter().rposition(has).and_then(|last| groups.get(last + 1));
        let first = Some(groups[first].first).filter(|_| first > 0);
        Some(Split::Keys { column, least, greatest, first, last: next.map(|next| next.first - 1) })
    };
    Split::of(split.parts().iter().filter_map(of_part).collect())
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

/// How the tasks of a stage divide its tables among their owners; `None` if all is as if there had never been other workers.
fn layout_of(stage: &Stage, owners: &Owners, reach: &Reach, caches: &Caches) -> Option<Layout> {
    let is_divided = matches!(stage.mode, Mode::RowGroupPartition | Mode::NaturalPartition | Mode::KeyRangePartition);
    let is_table = |scan: usize| reach.files.get(scan).is_none_or(Option::is_none);
    let mut divided =
        stage.scans.iter().filter(|read| !read.whole && is_table(read.scan)).map(|read| read.scan).peekable();
    if !is_divided || stage.tasks < 2 {
        return None;
    }
    divided.peek()?;
    let workers = owners.workers().len() as u64;
    let times = match divided.find_map(|scan| reach.tables.get(scan)?.as_ref()) {
        Some(table) if stage.tasks > workers => caches.rounds(table, (stage.tasks, workers), !owners.is_even()),
        None if stage.tasks > workers => (stage.tasks, workers),
        _ => (1, 1),
    };
    // Of what comes from other stages, no order is known.
    (!owners.is_even()).then(|| Layout::new(owners, times, stage.order_shows && stage.inputs.is_empty()))
}

struct TaskSplits {
    /// A list for each task: what it reads of each split input.
    splits: Vec<Vec<Split>>,
    /// Which task of the layout each is.
    tasks: Vec<usize>,
}

/// What each task reads. `forwarded`: tasks whose rows are forwarded to as many here.
fn task_splits(
    stage: &Stage,
    forwarded: Option<usize>,
    inputs: &[FragmentInput],
    row_groups: &[Vec<RowGroup>],
    files: &FilesOfScans,
    layout: Option<&Layout>,
) -> Result<TaskSplits, EngineError> {
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
        let groups = row_groups.get(scan).map_or(&[][..], Vec::as_slice);
        let splits = match (planned.key, files.get(scan).and_then(Option::as_ref), layout) {
            (Some(key), _, Some(layout)) => {
                layout.keys(key.column, stage.zones.get(&key.cuts).map_or(&[][..], |zones| zones))
            }
            (Some(key), _, None) => split_by_keys(key.column, stage.cuts.get(&key.cuts).map_or(&[][..], Vec::as_slice)),
            (None, Some(known), _) => split_files(stage.mode, stage.tasks, &known.files.units()),
            (None, None, Some(layout)) => layout.rows(stage.mode, groups),
            (None, None, None) => split(stage.mode, stage.tasks, groups),
        };
        tasks = tasks.max(Some(splits.len()));
        columns.push(Some(splits));
    }
    let tasks = tasks.unwrap_or(stage.tasks as usize);
    let of_scan = |splits: &Option<Vec<Split>>, task: usize| match splits {
        None => Split::WHOLE,
        Some(splits) => splits.get(task).cloned().unwrap_or(Split::NOTHING),
    };
    let of_task = |task: &usize| columns.iter().map(|splits| of_scan(splits, *task)).collect();
    let mut tasks: Vec<usize> = (0..tasks).collect();
    if layout.is_some() && forwarded.is_none() {
        // Of a small table, some have nothing.
        let some = |split: &Split| *split != Split::NOTHING;
        tasks.retain(|task| columns.iter().flatten().any(|splits| splits.get(*task).is_some_and(some)));
        if tasks.is_empty() {
            tasks.push(0);
        }
    }
    Ok(TaskSplits { splits: tasks.iter().map(of_task).collect(), tasks })
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
