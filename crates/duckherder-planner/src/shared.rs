//! CTEs that DuckDB materialises: one stage, whose rows go to each stage that reads the CTE.
//!
//! ```text
//!   AGGREGATE       JOIN ------.         a stage for each CTE_SCAN, that goes on as any other
//!   CTE_SCAN        CTE_SCAN   |
//!      '--- forward ---'      ...        task by task: each task's rows to the same task of every reader
//!           SCAN, FILTER ...             the CTE's stage, run once
//! ```
//!
//! A stage in which several readers come together has the rows once, and keeps them for all of these.
//! Each reading stage has queues of its own, which spill: none waits for another. But a run is one part of the driver's plan
//! and the stages below it: where the rows of a CTE would come to several such parts, the CTE stays with the driver.

use std::collections::HashMap;

use crate::partition::Partitioning;
use crate::place::{Draft, Placer, Site};
use crate::plan::{Column, Operator, PlanNode, Rename};
use crate::split::Mode;
use crate::stage::{Cut, Exchange, MergeStrategy, Stage};

/// How often in a plan the readers of a CTE, or what it is defined as, are placed again before all others are with the
/// driver: one may be inside of another, and each time doubles the work.
const MOST_FAILURES: usize = 8;

/// The CTEs whose rows are in tasks, by their numbers.
#[derive(Default)]
pub struct SharedInputs {
    ctes: HashMap<u64, SharedInput>,
    failures: usize,
    /// Definitions that did not come to be in tasks.
    misplaced: usize,
    /// Groups that a join reads are made by tasks, even if they are few: on the driver, the join would be there, too. So
    /// are those of a UNION ALL.
    pub keeps_groups: bool,
}

struct SharedInput {
    stage: usize,
    mode: Mode,
    tasks: u64,
    columns: Vec<Column>,
    partitioning: Option<Partitioning>,
    /// Somebody must have its rows on the driver, or in order.
    refused: bool,
}

impl Placer<'_> {
    /// A CTE and what reads it.
    pub fn cte(&mut self, node: &PlanNode) -> Site {
        let ([definition, reader], Some(number)) = (node.children.as_slice(), node.cte) else {
            return self.on_driver(node);
        };
        let before = self.mark();
        let in_any_order = std::mem::replace(&mut self.in_any_order, true);
        let tried = self.may_shuffle() && self.shared.failures < MOST_FAILURES && self.shared.misplaced < MOST_FAILURES;
        let asked = if tried { self.asked_by_reader(node, definition, reader) } else { Vec::new() };
        let asked_above = self.asked.len();
        self.asked.extend(asked);
        let site = if tried { self.place(definition) } else { Site::Driver };
        self.asked.truncate(asked_above);
        self.in_any_order = in_any_order;
        if let Site::Workers(draft) = site {
            if let Some(site) = self.read_in_tasks(node.id, number, (definition, draft), (reader, &node.columns)) {
                return site;
            }
        } else if tried {
            self.shared.misplaced += 1;
        }
        self.reset(before);
        self.in_any_order = false;
        self.placed_for_driver(definition);
        self.in_any_order = in_any_order;
        self.placed_for_driver(reader);
        Site::Driver
    }

    /// Where the CTE's rows come to be that tasks read; nothing if that can't be.
    fn read_in_tasks(
        &mut self,
        cte: u64,
        number: u64,
        (definition, draft): (&PlanNode, Draft),
        (reader, columns): (&PlanNode, &[Column]),
    ) -> Option<Site> {
        let exchange = Exchange::Forward { cte };
        let stage = self.stage(definition, &draft, Cut::Subtree, exchange, MergeStrategy::Concatenate);
        let with_cte = self.mark();
        let tried: &[bool] = if self.shared.keeps_groups { &[true] } else { &[false, true] };
        for keeps_groups in tried.iter().copied() {
            if self.shared.failures == MOST_FAILURES {
                return None;
            }
            let Draft { mode, tasks, ref partitioning, .. } = draft;
            let (columns, partitioning) = (columns.to_vec(), partitioning.clone());
            let shared = SharedInput { stage, mode, tasks, columns, partitioning, refused: false };
            self.shared.ctes.insert(number, shared);
            let others = std::mem::replace(&mut self.shared.keeps_groups, keeps_groups);
            let site = self.place(reader);
            self.shared.keeps_groups = others;
            let refused = self.shared.ctes.remove(&number).is_none_or(|shared| shared.refused);
            if !refused && self.parts_that_read(stage, &site) == 1 {
                return Some(site);
            }
            self.shared.failures += 1;
            self.reset(with_cte.clone());
            if refused {
                return None;
            }
        }
        None
    }

    /// What is from here down can read a CTE on the driver only.
    pub fn read_on_driver(&mut self, node: &PlanNode) -> Site {
        for scan in node.walk().into_iter().filter(|below| below.operator == Operator::CteScan) {
            if let Some(shared) = scan.cte.and_then(|cte| self.shared.ctes.get_mut(&cte)) {
                shared.refused = true;
            }
        }
        Site::Driver
    }

    pub fn cte_scan(&mut self, node: &PlanNode) -> Site {
        let Some(shared) = node.cte.and_then(|cte| self.shared.ctes.get(&cte)) else { return Site::Driver };
        Site::Workers(Draft {
            mode: shared.mode,
            tasks: shared.tasks,
            scans: Vec::new(),
            inputs: vec![shared.stage],
            partitioning: self.partitioning_of_cte(node),
            divisible: Vec::new(),
        })
    }

    /// By what the rows of the CTE are divided, as who reads them names them.
    pub fn partitioning_of_cte(&self, node: &PlanNode) -> Option<Partitioning> {
        let shared = self.shared.ctes.get(&node.cte?)?;
        let rename = |(was, now): (&Column, &Column)| Rename { was: was.clone(), now: now.clone(), cast: false };
        let renames: Vec<Rename> = shared.columns.iter().zip(&node.columns).map(rename).collect();
        shared.partitioning.clone().and_then(|partitioning| partitioning.renamed(&renames))
    }

    /// Whether the rows of the CTE are in tasks.
    pub fn is_shared(&self, node: &PlanNode) -> bool {
        node.cte.is_some_and(|cte| self.shared.ctes.contains_key(&cte))
    }

    /// How many tasks have a part of the CTE's rows, if tasks have them.
    pub fn tasks_of_cte(&self, node: &PlanNode) -> Option<u64> {
        Some(self.shared.ctes.get(&node.cte?)?.tasks)
    }

    /// How many parts of the driver's plan, `site` being one more unless it is the driver's, need the stage's rows.
    fn parts_that_read(&self, stage: usize, site: &Site) -> usize {
        let needs = |from: &[usize]| needs(&self.stages, from, stage);
        let gathered = self.stages.iter().filter(|other| other.exchange == Exchange::Gather);
        let parts = gathered.filter(|other| needs(&other.inputs)).count();
        parts + usize::from(matches!(site, Site::Workers(draft) if needs(&draft.inputs)))
    }
}

fn needs(stages: &[Stage], from: &[usize], wanted: usize) -> bool {
    from.iter().any(|number| *number == wanted || needs(stages, &stages[*number].inputs, wanted))
}
