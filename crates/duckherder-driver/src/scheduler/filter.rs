//! Runtime filters of a run: what the tasks of one stage collect, and those of another wait for.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use duckherder_engine::EngineError;
use duckherder_worker::shuffle::KeyFilter;

use super::exchange::{Run, TaskId};
use super::stages::RunningStage;
use crate::sync::lock;

/// The filters of a run, by the stage whose keys they are of.
pub struct Filters {
    collected: HashMap<usize, Collected>,
}

struct Collected {
    bits: u64,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Which tasks have not said what their keys are.
    missing: Vec<bool>,
    /// Of the tasks that have; `None` once one has too many.
    keys: Option<Arc<KeyFilter>>,
}

impl Filters {
    pub fn new(stages: &[RunningStage]) -> Self {
        let wanted = stages.iter().filter_map(|stage| stage.filter);
        let collected = wanted.filter_map(|filter| {
            let source = stages.iter().find(|stage| stage.number == filter.stage)?;
            let keys = Some(Arc::new(KeyFilter::new(filter.bits)));
            let state = Mutex::new(State { missing: vec![true; source.tasks()], keys });
            Some((filter.stage, Collected { bits: filter.bits, state, changed: Condvar::new() }))
        });
        Self { collected: collected.collect() }
    }

    /// Bits of the filter that the stage's tasks fill; 0 if nobody waits for one.
    pub fn bits(&self, stage: &RunningStage) -> u64 {
        self.collected.get(&stage.number).map_or(0, |collected| collected.bits)
    }

    /// A task has made all its rows, which have these keys. Only the first word of a task counts.
    pub fn made(&self, stage: &RunningStage, task: usize, keys: Option<KeyFilter>) {
        let Some(collected) = self.collected.get(&stage.number) else { return };
        let mut state = lock(&collected.state);
        let first = state.missing.get_mut(task).is_some_and(std::mem::take);
        if first {
            let all = state.keys.take().zip(keys);
            let united = all.and_then(|(all, keys)| keys.united(&all));
            state.keys = united.filter(KeyFilter::is_useful).map(Arc::new);
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

/// Waits for the filter of the task's rows; `None` if it has none, or that would hold too few back.
///
/// # Errors
/// The run was stopped.
pub fn filter_of(run: &Run, id: TaskId) -> Result<Option<Arc<KeyFilter>>, EngineError> {
    let stage = &run.stages[id.stage];
    let Some(collected) = stage.filter.and_then(|filter| run.filters.collected.get(&filter.stage)) else {
        return Ok(None);
    };
    let mut state = lock(&collected.state);
    while state.keys.is_some() && state.missing.contains(&true) {
        if run.is_stopped() {
            return Err(EngineError::interrupted());
        }
        state = collected.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
    Ok(state.keys.clone())
}
