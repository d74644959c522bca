//! A cluster in which there is something to tell: two Services want the same address.

/// A Node, and Services `old` and `new`, of which the older one has its address.
pub const RIVALS: &str = "
apiVersion: v1
kind: Node
metadata: {name: node-1}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Service
metadata: {name: old, namespace: shop, creationTimestamp: '2026-01-01T00:00:00Z'}
spec: {clusterIP: 10.96.0.77, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: new, namespace: shop, creationTimestamp: '2026-01-02T00:00:00Z'}
spec: {clusterIP: 10.96.0.77, ports: [{port: 80}]}
";
