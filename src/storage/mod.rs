//! Storage: formats, the disk edge, mechanisms, stores and the pipelines over them.

pub mod adaptive;
pub mod batch;
pub mod binary_staging;
pub mod cache;
pub mod chunker;
pub mod codec;
pub mod disk;
pub mod engine;
pub mod format;
pub mod mapped;
pub mod objects;
pub mod oplog;
pub mod pack_store;
pub mod parallel_processor;
pub mod queues;
pub mod refs;
pub mod streaming;
