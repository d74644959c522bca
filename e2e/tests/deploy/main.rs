//! What brings kubeweir into a cluster: the overlays of `manifests`, the chart in `charts`.

mod accepted;
mod chart;
mod configuration;
mod helm;
mod objects;
mod pods;
mod refused;
mod replaced;
mod rights;
mod same;
mod server;
