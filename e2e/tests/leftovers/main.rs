//! What kube-proxy left behind in iptables mode and in IPVS mode goes, at a start and with `--cleanup`, and nothing else does:
//! `iptables-save` and `ipset` are witnesses. The rules are in kube-proxy's shape, and they are made by the real programs. And the way back: kube-proxy takes over again.

mod back;
mod held;
mod legacy;
mod rules;
mod sets;
mod stage;
