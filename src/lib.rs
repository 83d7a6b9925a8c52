//! Digstore: version control for data that git cannot hold.
//!
//! The binary is `main.rs`, which calls [`cli::run`]; this library exists so that tests and benches
//! can call in. A module uses its own layer and the layers above it (`tests/architecture.rs` holds
//! that):
//!
//! | layer | modules |
//! |---|---|
//! | vocabulary | [`id`], [`path`], [`date`], `suggest`, [`config`], [`progress`], [`metrics`] |
//! | bytes and disk | [`storage::format`], [`storage::mapped`], [`storage::disk`] |
//! | mechanisms | [`storage::cache`], [`storage::chunker`], [`storage::codec`], [`storage::adaptive`], [`storage::queues`] |
//! | stores | [`storage::pack_store`], [`storage::objects`], [`storage::binary_staging`], [`storage::refs`] |
//! | pipelines | [`storage::engine`], [`storage::streaming`], [`storage::batch`] |
//! | runs | [`storage::parallel_processor`] |
//! | version control | [`repo`] |
//! | terminal | [`cli`] |

pub mod cli;
pub mod config;
pub mod date;
pub mod id;
pub mod metrics;
pub mod path;
pub mod progress;
pub mod repo;
pub mod storage;
mod suggest;
