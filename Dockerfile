FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS=linux
ARG TARGETARCH
ARG VERSION=v0.1.0-dev
ARG COMMIT=unknown
# As tools/release does: with the same Go, the image has the very bytes of a release.
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} go build -trimpath \
        -ldflags "-s -w -buildid= -X main.version=${VERSION} -X main.commit=${COMMIT}" -o /out/wgfleet ./cmd/wgfleet \
    && install -d -m 0700 /out/data

FROM scratch
ARG VERSION=v0.1.0-dev
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="wgfleet" \
      org.opencontainers.image.description="Keeps a fleet of WireGuard nodes as it should be: agent, panel and command line" \
      org.opencontainers.image.source="https://github.com/wgfleet/wgfleet" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build --chown=65532:65532 /out/data /var/lib/wgfleet
COPY --from=build /out/wgfleet /wgfleet
ENV WGFLEET_DATA_DIR=/var/lib/wgfleet
USER 65532:65532
VOLUME /var/lib/wgfleet
# agent, panel, WireGuard
EXPOSE 8080 10086 51820/udp
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s CMD ["/wgfleet", "health"]
ENTRYPOINT ["/wgfleet"]
CMD ["serve"]
