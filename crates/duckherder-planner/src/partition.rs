//! By which columns the rows of a stage are divided among its tasks, and which operators need no other division.
//!
//! ```text
//!   WINDOW ... PARTITION BY k, s     rows that are equal in k and s are equal in k: they are in one task
//!   AGGREGATE BY k, m                the same
//!   JOIN ON a.k = b.k                one stage for all three
//!   --- hash of a.k --   --- hash of b.k --
//! ```

use std::collections::BTreeMap;

use crate::plan::{Column, JoinKind, Operator, PlanNode, Rename, ShuffleKey};

/// Rows that are equal in every key are in one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partitioning {
    /// In the order in which they are hashed.
    keys: Vec<Key>,
    /// But not rows that have NULL in a key: they met none, so they are anywhere.
    nulls_anywhere: bool,
    /// Not by a hash, but by ranges of the one key ([`crate::ranges`]): nothing can be shuffled to where its partners are.
    by_ranges: bool,
    /// Stages that were shuffled by the keys, each of which has all values that the keys have here.
    pub stages: Vec<usize>,
}

/// The names that the value of a key has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// And whether they are cast to another type of integers: equal where the key is equal, but of another hash.
    columns: BTreeMap<Column, bool>,
}

impl Key {
    fn of(key: &ShuffleKey) -> Self {
        Self { columns: key.column.iter().map(|column| (column.clone(), false)).collect() }
    }

    pub fn named(column: &Column) -> Self {
        Self { columns: BTreeMap::from([(column.clone(), false)]) }
    }

    pub fn is_unnamed(&self) -> bool {
        self.columns.is_empty()
    }

    /// Has the value of `key`, in whatever type.
    pub fn has(&self, key: &ShuffleKey) -> bool {
        key.value().is_some_and(|column| self.columns.contains_key(column))
    }

    /// Has the hash of `key`.
    fn is(&self, key: &ShuffleKey) -> bool {
        key.column.as_ref().is_some_and(|column| self.columns.get(column) == Some(&false))
    }

    pub fn renamed(&self, renames: &[Rename]) -> Self {
        let mut columns = BTreeMap::new();
        for rename in renames {
            let Some(cast) = self.columns.get(&rename.was) else { continue };
            columns.insert(rename.now.clone(), *cast || rename.cast);
        }
        Self { columns }
    }

    /// After an inner join by `left` = `right`: if it is one of them, it has both names.
    pub fn join(&mut self, left: &ShuffleKey, right: &ShuffleKey) {
        if self.is(left) || self.is(right) {
            let names = [left, right].into_iter().filter_map(|side| side.column.clone());
            self.columns.extend(names.map(|column| (column, false)));
        }
    }
}

impl Partitioning {
    /// Of the rows that `stages` shuffle for `node`, as they come out of it; before [`above`](Self::above).
    pub fn of(node: &PlanNode, stages: &[usize]) -> Option<Self> {
        let keys: Vec<Key> = node.keys.first()?.iter().map(Key::of).collect();
        let mut made = Self { keys, nulls_anywhere: false, by_ranges: false, stages: Vec::new() };
        match stages {
            [only] => made.stages.push(*only),
            [left, right] if node.join.is_some() => {
                let numbers: Vec<usize> = (0..made.keys.len()).collect();
                made.join(node, &numbers, [&[*left], &[*right]]);
            }
            _ => {}
        }
        made.usable()
    }

    /// The same where only the keys of these numbers were hashed.
    pub fn by_some_of(node: &PlanNode, numbers: &[u64], stages: &[usize]) -> Option<Self> {
        let all = node.keys.first()?;
        let keys = numbers.iter().map(|number| all.get(*number as usize).map(Key::of)).collect::<Option<_>>()?;
        Self { keys, nulls_anywhere: false, by_ranges: false, stages: stages.to_vec() }.usable()
    }

    /// Of rows that are shuffled by these columns.
    pub fn by_columns(columns: &[Column]) -> Self {
        let keys = columns.iter().map(Key::named).collect();
        Self { keys, nulls_anywhere: false, by_ranges: false, stages: Vec::new() }
    }

    /// Of what is read by ranges of a column in which nothing is NULL.
    pub fn by_ranges_of(key: Key) -> Self {
        Self { keys: vec![key], nulls_anywhere: false, by_ranges: true, stages: Vec::new() }
    }

    pub fn is_by_ranges_of(&self, key: &ShuffleKey) -> bool {
        self.by_ranges && self.keys.iter().all(|own| own.has(key))
    }

    pub fn has_nulls_anywhere(&self) -> bool {
        self.nulls_anywhere
    }

    pub fn let_nulls_anywhere(&mut self) {
        self.nulls_anywhere = true;
    }

    fn usable(self) -> Option<Self> {
        (!self.keys.is_empty() && self.keys.iter().all(|key| !key.columns.is_empty())).then_some(self)
    }

    /// As the operator names them, whose child has these rows.
    pub fn above(self, node: &PlanNode) -> Option<Self> {
        match node.operator {
            Operator::Projection | Operator::Aggregate | Operator::Union | Operator::SetOperation => {
                self.renamed(&node.renames)
            }
            _ => Some(self),
        }
    }

    pub fn renamed(self, renames: &[Rename]) -> Option<Self> {
        let keys = self.keys.iter().map(|key| key.renamed(renames)).collect();
        Self { keys, ..self }.usable()
    }

    /// Of these rows and others, which have the same names for columns of the same types.
    pub fn beside(mut self, other: &Self) -> Option<Self> {
        if self.by_ranges || other.by_ranges || self.keys.len() != other.keys.len() {
            return None;
        }
        for (key, same) in self.keys.iter_mut().zip(&other.keys) {
            // What is cast has not the key's own hash.
            key.columns.retain(|column, cast| !*cast && same.columns.get(column) == Some(&false));
        }
        self.nulls_anywhere |= other.nulls_anywhere;
        // Neither's stages have all values.
        self.stages.clear();
        self.usable()
    }

    /// Whether rows that are equal in all of `keys`, NULLs too, are in one task.
    pub fn serves(&self, keys: &[ShuffleKey]) -> bool {
        !self.nulls_anywhere && self.keys.iter().all(|own| keys.iter().any(|key| own.has(key)))
    }

    /// The numbers of those join keys of this side that are the keys here, in their order: the other side's rows go to
    /// where their partners are if they are hashed by the same.
    pub fn serves_join(&self, keys: &[ShuffleKey]) -> Option<Vec<usize>> {
        let fits = |key: &ShuffleKey| key.null_meets_none || !self.nulls_anywhere;
        let number = |own: &Key| keys.iter().position(|key| own.is(key) && fits(key));
        let numbers = self.keys.iter().map(number).collect();
        if self.by_ranges { None } else { numbers }
    }

    /// After the join by the keys of these numbers, each of which is one of the keys here. `stages`: of either side.
    pub fn join(&mut self, node: &PlanNode, numbers: &[usize], stages: [&[usize]; 2]) {
        use JoinKind::{Inner, RightSemi, Semi};
        let given = node.join.as_ref().map_or([false; 2], |join| join.kind.gives_only_keys_of());
        let stages = stages.into_iter().zip(given).filter(|(_, given)| *given);
        self.stages = stages.flat_map(|(stages, _)| stages).copied().collect();
        // Who had no partner has NULLs in the other side's columns, or in the key.
        let all_have_partners = node.join.as_ref().is_some_and(|join| matches!(join.kind, Inner | Semi | RightSemi));
        for (key, number) in self.keys.iter_mut().zip(numbers) {
            if self.nulls_anywhere && all_have_partners {
                // The key is not NULL now; its other names may be.
                key.columns.clear();
            }
            let names = node.keys.iter().filter_map(|side| side.get(*number));
            key.columns.extend(names.filter_map(|name| Some((name.value()?.clone(), name.column.is_none()))));
        }
        self.nulls_anywhere = !all_have_partners;
    }

    /// After a join whose other side is whole in every task: where only equal rows come out, both names are good.
    pub fn join_whole(&mut self, node: &PlanNode) {
        let [Some(left), Some(right)] = [node.keys.first(), node.keys.get(1)] else { return };
        if node.join.as_ref().is_none_or(|join| join.kind != JoinKind::Inner) {
            return;
        }
        for (left, right) in left.iter().zip(right) {
            self.keys.iter_mut().for_each(|key| key.join(left, right));
        }
    }
}
