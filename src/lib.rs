//! Digstore: version control for data that git cannot hold.

pub mod cli;
pub mod config;
pub mod id;
pub mod metrics;
pub mod path;
pub mod progress;
pub mod repo;
pub mod storage;
mod suggest;
