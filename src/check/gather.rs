//! Facts for the judgements: what is read of this machine, and asked of the network. Nothing is
//! changed, and nothing is kept open.

pub mod host;
pub mod network;
pub mod ports;
pub mod program;
pub mod proxy;
pub mod running;
pub mod service;
pub mod storage;
