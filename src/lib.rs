//! Digstore: version control for data that git cannot hold.

pub mod id;
pub mod path;
pub mod storage;
