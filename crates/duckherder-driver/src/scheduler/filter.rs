//! Runtime filters of a run: what the tasks of one stage collect, and those of another wait for.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use duckherder_engine::EngineError;
use duckherder_engine::distribute::{Fragment, ScanRange};
use duckherder_planner::RuntimeFilter;
use duckherder_proto::task::KeyRange;
use duckherder_worker::shuffle::{CollectedKeys, KeyFilter, ranges};

use super::exchange::{Run, TaskId};
use super::stages::RunningStage;
use crate::sync::lock;

/// The filters of a run, by the stage whose keys they are of.
pub struct Filters {
    collected: HashMap<usize, Collected>,
}

struct Collected {
    bits: u64,
    /// By key of the stage's hash: the column whose range its tasks tell, if anybody asks for that.
    columns: Vec<Option<u32>>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Which tasks have not said what their keys are.
    missing: Vec<bool>,
    /// Of the tasks that have; `None` once one has too many.
    keys: Option<Arc<KeyFilter>>,
    /// The same by column; `None` once one has not told.
    ranges: Option<Vec<KeyRange>>,
}

/// What of a stage's rows another has to do with.
#[derive(Default)]
pub struct Wanted {
    /// `None`: too many to say.
    pub filter: Option<Arc<KeyFilter>>,
    /// Nothing of its scans outside of these.
    pub ranges: Vec<ScanRange>,
}

impl Wanted {
    /// The fragment without rows that are not wanted; `None` if there are none such.
    ///
    /// # Errors
    /// The fragment does not read what it was planned to.
    pub fn narrow(&self, fragment: &Fragment) -> Result<Option<Fragment>, EngineError> {
        match self.ranges.is_empty() {
            true => Ok(None),
            false => fragment.narrowed(&self.ranges).map(Some),
        }
    }
}

impl Collected {
    fn of(stage: &RunningStage, filters: &[&RuntimeFilter], bits: u64) -> Self {
        let is_asked = |key: usize| filters.iter().any(|filter| filter.ranges.iter().any(|range| range.key == key));
        let keys = stage.fragment.key_columns().into_iter().enumerate();
        let columns: Vec<_> = keys.map(|(key, column)| column.filter(|_| is_asked(key))).collect();
        let nothing = KeyRange { least: i64::MAX, greatest: i64::MIN };
        let ranges = Some(vec![nothing; columns.iter().flatten().count()]);
        let keys = (bits > 0).then(|| Arc::new(KeyFilter::new(bits)));
        let state = Mutex::new(State { missing: vec![true; stage.tasks()], keys, ranges });
        Self { bits, columns, state, changed: Condvar::new() }
    }

    /// What is known of a key.
    fn range_of(&self, known: &[KeyRange], key: usize) -> Option<KeyRange> {
        (*self.columns.get(key)?)?;
        known.get(self.columns[..key].iter().flatten().count()).copied()
    }
}

impl Filters {
    pub fn new(stages: &[RunningStage]) -> Self {
        let wanted: Vec<&RuntimeFilter> = stages.iter().filter_map(|stage| stage.filter.as_ref()).collect();
        let collected = wanted.iter().filter_map(|filter| {
            let source = stages.iter().find(|stage| stage.number == filter.stage)?;
            let same: Vec<_> = wanted.iter().copied().filter(|other| other.stage == filter.stage).collect();
            Some((filter.stage, Collected::of(source, &same, filter.bits)))
        });
        Self { collected: collected.collect() }
    }

    /// Bits of the filter that the stage's tasks fill; 0 if nobody waits for one.
    pub fn bits(&self, stage: &RunningStage) -> u64 {
        self.collected.get(&stage.number).map_or(0, |collected| collected.bits)
    }

    /// The columns whose ranges the stage's tasks tell.
    pub fn columns(&self, stage: &RunningStage) -> Vec<u32> {
        let collected = self.collected.get(&stage.number);
        collected.map_or(Vec::new(), |collected| collected.columns.iter().flatten().copied().collect())
    }

    /// A task has made all its rows, which have these keys. Only the first word of a task counts.
    pub fn made(&self, stage: &RunningStage, task: usize, made: CollectedKeys) {
        let Some(collected) = self.collected.get(&stage.number) else { return };
        let mut state = lock(&collected.state);
        let first = state.missing.get_mut(task).is_some_and(std::mem::take);
        if first {
            let all = state.keys.take().zip(made.filter);
            let united = all.and_then(|(all, keys)| keys.united(&all));
            state.keys = united.filter(KeyFilter::is_useful).map(Arc::new);
            let all = state.ranges.take().zip(made.ranges).filter(|(all, ranges)| all.len() == ranges.len());
            let unite = |(one, other): (KeyRange, KeyRange)| ranges::united(one, other);
            state.ranges = all.map(|(all, ranges)| all.into_iter().zip(ranges).map(unite).collect());
            collected.changed.notify_all();
        }
    }

    /// The run has been stopped.
    pub fn stop(&self) {
        for collected in self.collected.values() {
            // With the lock, so that nobody misses it between looking and waiting.
            let _state = lock(&collected.state);
            collected.changed.notify_all();
        }
    }
}

/// Waits until it is known which of the task's rows are wanted, as far as that can be known.
///
/// # Errors
/// The run was stopped.
pub fn wanted_of(run: &Run, id: TaskId) -> Result<Wanted, EngineError> {
    let stage = &run.stages[id.stage];
    let Some(filter) = &stage.filter else { return Ok(Wanted::default()) };
    let Some(collected) = run.filters.collected.get(&filter.stage) else { return Ok(Wanted::default()) };
    let may_narrow = |state: &State| state.ranges.as_ref().is_some_and(|ranges| !ranges.is_empty());
    let mut state = lock(&collected.state);
    while state.missing.contains(&true) && (state.keys.is_some() || may_narrow(&state)) {
        if run.is_stopped() {
            return Err(EngineError::interrupted());
        }
        state = collected.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
    let known = state.ranges.as_deref().filter(|_| !state.missing.contains(&true)).unwrap_or_default();
    let ranges = filter.ranges.iter().filter_map(|of_scan| {
        let KeyRange { least, greatest } = collected.range_of(known, of_scan.key)?;
        Some(ScanRange { scan: of_scan.scan, column: of_scan.column, least, greatest })
    });
    Ok(Wanted { filter: state.keys.clone(), ranges: ranges.collect() })
}
