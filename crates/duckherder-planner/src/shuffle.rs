//! Rows that go to the tasks of another stage by the hash of their keys, or are there already.

use crate::partition::Partitioning;
use crate::place::{Draft, Placer, Site};
use crate::plan::{Aggregate, PlanNode};
use crate::split::Mode;
use crate::stage::{Cut, Exchange, MergeStrategy};

impl Placer<'_> {
    /// Whether all rows that must meet in `node` are in one task of the draft. If they would not be `shuffled` otherwise,
    /// it is not worth it that the rows of a join's heavy keys go to one task.
    pub fn meets(&self, draft: &Draft, node: &PlanNode, shuffled: bool) -> bool {
        let keys = node.keys.first().map_or(&[][..], Vec::as_slice);
        let serves = draft.partitioning.as_ref().is_some_and(|partitioning| partitioning.serves(keys));
        serves && (shuffled || self.dividing(draft).iter().all(|stage| self.stages[*stage].join.is_none()))
    }

    /// The rows of each key stay in one task, however many they are.
    pub fn unspread(&mut self, draft: Draft) -> Draft {
        for stage in self.dividing(&draft) {
            self.stages[stage].join = None;
        }
        draft
    }

    /// The stages whose shuffles have divided the rows of the draft.
    fn dividing(&self, draft: &Draft) -> Vec<usize> {
        let mut found = Vec::new();
        let mut waiting = draft.inputs.clone();
        while let Some(number) = waiting.pop() {
            match self.stages[number].exchange {
                Exchange::Hash { .. } => found.push(number),
                Exchange::Forward { .. } => waiting.extend(&self.stages[number].inputs),
                Exchange::Gather | Exchange::Broadcast => {}
            }
        }
        found
    }

    /// The rows of the drafts go to the tasks of a new one, by the keys of `node`, which runs there.
    pub fn shuffled(&mut self, node: &PlanNode, children: &[(&PlanNode, Draft)]) -> Site {
        let mut inputs = Vec::new();
        for (side, (child, draft)) in children.iter().enumerate() {
            let number = self.shuffle(node, side, child, draft);
            self.stages[number].join = node.join.as_ref().map(|join| join.kind);
            inputs.push(number);
        }
        let (mode, tasks) = (Mode::HashPartition, self.workers().count());
        let partitioning = Partitioning::of(node, &inputs);
        Site::Workers(Draft { mode, tasks, scans: Vec::new(), inputs, partitioning, divisible: Vec::new() })
    }

    /// The same for an aggregate: rows that are equal in all of its keys are equal in some of them.
    pub fn shuffled_for_groups(
        &mut self,
        node: &PlanNode,
        aggregate: &Aggregate,
        child: &PlanNode,
        draft: Draft,
    ) -> Site {
        let keys = self.hashed_keys(node, aggregate);
        let site = self.shuffled(node, &[(child, draft)]);
        self.hashed_by(node, keys, site)
    }

    /// What was shuffled for the groups of `node`, by these of its keys alone; by all, if there are none.
    pub fn hashed_by(&mut self, node: &PlanNode, keys: Vec<u64>, site: Site) -> Site {
        let Site::Workers(mut divided) = site else { return site };
        if let ([stage], false) = (divided.inputs.as_slice(), keys.is_empty()) {
            divided.partitioning = Partitioning::by_some_of(node, &keys, &[*stage]);
            self.stages[*stage].hash_keys = keys;
        }
        Site::Workers(divided)
    }

    /// The tasks of the draft do what they can for their rows; what comes of it goes to the tasks of a new one, by the
    /// keys, to be put together there.
    pub fn shuffled_again(&mut self, node: &PlanNode, draft: &Draft, cut: Cut, merge: MergeStrategy) -> Site {
        let exchange = Exchange::Hash { consumer: node.id, side: 0 };
        let inputs = vec![self.stage(node, draft, cut, exchange, merge)];
        let (mode, tasks) = (Mode::HashPartition, self.workers().count());
        let partitioning = Partitioning::of(node, &inputs);
        Site::Workers(Draft { mode, tasks, scans: Vec::new(), inputs, partitioning, divisible: Vec::new() })
    }

    /// The rows of the draft, cut at `node`, go to the one task of a new one.
    pub fn in_one_task(&mut self, node: &PlanNode, draft: &Draft, cut: Cut, merge: MergeStrategy) -> Site {
        let inputs = vec![self.stage(node, draft, cut, Exchange::Broadcast, merge)];
        let (mode, scans, divisible) = (Mode::HashPartition, Vec::new(), Vec::new());
        Site::Workers(Draft { mode, tasks: 1, scans, inputs, partitioning: None, divisible })
    }

    pub fn shuffle(&mut self, node: &PlanNode, side: usize, child: &PlanNode, draft: &Draft) -> usize {
        let exchange = Exchange::Hash { consumer: node.id, side: side as u64 };
        // Where equal rows are as one, one of each task is enough.
        let distinct = node.distinct_rows.get(side).copied().flatten().filter(|rows| self.are_fewer(*rows, child));
        let cut = distinct.map_or(Cut::Subtree, |rows| Cut::Distinct { rows });
        self.stage(child, draft, cut, exchange, MergeStrategy::Concatenate)
    }

    /// Equal rows of all children meet where those of one are divided by some of their columns already, if there is such;
    /// the rows of the others go there.
    pub fn equal_rows_meet(&mut self, node: &PlanNode, drafts: Vec<(&PlanNode, Draft)>) -> Site {
        let of_side = |(side, (_, draft)): (usize, &(&PlanNode, Draft))| {
            draft.partitioning.as_ref()?.serves_join(node.keys.get(side)?)
        };
        let numbers: Vec<_> = drafts.iter().enumerate().map(of_side).collect();
        let Some(first) = numbers.iter().flatten().next().cloned() else { return self.shuffled(node, &drafts) };
        let hashed: Vec<u64> = first.iter().map(|number| *number as u64).collect();
        let (mode, tasks, partitioning) = (Mode::HashPartition, self.workers().count(), None);
        let (scans, inputs, divisible) = (Vec::new(), Vec::new(), Vec::new());
        let mut made = Draft { mode, tasks, scans, inputs, partitioning, divisible };
        for (side, ((child, draft), own)) in drafts.into_iter().zip(numbers).enumerate() {
            if own.as_ref() == Some(&first) {
                let draft = self.unspread(draft);
                made.read_together(draft.scans, draft.inputs);
            } else {
                let number = self.shuffle(node, side, child, &draft);
                self.stages[number].hash_keys.clone_from(&hashed);
                made.inputs.push(number);
            }
        }
        made.partitioning = Partitioning::by_some_of(node, &hashed, &[]);
        Site::Workers(made)
    }

    /// The join runs where the rows of its sides are divided by its keys, if there is such a place: what is not there is
    /// shuffled to it.
    pub fn join_divided(&mut self, node: &PlanNode, drafts: [(&PlanNode, Draft); 2]) -> Site {
        let numbers = |side: usize| {
            let partitioning = drafts[side].1.partitioning.as_ref()?;
            partitioning.serves_join(node.keys.get(side)?)
        };
        let (place, numbers) = match (numbers(0), numbers(1)) {
            (None, None) => return self.shuffled(node, &drafts),
            (Some(left), right) => {
                let both = right.as_ref() == Some(&left);
                (0, (left, both))
            }
            (None, Some(right)) => (1, (right, false)),
        };
        let ((numbers, both), [left, right]) = (numbers, drafts);
        let (mut draft, (child, other)) = if place == 0 { (left.1, right) } else { (right.1, left) };
        let here = draft.partitioning.as_ref().map_or(Vec::new(), |partitioning| partitioning.stages.clone());
        let there = if both {
            let other = self.unspread(other);
            draft.read_together(other.scans, other.inputs);
            other.partitioning.map_or(Vec::new(), |partitioning| partitioning.stages)
        } else {
            let number = self.shuffle(node, 1 - place, child, &other);
            self.stages[number].hash_keys = numbers.iter().map(|number| *number as u64).collect();
            self.stages[number].divided_by = here.iter().copied().min_by_key(|stage| self.stages[*stage].rows);
            draft.inputs.push(number);
            vec![number]
        };
        if let Some(partitioning) = &mut draft.partitioning {
            let stages = if place == 0 { [&here[..], &there] } else { [&there[..], &here] };
            partitioning.join(node, &numbers, stages);
        }
        Site::Workers(self.unspread(draft))
    }
}
