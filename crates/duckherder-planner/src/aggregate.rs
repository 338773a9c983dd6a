//! Aggregates and distinct rows: where groups come together.
//!
//! | groups | tasks give | that come together |
//! |---|---|---|
//! | whose rows are in one task already | groups | - |
//! | whose states are combined above anyway (what DuckDB aggregates below a join) | groups, each its own | - |
//! | few | partial states, or distinct rows | on the driver |
//! | nearly as many as rows, and workers share the driver's threads | rows | on the driver |
//! | nearly as many as rows, or with millions of states | the same, or rows where nearly all differ | in the tasks that they are shuffled to |
//! | of aggregates without a state | rows | in the tasks that they are shuffled to, else on the driver |
//! | the one of all rows, which tasks read | a partial state, or rows without one | in one task |

use crate::place::{Draft, Mark, Placer, Site, has_keys};
use crate::plan::{Aggregate, AggregateCall, PlanNode};
use crate::stage::{Cut, MergeStrategy};

impl Placer<'_> {
    pub fn distinct(&mut self, node: &PlanNode) -> Site {
        let [child] = node.children.as_slice() else { return self.on_driver(node) };
        match self.place(child) {
            Site::Workers(draft) if draft.is_single() => Site::Workers(draft),
            Site::Workers(draft) if self.meets(&draft, node, self.has_many_groups(node, child)) => {
                Site::Workers(self.unspread(draft))
            }
            Site::Workers(draft) if self.rows_are_shuffled(node) && !self.shows_groups(child) => {
                match self.meeting_by_ranges(&draft, node) {
                    Some(draft) => Site::Workers(draft),
                    None if self.keeps_groups() => self.shuffled(node, &[(child, draft)]),
                    None => self.shuffled_again(node, &draft, Cut::Copy, MergeStrategy::Distinct),
                }
            }
            Site::Workers(draft) => {
                self.gather(node, draft, Cut::Copy, MergeStrategy::Distinct);
                Site::Driver
            }
            site => site,
        }
    }

    pub fn aggregate(&mut self, node: &PlanNode) -> Site {
        let ([child], Some(aggregate)) = (node.children.as_slice(), &node.aggregate) else {
            return self.on_driver(node);
        };
        let before = self.mark();
        let by_one_thread = self.is_by_one_thread(child, aggregate);
        let merge = merge_of_aggregate(aggregate);
        let shuffled = self.groups_are_shuffled(node, child, aggregate);
        let as_rows = shuffled && (merge.is_err() || self.nearly_all_differ(groups_of(node), child));
        let site = match self.place(child) {
            Site::Workers(draft) if as_rows && !by_one_thread => self.earlier(node, aggregate, draft, &before),
            site => site,
        };
        let draft = match site {
            Site::Workers(draft) if draft.is_single() => return Site::Workers(draft),
            Site::Workers(_) if by_one_thread => {
                self.reset(before);
                self.note("an aggregate sees in which order one thread reads a small table".to_string());
                return self.read_on_driver(node);
            }
            Site::Workers(draft) => draft,
            site => return site,
        };
        if aggregate.combined && !aggregate.calls.iter().any(AggregateCall::sees_order) {
            return Site::Workers(draft);
        }
        if shuffled
            && !self.meets(&draft, node, true)
            && let Some(draft) = self.meeting_by_ranges(&draft, node)
        {
            return Site::Workers(draft);
        }
        match merge {
            _ if !aggregate.grouping_sets && self.meets(&draft, node, shuffled) => Site::Workers(self.unspread(draft)),
            Ok(merge) if shuffled && !self.nearly_all_differ(groups_of(node), child) => {
                let keys = self.hashed_keys(node, aggregate);
                let site = self.shuffled_again(node, &draft, Cut::PartialAggregate, merge);
                self.hashed_by(node, keys, site)
            }
            _ if shuffled => self.shuffled_for_groups(node, aggregate, child, draft),
            Ok(merge) if self.ends_in_one_task(child, aggregate) => {
                self.in_one_task(node, &draft, Cut::PartialAggregate, merge)
            }
            Err(_) if self.ends_in_one_task(child, aggregate) => {
                self.in_one_task(child, &draft, Cut::Subtree, MergeStrategy::Concatenate)
            }
            Ok(_) if self.states_are_rows(node, child, aggregate) => {
                self.note("its groups are nearly as many as its rows".to_string());
                self.gather(child, draft, Cut::Subtree, MergeStrategy::Concatenate);
                Site::Driver
            }
            Ok(merge) => {
                self.gather(node, draft, Cut::PartialAggregate, merge);
                Site::Driver
            }
            Err(note) => {
                self.note(note);
                self.gather(child, draft, Cut::Subtree, MergeStrategy::Concatenate);
                Site::Driver
            }
        }
    }

    /// Where the rows of its child are, of which the draft is, if they are shuffled for its groups before they come there;
    /// otherwise the draft.
    fn earlier(&mut self, node: &PlanNode, aggregate: &Aggregate, draft: Draft, before: &Mark) -> Site {
        let ([child], false) = (node.children.as_slice(), draft.is_single()) else { return Site::Workers(draft) };
        if self.meets(&draft, node, true) || self.meeting_by_ranges(&draft, node).is_some() {
            return Site::Workers(draft);
        }
        let Some(early) = self.early_shuffle(node, aggregate) else { return Site::Workers(draft) };
        self.reset(before.clone());
        let above = self.early.replace(early);
        let site = self.place(child);
        self.early = above;
        site
    }

    /// Whether a state would be made of hardly more than a row, for the same threads to combine: with workers in the driver's
    /// process alone, rows cost less.
    fn states_are_rows(&self, node: &PlanNode, child: &PlanNode, aggregate: &Aggregate) -> bool {
        let (rows, groups) = (child.estimated_rows.unwrap_or(0), groups_of(node).or(node.estimated_rows).unwrap_or(0));
        let many = groups > MANY_GROUPS && groups.saturating_mul(3) / 2 > rows;
        self.workers().remote == 0 && aggregate.groups > 0 && !aggregate.grouping_sets && many
    }

    /// Whether distinct rows come together in tasks.
    fn rows_are_shuffled(&self, node: &PlanNode) -> bool {
        let many = self.may_shuffle() && self.are_many(node.estimated_rows);
        has_keys(node) && (self.keeps_groups() || many)
    }

    /// Whether there are groups that no single machine is to hold, or rows that it need not see.
    pub fn groups_are_shuffled(&self, node: &PlanNode, child: &PlanNode, aggregate: &Aggregate) -> bool {
        let may_shuffle = self.may_shuffle() && aggregate.groups > 0 && !aggregate.grouping_sets;
        let stay = merge_of_aggregate(aggregate).is_err() || self.has_many_groups(node, child);
        may_shuffle && (stay || self.keeps_groups()) && !self.aggregates_in_order(child, aggregate)
    }

    pub fn keeps_groups(&self) -> bool {
        self.shared.keeps_groups && self.put_together
    }

    /// Whether a task has the one row of an aggregate without groups, since other tasks are to read it.
    pub fn ends_in_one_task(&self, child: &PlanNode, aggregate: &Aggregate) -> bool {
        let of_all_rows = aggregate.groups == 0 && !aggregate.grouping_sets;
        self.may_shuffle() && self.keeps_groups() && of_all_rows && !self.aggregates_in_order(child, aggregate)
    }

    /// Whether partial aggregates would hardly be fewer than the rows, or so many that the driver should not see them
    /// all, and it is not where the rows are anyway.
    fn has_many_groups(&self, node: &PlanNode, child: &PlanNode) -> bool {
        let rows = node.estimated_rows.unwrap_or(0);
        let groups = groups_of(node).map_or(rows, |groups| groups.min(rows));
        // Each task may have rows of each group.
        let states = groups.saturating_mul(self.workers().count());
        let too_many = states > self.many_groups().saturating_mul(STATES_OF_A_GROUP);
        self.are_many(Some(groups)) && (too_many || self.nearly_all_differ(Some(groups), child))
    }

    /// Whether the driver, where they are not anyway, is not to hold so many groups.
    fn are_many(&self, groups: Option<u64>) -> bool {
        self.workers().remote > 0 && groups.is_some_and(|groups| groups > self.many_groups())
    }

    fn many_groups(&self) -> u64 {
        MANY_GROUPS.min(self.min_split_rows())
    }

    /// Whether so many different rows are so much fewer than those of `child` that each task had better give them once.
    pub fn are_fewer(&self, different: u64, child: &PlanNode) -> bool {
        !self.nearly_all_differ(Some(different), child)
    }

    /// Whether the groups that a task's rows have are hardly fewer than the rows: nobody knows better without counts.
    fn nearly_all_differ(&self, groups: Option<u64>, child: &PlanNode) -> bool {
        let rows = child.estimated_rows.unwrap_or(0);
        groups.is_some_and(|groups| groups.saturating_mul(self.workers().count() * 2) > rows)
    }
}

/// Fewer groups are combined on the driver, where tables of as many rows are not split either.
const MANY_GROUPS: u64 = 100_000;

/// As many partial states as `MANY_GROUPS` times this, 2 million, may come to the driver, however many rows they are of:
/// about 200 ms of its time, and some 100 MB. More are combined where they were made, each on one worker.
const STATES_OF_A_GROUP: u64 = 20;

/// The groups of an aggregate, where distinct values of its columns were counted.
fn groups_of(node: &PlanNode) -> Option<u64> {
    node.aggregate.as_ref()?.distinct
}

/// How partial aggregates are merged, or why they can't be.
fn merge_of_aggregate(aggregate: &Aggregate) -> Result<MergeStrategy, String> {
    for call in &aggregate.calls {
        if call.distinct {
            return Err(format!("{}(DISTINCT) is aggregated on the driver", call.name));
        }
        if !call.exportable {
            return Err(format!("{} has no state to export and is aggregated on the driver", call.name));
        }
    }
    Ok(match (aggregate.groups, aggregate.calls.is_empty()) {
        (0, _) => MergeStrategy::Aggregate,
        (_, true) if !aggregate.grouping_sets => MergeStrategy::Distinct,
        _ => MergeStrategy::GroupBy,
    })
}
