use super::*;

#[test]
fn many_obstacles_are_counted_and_some_listed() {
    let mut obstacles = Obstacles::default();
    for number in 0..MAX_LISTED + 5 {
        let path = RepoPath::new(format!("f{number}")).unwrap();
        obstacles.push(path, Obstacle::Modified);
    }
    assert_eq!((obstacles.listed.len(), obstacles.more), (MAX_LISTED, 5));
    let text = obstacles.to_string();
    assert!(text.starts_with("'f0' (changed in the work tree), 'f1'"));
    assert!(text.ends_with(" and 5 more"));
}
