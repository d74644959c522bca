//! IPVS mode on a real kernel: the daemon in a node's namespace, packets through it, and `ipvsadm`, `ip` and `strace` as
//! witnesses. Run by `tests/guest.rs` in each guest.

mod addresses;
mod affinity;
mod counters;
mod draining;
mod foreign;
mod health_ports;
mod kernel;
mod lines;
mod listing;
mod metrics;
mod node_ports;
mod objects;
mod others;
mod requests;
mod restart;
mod schedulers;
mod spread;
mod stage;
mod text;
mod witness;
