//! UNION ALL: the tasks of one stage read their parts of all of its inputs.
//!
//! ```text
//!   AGGREGATE                    partial states on the workers
//!   UNION ALL                    each task has its part of t, and its part of u
//!   SCAN t    SCAN u
//! ```
//!
//! An input that is in fewer tasks, and can't be in as many, is shuffled to those of the others. Inputs that are divided by
//! the same columns are so together.
//!
//! Only where nobody sees the order of the rows: DuckDB gives those of the first input first.

use crate::partition::Partitioning;
use crate::place::{Draft, Placer, Site, has_keys};
use crate::plan::{Operator, PlanNode, Rename, ShuffleKey};
use crate::split::Mode;
use crate::stage::{Cut, MergeStrategy};

impl Placer<'_> {
    pub fn union_all(&mut self, node: &PlanNode) -> Site {
        let above = std::mem::replace(&mut self.put_together, true);
        let sites: Vec<Site> = node.children.iter().map(|child| self.place(child)).collect();
        self.put_together = above;
        let most = sites.iter().map(|site| if let Site::Workers(draft) = site { draft.tasks } else { 0 }).max();
        let mut fits = Vec::new();
        for (child, site) in node.children.iter().zip(&sites) {
            let Site::Workers(draft) = site else { continue };
            fits.push(Some(draft.tasks) == most || may_have_idle_tasks(child, draft));
        }
        let all_in_tasks = fits.len() == sites.len();
        let moves = self.may_shuffle() && has_keys(node);
        let together = self.in_any_order && all_in_tasks && (moves || fits.iter().all(|fits| *fits));
        let (mut drafts, mut moved) = (Vec::new(), Vec::new());
        for (side, (child, site)) in node.children.iter().zip(sites).enumerate() {
            match site {
                Site::Workers(draft) if together && fits[side] => drafts.push(draft),
                Site::Workers(draft) if together => moved.push(self.shuffle(node, side, child, &draft)),
                Site::Workers(draft) => self.gather(child, draft, Cut::Subtree, MergeStrategy::Concatenate),
                Site::Everywhere | Site::Driver => {}
            }
        }
        // What moves is divided by whole rows.
        let partitioning = if moved.is_empty() { united(node, &drafts) } else { None };
        let Some(mut draft) = drafts.into_iter().reduce(joined) else { return Site::Driver };
        draft.inputs.extend(moved);
        Site::Workers(Draft { partitioning, ..draft })
    }
}

/// Whether the rows of its tasks together are still the child's if some tasks more have nothing to read. What one task
/// does for itself alone, such as a sum over all rows, gives a row even there; and it has all rows of each table.
fn may_have_idle_tasks(child: &PlanNode, draft: &Draft) -> bool {
    use Operator::{Filter, Projection, Scan, Unnest};
    !draft.is_single() || child.walk().iter().all(|node| matches!(node.operator, Scan | Filter | Projection | Unnest))
}

/// By what the rows of all inputs are divided, in the names of the first.
fn united(node: &PlanNode, drafts: &[Draft]) -> Option<Partitioning> {
    let (first, others) = drafts.split_first()?;
    let of_first = node.keys.first()?;
    let mut united = first.partitioning.clone();
    for (draft, keys) in others.iter().zip(node.keys.iter().skip(1)) {
        let named = |(was, now): (&ShuffleKey, &ShuffleKey)| {
            Some(Rename { was: was.column.clone()?, now: now.column.clone()?, cast: false })
        };
        let renames: Vec<Rename> = keys.iter().zip(of_first).filter_map(named).collect();
        let other = draft.partitioning.clone().filter(|_| draft.tasks == first.tasks)?;
        united = united?.beside(&other.renamed(&renames)?);
    }
    united.filter(|_| drafts.len() == node.children.len())
}

fn joined(mut draft: Draft, other: Draft) -> Draft {
    draft.tasks = draft.tasks.max(other.tasks);
    // How its tables are divided, for a draft may have none; even ranges serve every table.
    let by = |mode: Mode| [draft.mode, other.mode].contains(&mode);
    let modes = [Mode::KeyRangePartition, Mode::NaturalPartition, Mode::RowGroupPartition, Mode::HashPartition];
    draft.mode = modes.into_iter().find(|mode| by(*mode)).unwrap_or(Mode::Delegated);
    draft.read_together(other.scans, other.inputs);
    draft.divisible.clear();
    draft
}
