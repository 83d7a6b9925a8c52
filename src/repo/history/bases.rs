//! Best common ancestors of two commits: those that are an ancestor of no other common one. A
//! criss-cross of merges has several.
//!
//! The walk is git's (`paint_down_to_common` in its commit-reach.c): from both sides at once, the
//! newest commit first, until all that is left is known to lie below a common ancestor. Times only
//! decide how far it goes; clocks that ran backwards change no answer.

use std::collections::{BinaryHeap, HashMap};

use super::super::{Repository, Result};
use super::graph::Graph;
use crate::id::CommitId;

/// Reached from the one.
const ONE: u8 = 1;
/// Reached from one of the others.
const OTHERS: u8 = 2;
/// Below a common ancestor.
const STALE: u8 = 4;
/// A common ancestor that was not below another when it was met.
const RESULT: u8 = 8;
/// To be visited.
const WAITING: u8 = 16;

/// What a walk from both sides marked.
struct Painted {
    marks: HashMap<CommitId, u8>,
    /// Commits to go on from.
    queue: BinaryHeap<(i64, CommitId)>,
    /// How many of the queue are not known to be stale.
    fresh: usize,
}

impl Painted {
    fn mark_of(&self, id: &CommitId) -> u8 {
        self.marks.get(id).copied().unwrap_or(0)
    }

    /// Adds marks; a commit that gets new ones is visited, if need be again.
    fn paint(&mut self, graph: &mut Graph, id: CommitId, marks: u8) -> Result<()> {
        let before = self.mark_of(&id);
        if before & marks == marks {
            return Ok(());
        }
        let after = before | marks | WAITING;
        self.marks.insert(id, after);
        let was_fresh = before & (WAITING | STALE) == WAITING;
        let is_fresh = after & STALE == 0;
        self.fresh = self.fresh + usize::from(is_fresh) - usize::from(was_fresh);
        if before & WAITING == 0 {
            self.queue.push((graph.node(id)?.time, id));
        }
        Ok(())
    }

    fn pop(&mut self) -> Option<CommitId> {
        if self.fresh == 0 {
            return None;
        }
        let (_, id) = self.queue.pop()?;
        let marks = self.marks.entry(id).or_default();
        *marks &= !WAITING;
        self.fresh -= usize::from(*marks & STALE == 0);
        Some(id)
    }
}

/// Marks what is reached from `one` and what from `others`, until only stale commits are left.
fn paint_down(graph: &mut Graph, one: CommitId, others: &[CommitId]) -> Result<Painted> {
    let mut painted = Painted { marks: HashMap::new(), queue: BinaryHeap::new(), fresh: 0 };
    painted.paint(graph, one, ONE)?;
    for other in others {
        painted.paint(graph, *other, OTHERS)?;
    }
    while let Some(id) = painted.pop() {
        let mut marks = painted.mark_of(&id) & (ONE | OTHERS | STALE);
        if marks == ONE | OTHERS {
            painted.marks.insert(id, marks | RESULT);
            marks |= STALE;
        }
        let parents = graph.node(id)?.parents.clone();
        for parent in parents {
            painted.paint(graph, parent, marks)?;
        }
    }
    Ok(painted)
}

/// Leaves out commits that are ancestors of others of the list.
fn independent(graph: &mut Graph, mut commits: Vec<CommitId>) -> Result<Vec<CommitId>> {
    let mut at = 0;
    while at < commits.len() && commits.len() > 1 {
        let one = commits[at];
        let others: Vec<CommitId> = commits.iter().copied().filter(|id| *id != one).collect();
        let painted = paint_down(graph, one, &others)?;
        let is_kept = painted.mark_of(&one) & OTHERS == 0;
        commits.retain(|id| if *id == one { is_kept } else { painted.mark_of(id) & ONE == 0 });
        // Those before `one` were compared with all: none of them goes any more.
        at = if is_kept { commits.iter().take_while(|id| **id != one).count() + 1 } else { at };
    }
    Ok(commits)
}

/// The best common ancestors of two commits, the newest first.
fn merge_bases(graph: &mut Graph, a: CommitId, b: CommitId) -> Result<Vec<CommitId>> {
    if a == b {
        return Ok(vec![a]);
    }
    let painted = paint_down(graph, a, &[b])?;
    let is_base = |marks: u8| marks & (RESULT | STALE) == RESULT;
    let found = painted.marks.iter().filter(|(_, marks)| is_base(**marks));
    let found: Vec<CommitId> = found.map(|(id, _)| *id).collect();
    let mut dated = Vec::with_capacity(found.len());
    for id in independent(graph, found)? {
        dated.push((graph.node(id)?.time, id));
    }
    dated.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    Ok(dated.into_iter().map(|(_, id)| id).collect())
}

fn is_ancestor(graph: &mut Graph, ancestor: CommitId, commit: CommitId) -> Result<bool> {
    if ancestor == commit {
        return Ok(true);
    }
    let painted = paint_down(graph, ancestor, &[commit])?;
    Ok(painted.mark_of(&ancestor) & OTHERS != 0)
}

impl Repository {
    /// The best common ancestors of two commits, the newest first; none where the histories have
    /// nothing in common.
    pub fn merge_bases(&self, a: CommitId, b: CommitId) -> Result<Vec<CommitId>> {
        merge_bases(&mut Graph::new(self.objects()?), a, b)
    }

    /// Whether `ancestor` is `commit` or comes before it.
    pub fn is_ancestor(&self, ancestor: CommitId, commit: CommitId) -> Result<bool> {
        is_ancestor(&mut Graph::new(self.objects()?), ancestor, commit)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::super::graph::Node;
    use super::*;

    fn id(number: usize) -> CommitId {
        CommitId::of(&number.to_le_bytes())
    }

    /// Commit n has the parents and the time of the n-th item; parents come before it.
    fn graph(commits: &[(Vec<usize>, i64)]) -> Graph {
        let node = |(parents, time): &(Vec<usize>, i64)| Node {
            time: *time,
            tree: crate::repo::trees::empty_tree(),
            parents: parents.iter().map(|parent| id(*parent)).collect(),
        };
        let nodes: HashMap<CommitId, Node> =
            commits.iter().enumerate().map(|(number, commit)| (id(number), node(commit))).collect();
        Graph::with(move |id| Ok(nodes[id].clone()))
    }

    fn ancestors(commits: &[(Vec<usize>, i64)], of: usize) -> HashSet<usize> {
        let mut found = HashSet::from([of]);
        for number in (0..=of).rev() {
            if found.contains(&number) {
                found.extend(&commits[number].0);
            }
        }
        found
    }

    fn naive_bases(commits: &[(Vec<usize>, i64)], a: usize, b: usize) -> HashSet<CommitId> {
        let common = &ancestors(commits, a) & &ancestors(commits, b);
        let is_best = |one: &&usize| {
            !common.iter().any(|other| other != *one && ancestors(commits, *other).contains(one))
        };
        common.iter().filter(is_best).map(|number| id(*number)).collect()
    }

    #[test]
    fn a_criss_cross_has_two() {
        let parents: [&[usize]; 7] = [&[], &[0], &[0], &[1, 2], &[2, 1], &[3], &[4]];
        let commits: Vec<(Vec<usize>, i64)> =
            parents.iter().enumerate().map(|(at, list)| (list.to_vec(), at as i64)).collect();
        let found = merge_bases(&mut graph(&commits), id(5), id(6)).unwrap();
        assert_eq!(found, [id(2), id(1)]);
        let unrelated = [(vec![], 0), (vec![], 1)];
        assert_eq!(merge_bases(&mut graph(&unrelated), id(0), id(1)).unwrap(), []);
        assert!(!is_ancestor(&mut graph(&unrelated), id(0), id(1)).unwrap());
    }

    fn histories() -> impl Strategy<Value = Vec<(Vec<usize>, i64)>> {
        let commit = (proptest::collection::vec(any::<prop::sample::Index>(), 0..4), 0i64..6);
        proptest::collection::vec(commit, 2..24).prop_map(|commits| {
            let parents = |(at, (parents, time)): (usize, (Vec<prop::sample::Index>, i64))| {
                let mut parents: Vec<usize> = match at {
                    0 => Vec::new(),
                    _ => parents.iter().map(|index| index.index(at)).collect(),
                };
                parents.sort_unstable();
                parents.dedup();
                (parents, time)
            };
            commits.into_iter().enumerate().map(parents).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Times are random, so clocks run in every direction.
        #[test]
        fn the_bases_are_those_of_the_definition(commits in histories()) {
            let last = commits.len() - 1;
            for other in 0..last {
                let found = merge_bases(&mut graph(&commits), id(last), id(other)).unwrap();
                let found: HashSet<CommitId> = found.into_iter().collect();
                prop_assert_eq!(found, naive_bases(&commits, last, other));
                prop_assert_eq!(
                    is_ancestor(&mut graph(&commits), id(other), id(last)).unwrap(),
                    ancestors(&commits, last).contains(&other)
                );
            }
        }
    }
}
