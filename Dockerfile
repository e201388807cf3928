# The image: one static program, nothing else. No shell, no root, nothing to write to but the volumes.
#
#   docker build -t dockwarden .
#   docker run -v "$PWD/config:/config:ro" -p 5001:5001 dockwarden
#
# The same with a shell around it, for programs of ext_auth and ext_authz that are scripts:
#
#   docker build --target shell -t dockwarden:shell .

# Any image of Debian with Rust, make, a C compiler and python3.
ARG BUILDER=docker.io/library/rust:1-bookworm
# Any image with busybox and the certificates of public authorities; docker_auth's own image is made from this one.
ARG SHELL_BASE=docker.io/library/alpine:3
FROM ${BUILDER} AS build
WORKDIR /src
COPY . .
# What is shipped is what `make long` tests; `make test` has the same program in its place, linked like it and not optimised. The
# empty directories become the places of volumes; a new named volume takes over their owner. The licences are those of all that is
# linked into the program: they go along with every copy.
RUN make static notices && mkdir -p /image/config /image/certs /image/keys /image/licenses && \
    cp target/static/dockwarden /image/dockwarden && cp LICENSE target/static/THIRD-PARTY-NOTICES.txt /image/licenses/

FROM ${SHELL_BASE} AS shell
COPY --from=build /image/dockwarden /dockwarden
COPY --from=build /image/licenses /licenses
COPY --from=build /image/config /config
COPY --from=build --chown=65532:65532 /image/certs /certs
COPY --from=build --chown=65532:65532 /image/keys /keys
USER 65532:65532
EXPOSE 5001
HEALTHCHECK --interval=10s --timeout=6s --start-period=10s --retries=3 CMD ["/dockwarden", "health", "/config/auth_config.yml"]
ENTRYPOINT ["/dockwarden"]
CMD ["/config/auth_config.yml"]

FROM scratch
LABEL org.opencontainers.image.title="dockwarden" \
      org.opencontainers.image.description="Authorization server for private container registries" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /image/dockwarden /dockwarden
COPY --from=build /image/licenses /licenses
COPY --from=build /image/config /config
COPY --from=build --chown=65532:65532 /image/certs /certs
COPY --from=build --chown=65532:65532 /image/keys /keys
# A number, so that Kubernetes can see that it is not root; no user needs to exist.
USER 65532:65532
EXPOSE 5001
# Another file than this as the argument needs a health check of its own.
HEALTHCHECK --interval=10s --timeout=6s --start-period=10s --retries=3 CMD ["/dockwarden", "health", "/config/auth_config.yml"]
ENTRYPOINT ["/dockwarden"]
CMD ["/config/auth_config.yml"]
