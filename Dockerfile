FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=v0.1.0-dev
ARG COMMIT=unknown
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION} -X main.commit=${COMMIT}" \
        -o /out/wgfleet ./cmd/wgfleet \
    && install -d -m 0700 /out/data

FROM scratch
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
