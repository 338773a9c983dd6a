//! Which part of each table a worker elsewhere reads, and so keeps: always the same, as long as the workers are; when one
//! joins or leaves, its share alone has another owner.
//!
//! ```text
//!   0                                       1     of the rows of a table, of the values of a key by which it is stored
//!   |    a    |    b    |    c    |    d    |     even parts, in the order of the workers
//!   |   a   |  e  | b   |   c   |  e  |  d  |     e joins: from each the end of a part, beside another such end
//!   |  a   |b|  e  |d|   c    | e |   d     |     b leaves: first to its neighbours
//! ```
//!
//! The parts are the same for all tables: those that are stored by one key are read by ranges of it, and as they are, by
//! the same workers.

use std::ops::Range;

/// The end of a table, as parts are counted: divisible by all numbers up to 40.
pub const WHOLE: u64 = 5_342_931_457_063_200;
/// What nobody moves for: shares of more than 40 workers are not quite even.
const NOTHING_MUCH: u64 = WHOLE / 10_000_000;
/// Parts a worker, on average, up to which nothing moves for there to be fewer.
const FEW_PARTS: usize = 2;
/// Beyond that, as much moves as it takes. (Where two to twelve workers come and go at random, it is never reached: they
/// have one to four parts, on average.)
const MOST_PARTS: usize = 8;
/// What moves with each change for there to be fewer parts: at most a share divided by this.
const MOVES_FOR_FEWER: u64 = 8;

/// The parts of all workers; not one is without a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owners {
    /// In the order in which they get tasks.
    workers: Vec<String>,
    /// In order, without a gap; two that are neighbours have two owners.
    parts: Vec<Part>,
}

/// A part of a table, from the end of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Up to [`WHOLE`].
    pub end: u64,
    /// The worker, by its place among all.
    pub owner: usize,
}

impl Owners {
    /// Even parts, in the order of the workers, of which there is one at least.
    pub fn even(workers: &[&str]) -> Self {
        let parts = (0..workers.len()).map(|owner| Part { end: even_end(owner, workers.len()), owner });
        Self { workers: owned(workers), parts: parts.collect() }
    }

    pub fn workers(&self) -> &[String] {
        &self.workers
    }

    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Whether they are as they would be had there never been other workers.
    pub fn is_even(&self) -> bool {
        let even =
            |(place, part): (usize, &Part)| part.owner == place && part.end == even_end(place, self.workers.len());
        self.parts.len() == self.workers.len() && self.parts.iter().enumerate().all(even)
    }

    /// The owners once there are these workers: all of them with even shares, no more moved than that takes. A worker that
    /// comes as another leaves takes that one's place.
    pub fn changed(&self, workers: &[&str]) -> Self {
        let stays = |worker: &String| workers.contains(&worker.as_str());
        if !self.workers.iter().any(stays) {
            return Self::even(workers);
        }
        let is_new = |place: &usize| !self.workers.iter().any(|known| known == workers[*place]);
        let mut new = (0..workers.len()).filter(is_new);
        // Those that leave, and that nobody takes the place of, come behind all others.
        let mut behind = workers.len();
        let place = |worker: &String| {
            let same = workers.iter().position(|other| other == worker);
            same.or_else(|| new.next()).unwrap_or_else(|| {
                behind += 1;
                behind - 1
            })
        };
        let places: Vec<usize> = self.workers.iter().map(place).collect();
        let mut begin = 0;
        let parts = self.parts.iter().map(|part| {
            let rows = part.end - std::mem::replace(&mut begin, part.end);
            Piece { rows, owner: places[part.owner] }
        });
        let mut moving = Moving { pieces: parts.collect(), count: workers.len(), behind };
        moving.make_even();
        moving.make_fewer();
        Self { workers: owned(workers), parts: moving.parts() }
    }

    /// The same `times` over, one after the other, each in an equal part of a table, the last one as far as it comes: for
    /// stages of which a worker has several tasks. `times`: how many, as a fraction.
    pub fn repeated(&self, (numerator, denominator): (u64, u64)) -> Vec<Part> {
        let mut parts = Vec::new();
        for begin in (0..).map(|round| round * u128::from(WHOLE)) {
            for part in &self.parts {
                let end = (begin + u128::from(part.end)) * u128::from(denominator) / u128::from(numerator.max(1));
                let end = end.min(u128::from(WHOLE)) as u64;
                parts.push(Part { end, ..*part });
                if end == WHOLE {
                    return parts;
                }
            }
        }
        parts
    }
}

fn owned(workers: &[&str]) -> Vec<String> {
    workers.iter().map(ToString::to_string).collect()
}

/// Where the even part of a worker ends.
fn even_end(place: usize, workers: usize) -> u64 {
    (u128::from(WHOLE) * (place as u128 + 1) / workers as u128) as u64
}

struct Piece {
    rows: u64,
    owner: usize,
}

/// Parts on their way to others.
struct Moving {
    pieces: Vec<Piece>,
    /// Of the workers that are to have even shares; the others, up to `behind`, are to have nothing.
    count: usize,
    behind: usize,
}

/// A piece, or the one or the other end of it, that gets another owner.
#[derive(Clone, Copy)]
struct Move {
    piece: usize,
    rows: u64,
    at_end: bool,
    to: usize,
}

impl Moving {
    fn make_even(&mut self) {
        // Each move leaves one worker less that has too much or too little, or one piece less.
        while let Some(best) = self.best() {
            self.make(best);
        }
        for place in 0..self.pieces.len() {
            if self.pieces[place].owner >= self.count {
                let next = self.pieces.iter().skip(place).find(|piece| piece.owner < self.count);
                let owner = place.checked_sub(1).map(|before| self.pieces[before].owner);
                self.pieces[place].owner = owner.or(next.map(|next| next.owner)).unwrap_or_default();
            }
        }
        self.join();
    }

    /// Of each worker: what it has more than its share, and what less.
    fn uneven(&self) -> Vec<(u64, u64)> {
        let mut owned = vec![0_u64; self.behind];
        self.pieces.iter().for_each(|piece| owned[piece.owner] += piece.rows);
        let share = |place: usize| match place {
            0 => even_end(0, self.count),
            _ if place < self.count => even_end(place, self.count) - even_end(place - 1, self.count),
            _ => 0,
        };
        let uneven = |(place, owned): (usize, u64)| {
            let (more, less) = (owned.saturating_sub(share(place)), share(place).saturating_sub(owned));
            let counts = |rows: u64| if rows > NOTHING_MUCH || place >= self.count { rows } else { 0 };
            (counts(more), counts(less))
        };
        owned.into_iter().enumerate().map(uneven).collect()
    }

    /// The move that leaves the fewest pieces; of several, one beside which another may follow, and the largest.
    fn best(&self) -> Option<Move> {
        let uneven = self.uneven();
        let mut best: Option<((i32, bool, u64), Move)> = None;
        for (place, piece) in self.pieces.iter().enumerate() {
            let (more, _) = uneven[piece.owner];
            for to in (0..self.count).filter(|to| uneven[*to].1 > 0 && more > 0) {
                let rows = piece.rows.min(more).min(uneven[to].1);
                let beside = [place.checked_sub(1), Some(place + 1)].map(|place| self.pieces.get(place?));
                let is_its = beside.map(|piece| piece.is_some_and(|piece| piece.owner == to));
                for at_end in [true, false] {
                    let added = match rows == piece.rows {
                        true => -is_its.iter().map(|is_its| i32::from(*is_its)).sum::<i32>(),
                        false => i32::from(!is_its[usize::from(at_end)]),
                    };
                    let alone = beside[usize::from(at_end)].is_none_or(|piece| uneven[piece.owner].0 == 0);
                    let rank = (added, alone, u64::MAX - rows);
                    if best.as_ref().is_none_or(|(other, _)| rank < *other) {
                        best = Some((rank, Move { piece: place, rows, at_end, to }));
                    }
                }
            }
        }
        best.map(|(_, best)| best)
    }

    fn make(&mut self, Move { piece, rows, at_end, to }: Move) {
        let whole = &mut self.pieces[piece];
        whole.rows -= rows;
        let empty = whole.rows == 0;
        self.pieces.insert(piece + usize::from(at_end), Piece { rows, owner: to });
        if empty {
            self.pieces.remove(piece + usize::from(!at_end));
        }
        self.join();
    }

    /// Where there are many pieces, small ones are given to a neighbour, which gives as much to somebody beside it, who
    /// does, and so on, until the one that had the piece has as much again.
    fn make_fewer(&mut self) {
        let mut left = WHOLE / self.count as u64 / MOVES_FOR_FEWER;
        while self.pieces.len() > FEW_PARTS * self.count {
            let most = if self.pieces.len() > MOST_PARTS * self.count { u64::MAX } else { left };
            let Some((moved, small, path)) = self.cheapest_exchange(most) else { return };
            left = left.saturating_sub(moved);
            let rows = self.pieces[small].rows;
            for (from, to) in path.iter().zip(&path[1..]) {
                if let Some((piece, at_end)) = self.beside(*from, *to, small) {
                    self.pieces[piece].rows -= rows;
                    let taker = if at_end { piece + 1 } else { piece - 1 };
                    self.pieces[taker].rows += rows;
                }
            }
            self.pieces[small].owner = path[0];
            self.join();
        }
    }

    /// What moves at least for a piece to join a neighbour, if that is no more than `most`; the piece, and who gives to whom.
    fn cheapest_exchange(&self, most: u64) -> Option<(u64, usize, Vec<usize>)> {
        let mut best: Option<(u64, usize, Vec<usize>)> = None;
        for (small, piece) in self.pieces.iter().enumerate() {
            for neighbour in [small.checked_sub(1), Some(small + 1)] {
                let Some(neighbour) = neighbour.and_then(|place| self.pieces.get(place)) else { continue };
                let most = best.as_ref().map_or(most, |(moved, ..)| moved - 1);
                let steps = (most / piece.rows).saturating_sub(1);
                if let Some(path) = self.path(neighbour.owner, piece.owner, small, steps) {
                    best = Some((piece.rows * path.len() as u64, small, path));
                }
            }
        }
        best
    }

    /// The shortest way from worker to worker, each beside the next one with a piece that is larger than `small`, in so
    /// many steps at most.
    fn path(&self, from: usize, to: usize, small: usize, steps: u64) -> Option<Vec<usize>> {
        let mut paths = std::collections::VecDeque::from([vec![from]]);
        let mut seen = vec![from];
        while let Some(path) = paths.pop_front().filter(|path| path.len() as u64 <= steps) {
            let last = path[path.len() - 1];
            for next in (0..self.count).filter(|next| self.beside(last, *next, small).is_some()) {
                if seen.contains(&next) {
                    continue;
                }
                seen.push(next);
                let longer = path.iter().copied().chain([next]).collect();
                if next == to {
                    return Some(longer);
                }
                paths.push_back(longer);
            }
        }
        None
    }

    /// A piece of `from`, larger than `small`, and neither that nor beside it, with one of `to` at its end, or before it.
    fn beside(&self, from: usize, to: usize, small: usize) -> Option<(usize, bool)> {
        let far = |place: usize| place.abs_diff(small) > 1;
        let rows = self.pieces[small].rows;
        let is_of = |place: usize, owner: usize| self.pieces.get(place).is_some_and(|piece| piece.owner == owner);
        let found = (0..self.pieces.len()).filter(|place| far(*place) && self.pieces[*place].rows > rows);
        found.filter(|place| is_of(*place, from)).find_map(|place| {
            let at_end = is_of(place + 1, to) && place + 1 != small;
            let before = place > 0 && is_of(place - 1, to) && place - 1 != small;
            (at_end || before).then_some((place, at_end))
        })
    }

    /// Neighbours of one owner become one.
    fn join(&mut self) {
        self.pieces.dedup_by(|next, piece| {
            let same = piece.owner == next.owner;
            piece.rows += if same { next.rows } else { 0 };
            same
        });
    }

    fn parts(&self) -> Vec<Part> {
        let mut end = 0;
        let part = |piece: &Piece| {
            end += piece.rows;
            Part { end, owner: piece.owner }
        };
        self.pieces.iter().map(part).collect()
    }
}

/// From where to where each part is.
pub fn ranges(parts: &[Part]) -> impl Iterator<Item = Range<u64>> + '_ {
    let begins = std::iter::once(0).chain(parts.iter().map(|part| part.end));
    begins.zip(parts).map(|(begin, part)| begin..part.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Workers that come and go.
    struct Numbers(u64);

    impl Numbers {
        fn next(&mut self, below: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % below
        }
    }

    fn names(workers: &[String]) -> Vec<&str> {
        workers.iter().map(String::as_str).collect()
    }

    /// The part of all rows that somebody else owns.
    fn moved(before: &Owners, after: &Owners) -> f64 {
        let mut moved = 0;
        for (old, range) in before.parts.iter().zip(ranges(&before.parts)) {
            for (new, other) in after.parts.iter().zip(ranges(&after.parts)) {
                let both = range.end.min(other.end).saturating_sub(range.start.max(other.start));
                moved += if before.workers[old.owner] == after.workers[new.owner] { 0 } else { both };
            }
        }
        moved as f64 / WHOLE as f64
    }

    /// All is somebody's, once, and all have as much.
    fn check(owners: &Owners) {
        let mut shares = vec![0; owners.workers.len()];
        let mut begin = 0;
        for (place, part) in owners.parts.iter().enumerate() {
            assert!(part.end > begin, "{owners:?}");
            assert!(place == 0 || owners.parts[place - 1].owner != part.owner, "{owners:?}");
            shares[part.owner] += part.end - begin;
            begin = part.end;
        }
        assert_eq!(begin, WHOLE);
        let even = WHOLE / shares.len() as u64;
        assert!(shares.iter().all(|share| share.abs_diff(even) <= 64 * NOTHING_MUCH), "{owners:?}");
    }

    #[test]
    fn a_worker_that_joins_or_leaves_moves_its_share() {
        let mut most = 0.0_f64;
        for seed in 0..200 {
            let mut numbers = Numbers(seed);
            let largest = 2 + numbers.next(11);
            let mut workers: Vec<String> =
                (0..1 + numbers.next(largest)).map(|number| format!("w{number:03}")).collect();
            let mut owners = Owners::even(&names(&workers));
            for step in 0..300 {
                let count = workers.len();
                let changed = match numbers.next(5) {
                    0 | 1 if count < largest => {
                        workers.push(format!("w{:03}", 100 + step));
                        1.0 / workers.len() as f64
                    }
                    2 | 3 if count > 1 => {
                        workers.remove(numbers.next(count));
                        1.0 / count as f64
                    }
                    _ => {
                        workers[numbers.next(count)] = format!("w{:03}", 100 + step);
                        1.0 / count as f64
                    }
                };
                workers.sort_unstable();
                let next = owners.changed(&names(&workers));
                check(&next);
                assert!(moved(&owners, &next) <= changed + 0.126 / workers.len() as f64, "{owners:?} {next:?}");
                most = most.max(next.parts.len() as f64 / workers.len() as f64);
                owners = next;
            }
        }
        assert!(most < MOST_PARTS as f64, "there are up to {most} parts a worker");
    }

    #[test]
    fn few_parts_are_made() {
        let four = Owners::even(&["a", "b", "c", "d"]);
        assert!(four.is_even());
        let five = four.changed(&["a", "b", "c", "d", "e"]);
        let parts = |owners: &Owners| -> Vec<(String, u64)> {
            let ends = owners.parts.iter().map(|part| part.end * 20 / WHOLE);
            owners.parts.iter().zip(ends).map(|(part, end)| (owners.workers[part.owner].clone(), end)).collect()
        };
        let expected = [("a", 4), ("e", 6), ("b", 10), ("c", 14), ("e", 16), ("d", 20)];
        assert_eq!(parts(&five), expected.map(|(owner, end)| (owner.to_string(), end)));
        let four = five.changed(&["a", "b", "c", "d"]);
        let expected = [("a", 5), ("b", 10), ("c", 15), ("d", 20)];
        assert_eq!(parts(&four), expected.map(|(owner, end)| (owner.to_string(), end)));
        assert!(four.is_even(), "as if nothing had been");
    }

    #[test]
    fn who_comes_as_another_leaves_takes_its_place() {
        let before = Owners::even(&["a", "b", "c"]).changed(&["a", "b", "c", "d"]);
        let after = before.changed(&["a", "aa", "c", "d"]);
        assert_eq!(before.parts.len(), after.parts.len());
        assert!((moved(&before, &after) - 0.25).abs() < 1e-9);
        assert_eq!(before.changed(&["d", "c", "b", "a"]).workers, ["d", "c", "b", "a"]);
        assert!(moved(&before, &before.changed(&["d", "c", "b", "a"])) < 1e-9, "another order moves nothing");
        assert!(before.changed(&["x", "y"]).is_even(), "nobody has anything");
        // Several at once.
        let many = Owners::even(&["a", "b"]).changed(&["b", "c", "d", "e", "f"]);
        check(&many);
        assert!(moved(&Owners::even(&["a", "b"]), &many) <= 0.8 + 1e-9);
    }

    #[test]
    fn large_herds_are_even() {
        let workers: Vec<String> = (0..200).map(|number| format!("w{number:03}")).collect();
        let mut owners = Owners::even(&names(&workers[..150]));
        for count in [151, 149, 200, 90, 97] {
            let next = owners.changed(&names(&workers[..count]));
            check(&next);
            let most = count.abs_diff(owners.workers.len()) as f64 / count.max(owners.workers.len()) as f64;
            assert!(moved(&owners, &next) <= most * 1.13 + 1e-4);
            owners = next;
        }
    }

    #[test]
    fn several_rounds_are_the_tasks_in_turn() {
        let owners = Owners::even(&["a", "b", "c", "d"]);
        for tasks in [4_u64, 5, 6, 15, 16] {
            let parts = owners.repeated((tasks, 4));
            assert_eq!(parts.len() as u64, tasks);
            for (place, part) in parts.iter().enumerate() {
                assert_eq!((part.owner, part.end), (place % 4, even_end(place, tasks as usize)));
            }
        }
    }
}
