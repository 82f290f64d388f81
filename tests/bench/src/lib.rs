//! Measures Tidegate beside other gateways on one machine: each server alone on one core, the
//! upstream and the load on the other. What is compared is the CPU time that a server
//! takes for a unit of work, because that depends least on the load's own speed.

pub mod client;
pub mod load;
pub mod process;
pub mod report;
pub mod scenario;
pub mod server;
