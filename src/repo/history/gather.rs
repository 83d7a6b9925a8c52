//! All commits of a history at once: what others have is left out, and the order of time gives way
//! to the order of descent.
//!
//! What is left out is found as git does (`limit_list` in its revision.c): both sides are walked, the
//! newest commit first, until nothing that is wanted is left to visit and a few more commits brought
//! nothing new. Only where clocks are wrong by more than that, a commit of both sides can stay in.

use std::collections::{BinaryHeap, HashMap, HashSet};

use super::super::{RepoError, Result};
use super::graph::Graph;
use super::paths::{PathHistory, Touch};
use super::{HistorySpec, Order};
use crate::id::CommitId;
use crate::storage::queues::CancelToken;

/// Commits to leave out that are visited though nothing that is wanted is left; git's.
const SLOP: usize = 5;

/// A commit of the walk.
#[derive(Debug, Default)]
struct State {
    /// Whether it is left out.
    out: bool,
    /// Whether its parents were visited.
    visited: bool,
    /// The parents that are followed.
    parents: Box<[CommitId]>,
    /// Whether it changed the paths.
    changed: bool,
}

struct Walk<'a> {
    graph: Graph,
    spec: &'a HistorySpec,
    paths: Option<PathHistory>,
    states: HashMap<CommitId, State>,
    queue: BinaryHeap<(i64, CommitId)>,
    /// Of the queue, those that are wanted.
    wanted: usize,
    /// Wanted commits in the order of their visit.
    found: Vec<CommitId>,
}

impl Walk<'_> {
    fn push(&mut self, id: CommitId, out: bool) -> Result<()> {
        if self.states.contains_key(&id) {
            if out {
                self.leave_out(id)?;
            }
            return Ok(());
        }
        let time = self.graph.node(id)?.time;
        let out = out || self.spec.since.is_some_and(|since| time < since);
        self.states.insert(id, State { out, ..State::default() });
        self.queue.push((time, id));
        self.wanted += usize::from(!out);
        Ok(())
    }

    /// Leaves out a known commit and those that were found through it.
    fn leave_out(&mut self, id: CommitId) -> Result<()> {
        let mut stack = vec![id];
        while let Some(id) = stack.pop() {
            let Some(state) = self.states.get_mut(&id) else {
                self.push(id, true)?;
                continue;
            };
            if std::mem::replace(&mut state.out, true) {
                continue;
            }
            if state.visited {
                stack.extend(self.graph.node(id)?.parents.iter().copied());
            } else {
                self.wanted -= 1;
            }
        }
        Ok(())
    }

    fn visit(&mut self, id: CommitId) -> Result<()> {
        let node = self.graph.node(id)?.clone();
        let Some(state) = self.states.get_mut(&id) else { return Ok(()) };
        state.visited = true;
        if state.out {
            return node.parents.iter().try_for_each(|parent| self.push(*parent, true));
        }
        self.wanted -= 1;
        let mut parents = node.parents.to_vec();
        if self.spec.first_parent {
            parents.truncate(1);
        }
        let touch = match &mut self.paths {
            None => Touch::Changed,
            Some(paths) => {
                let mut trees = Vec::with_capacity(parents.len());
                for parent in &parents {
                    trees.push(self.graph.node(*parent)?.tree);
                }
                paths.touch(node.tree, &trees)?
            }
        };
        if let Touch::SameAs(at) = touch {
            parents = vec![parents[at]];
        }
        if let Some(state) = self.states.get_mut(&id) {
            state.changed = touch == Touch::Changed;
            state.parents = parents.clone().into_boxed_slice();
        }
        self.found.push(id);
        parents.into_iter().try_for_each(|parent| self.push(parent, false))
    }

    fn run(&mut self, cancel: &CancelToken) -> Result<()> {
        self.spec.include.iter().try_for_each(|id| self.push(*id, false))?;
        self.spec.exclude.iter().try_for_each(|id| self.push(*id, true))?;
        let mut slop = SLOP;
        let mut oldest = i64::MAX;
        while let Some((time, id)) = self.queue.pop() {
            if cancel.is_cancelled() {
                return Err(RepoError::Interrupted);
            }
            if self.wanted > 0 || time >= oldest {
                slop = SLOP;
            } else if slop == 0 {
                break;
            } else {
                slop -= 1;
            }
            let found = self.found.len();
            self.visit(id)?;
            if self.found.len() > found {
                oldest = oldest.min(time);
            }
        }
        let states = &self.states;
        self.found.retain(|id| !states[id].out);
        Ok(())
    }

    /// The commits in the order of descent.
    fn sorted(&mut self, by_time: bool) -> Result<Vec<CommitId>> {
        let mut children: HashMap<CommitId, usize> = self.found.iter().map(|id| (*id, 0)).collect();
        for id in &self.found {
            for parent in &self.states[id].parents {
                children.entry(*parent).and_modify(|count| *count += 1);
            }
        }
        let mut due = Due { by_time, stack: Vec::new(), heap: BinaryHeap::new() };
        for id in self.found.iter().rev().filter(|id| children[*id] == 0) {
            due.push(*id, self.graph.node(*id)?.time);
        }
        let mut sorted = Vec::with_capacity(self.found.len());
        while let Some(id) = due.pop() {
            sorted.push(id);
            for parent in &self.states[&id].parents {
                let Some(count) = children.get_mut(parent) else { continue };
                *count -= 1;
                if *count == 0 {
                    due.push(*parent, self.graph.node(*parent)?.time);
                }
            }
        }
        Ok(sorted)
    }
}

/// Commits whose children were all told.
struct Due {
    by_time: bool,
    stack: Vec<CommitId>,
    heap: BinaryHeap<(i64, CommitId)>,
}

impl Due {
    fn push(&mut self, id: CommitId, time: i64) {
        if self.by_time { self.heap.push((time, id)) } else { self.stack.push(id) }
    }

    fn pop(&mut self) -> Option<CommitId> {
        if self.by_time { self.heap.pop().map(|(_, id)| id) } else { self.stack.pop() }
    }
}

/// The commits that are told, the first one last, with their nearest ancestors that are told too.
pub(super) fn gather(
    graph: Graph,
    spec: &HistorySpec,
    paths: Option<PathHistory>,
    is_told: &dyn Fn(&CommitId) -> Result<bool>,
    cancel: &CancelToken,
) -> Result<Vec<(CommitId, Vec<CommitId>)>> {
    let mut walk = Walk {
        graph,
        spec,
        paths,
        states: HashMap::new(),
        queue: BinaryHeap::new(),
        wanted: 0,
        found: Vec::new(),
    };
    walk.run(cancel)?;
    let mut order = match spec.order {
        Order::Time => std::mem::take(&mut walk.found),
        Order::Topological => walk.sorted(false)?,
        Order::TopologicalByTime => walk.sorted(true)?,
    };
    order.reverse();
    nearest_told(&walk.states, order, is_told)
}

/// Looks through commits that are not told to those before them. Parents come first in `order`;
/// where, in the order of time, one does not, the way through it is lost.
fn nearest_told(
    states: &HashMap<CommitId, State>,
    order: Vec<CommitId>,
    is_told: &dyn Fn(&CommitId) -> Result<bool>,
) -> Result<Vec<(CommitId, Vec<CommitId>)>> {
    let mut through: HashMap<CommitId, Vec<CommitId>> = HashMap::new();
    let known: HashSet<CommitId> = order.iter().copied().collect();
    let mut told = Vec::new();
    for id in order {
        let state = &states[&id];
        let mut nearest = Vec::with_capacity(state.parents.len());
        for parent in state.parents.iter().filter(|parent| known.contains(*parent)) {
            match through.get(parent) {
                Some(before) => nearest.extend_from_slice(before),
                None => nearest.push(*parent),
            }
        }
        let mut seen = HashSet::new();
        nearest.retain(|id| seen.insert(*id));
        if state.changed && is_told(&id)? {
            told.push((id, nearest));
        } else {
            through.insert(id, nearest);
        }
    }
    Ok(told)
}
