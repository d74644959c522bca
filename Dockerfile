# One static binary and a link, and nothing else: no shell, no libraries, no certificates, no iptables.
#
#     docker build --tag kubeweir .        compiles in the first stage
#     make image                           compiles with this machine's toolchain, and needs neither Docker nor a daemon
#
# The first has no repository to ask: `--build-arg REVISION=$(git rev-parse HEAD) --build-arg BUILD_DATE=...` (RFC 3339) say what `/version` is to say.
# `make image` replaces the first stage by a directory (`--build-context binary=...`, which docker buildx takes as well).
# The last stage, the image itself, is the same either way.

ARG RUST=1.95
FROM docker.io/library/rust:${RUST}-alpine AS binary
# What the C parts of `ring` (TLS) and build scripts are linked with.
RUN apk add --no-cache musl-dev
WORKDIR /source
COPY . .
ARG REVISION=
ARG BUILD_DATE=
RUN KUBEWEIR_GIT_COMMIT="${REVISION}" KUBEWEIR_BUILD_DATE="${BUILD_DATE}" \
    cargo build --profile release --locked --workspace --bin kubeweir --target "$(uname -m)-unknown-linux-musl" \
    && mv target/*-unknown-linux-musl/release/kubeweir /kubeweir

FROM scratch
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="kubeweir" \
      org.opencontainers.image.description="Service load balancing on Linux nodes, in place of kube-proxy: nftables and IPVS" \
      org.opencontainers.image.source="https://github.com/kubeweir/kubeweir" \
      org.opencontainers.image.documentation="https://github.com/kubeweir/kubeweir/blob/main/docs/migration.md" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=binary /kubeweir /kubeweir
# /usr/local/bin/kube-proxy, a link: what kubeadm's DaemonSet starts.
COPY image/links/ /
# The kernel's interfaces want CAP_NET_ADMIN in the effective set. A runtime gives it to user 0 only: for others a pod has no way
# to ask for ambient capabilities. All else a pod takes away (manifests/).
USER 0:0
ENTRYPOINT ["/kubeweir"]
