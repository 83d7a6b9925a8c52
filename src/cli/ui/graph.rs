//! The lines of history beside a list of commits, drawn as git draws them.
//!
//! Each column is a line of history that waits for its next commit. A commit takes the column that
//! waits for it; behind it its parents take that column and new ones to its right. Columns that wait
//! for the same commit are joined to the left. Children must come before their parents.

use crate::id::CommitId;

/// The columns as they are before the next commit.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    columns: Vec<CommitId>,
}

/// What is drawn for one commit. Every row has the same width.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rows {
    /// Rows before the commit's own: they make room.
    pub before: Vec<String>,
    /// The row of the commit.
    pub node: String,
    /// Rows behind it: they lead to its parents.
    pub after: Vec<String>,
    /// The row that goes on as long as there is something to print beside it.
    pub idle: String,
}

/// One row while it is drawn: columns at even places.
struct Row(Vec<char>);

impl Row {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn put(&mut self, at: usize, mark: char) {
        if self.0.len() <= at {
            self.0.resize(at + 1, ' ');
        }
        self.0[at] = mark;
    }

    fn padded(self, width: usize) -> String {
        let mut text: String = self.0.into_iter().collect();
        let have = text.chars().count();
        text.extend(std::iter::repeat_n(' ', width.saturating_sub(have)));
        text
    }
}

impl Graph {
    /// Draws the next commit. `parents` are those that will come.
    pub(crate) fn next(&mut self, id: CommitId, parents: &[CommitId]) -> Rows {
        let waiting = self.columns.iter().position(|column| *column == id);
        let at = waiting.unwrap_or(self.columns.len());
        let right = self.columns.len() - at - usize::from(waiting.is_some());
        let mut before = Vec::new();
        // An octopus is drawn to the right in its own row, so those on the right go first.
        let spare = parents.len().saturating_sub(2);
        for moved in 0..if right > 0 { spare } else { 0 } {
            let mut row = Row::new();
            (0..=at).for_each(|column| row.put(2 * column, '|'));
            (0..right).for_each(|column| row.put(2 * (at + 1 + column + moved) + 1, '\\'));
            before.push(row);
        }
        let node = node_row(at, parents.len(), right);
        let mut after = Vec::new();
        if parents.len() > 1 {
            after.push(fork_row(at, parents.len(), right));
        }
        let tail = if waiting.is_some() { at + 1 } else { at };
        let tail = self.columns.split_off(tail.min(self.columns.len()));
        self.columns.truncate(at);
        self.columns.extend_from_slice(parents);
        let vanished = parents.is_empty().then_some(at);
        self.columns.extend(tail);
        after.extend(self.join(vanished));
        let mut idle = Row::new();
        (0..self.columns.len()).for_each(|column| idle.put(2 * column, '|'));
        let wide = at + parents.len().max(1) + right;
        let width = 2 * wide.max(self.columns.len());
        let pad = |rows: Vec<Row>| rows.into_iter().map(|row| row.padded(width)).collect();
        Rows {
            before: pad(before),
            node: node.padded(width),
            after: pad(after),
            idle: idle.padded(width),
        }
    }

    /// Leads columns that wait for the same commit, and those right of a vanished one, to the left.
    fn join(&mut self, vanished: Option<usize>) -> Vec<Row> {
        let mut joined: Vec<CommitId> = Vec::with_capacity(self.columns.len());
        let mut edges = Vec::with_capacity(self.columns.len());
        for (at, id) in self.columns.iter().enumerate() {
            let from = at + usize::from(vanished.is_some_and(|gone| at >= gone));
            let to = joined.iter().position(|other| other == id).unwrap_or_else(|| {
                joined.push(*id);
                joined.len() - 1
            });
            edges.push((from, to));
        }
        self.columns = joined;
        let mut rows = Vec::new();
        while edges.iter().any(|(from, to)| from != to) {
            rows.push(step(&mut edges));
        }
        rows
    }
}

/// The commit among its neighbours; of an octopus the way to the parents behind the second.
fn node_row(at: usize, parents: usize, right: usize) -> Row {
    let mut row = Row::new();
    (0..at).for_each(|column| row.put(2 * column, '|'));
    row.put(2 * at, '*');
    let spare = parents.saturating_sub(2);
    for place in 1..2 * spare {
        row.put(2 * at + place, '-');
    }
    if spare > 0 {
        row.put(2 * (at + spare), '.');
    }
    (0..right).for_each(|column| row.put(2 * (at + 1 + spare + column), '|'));
    row
}

/// The ways to the parents of a merge; all that is on its right makes room.
fn fork_row(at: usize, parents: usize, right: usize) -> Row {
    let mut row = Row::new();
    (0..=at).for_each(|column| row.put(2 * column, '|'));
    (0..parents - 1 + right).for_each(|way| row.put(2 * (at + way) + 1, '\\'));
    row
}

/// Moves every edge one column to the left that has to go there; one that is far from its place and
/// has nothing but straight lines in its way goes along the row.
fn step(edges: &mut [(usize, usize)]) -> Row {
    let mut row = Row::new();
    let is_moving = |edge: &(usize, usize)| edge.0 > edge.1;
    let first = edges.iter().position(is_moving);
    for (number, edge) in edges.iter_mut().enumerate() {
        let (from, to) = *edge;
        if from == to {
            row.put(2 * from, '|');
            continue;
        }
        row.put(2 * from - 1, '/');
        edge.0 -= 1;
        if first == Some(number) && from - to > 2 {
            (to + 1..from - 1).for_each(|column| row.put(2 * column + 1, '_'));
            edge.0 = to + 1;
        }
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> CommitId {
        CommitId::of(name.as_bytes())
    }

    /// Draws commits given as `name: parent parent`.
    fn draw(commits: &[&str]) -> Vec<String> {
        let mut graph = Graph::default();
        let mut lines = Vec::new();
        for commit in commits {
            let (name, parents) = commit.split_once(':').unwrap();
            let parents: Vec<CommitId> = parents.split_whitespace().map(id).collect();
            let rows = graph.next(id(name), &parents);
            lines.extend(rows.before);
            lines.push(format!("{} {name}", rows.node.trim_end()));
            lines.extend(rows.after);
        }
        lines.into_iter().map(|line| line.trim_end().to_owned()).collect()
    }

    #[track_caller]
    fn assert_drawn(commits: &[&str], expected: &str) {
        assert_eq!(draw(commits).join("\n"), expected.trim_matches('\n'));
    }

    #[test]
    fn a_line_is_a_column() {
        assert_drawn(&["c: b", "b: a", "a:"], "* c\n* b\n* a");
    }

    #[test]
    fn a_branch_leaves_and_comes_back() {
        let expected = r"
* m
|\
| * t
* | b
|/
* a";
        assert_drawn(&["m: b t", "t: a", "b: a", "a:"], expected);
    }

    #[test]
    fn two_tips_join_at_their_ancestor() {
        let expected = r"
* x
| * y
|/
* a";
        assert_drawn(&["x: a", "y: a", "a:"], expected);
    }

    #[test]
    fn a_merge_makes_room_for_what_is_on_its_right() {
        let expected = r"
* x
| * y
* | m
|\ \
| * | t
|/ /
* | a
|/
* r";
        assert_drawn(&["x: m", "y: r", "m: a t", "t: a", "a: r", "r:"], expected);
    }

    #[test]
    fn an_octopus_has_arms() {
        let expected = r"
*-. o
|\ \
| | * c
| * | b
| |/
* | a
|/
* r";
        assert_drawn(&["o: a b c", "c: r", "b: r", "a: r", "r:"], expected);
        let expected = r"
* x
| * y
| |
*---. | o";
        let drawn = draw(&["x: o", "y: r", "o: a b c d"]);
        assert_eq!(drawn[..2], ["* x", "| * y"]);
        assert_eq!(drawn[2..], [r"|  \", r"|    \", "*---. | o", r"|\ \ \ \"], "{expected}");
    }

    #[test]
    fn a_far_column_goes_along_the_row() {
        let expected = r"
* p
| * q
| | * s
| | | * t
| |_|/
|/| |
* | | a";
        assert_drawn(&["p: a", "q: b", "s: c", "t: a", "a: z"], expected);
    }

    #[test]
    fn what_is_right_of_a_root_closes_up() {
        let expected = r"
* a
  * b
 /
* c";
        let drawn = draw(&["b1: b", "a1: a", "b: c", "a:", "c:"]);
        assert_eq!(drawn, ["* b1", "| * a1", "* | b", "| * a", "* c"], "{expected}");
        let drawn = draw(&["x: a", "y: b", "a:", "b:"]);
        assert_eq!(drawn, ["* x", "| * y", "* | a", " /", "* b"]);
    }
}
