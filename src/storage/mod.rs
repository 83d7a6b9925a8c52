//! Storage: formats, the disk edge, mechanisms, stores and the pipelines over them.

pub mod disk;
pub mod format;
