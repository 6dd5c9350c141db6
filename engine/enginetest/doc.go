// Package enginetest is what tests of the engine, and of everything above it, stand on: a backend in
// memory that has WireGuard's semantics and fails when told to, and the one conformance suite that
// every backend passes: [NewFake] and [RunConformance]. Package network beside it makes whole networks of
// real nodes in memory, and package mesh clients of upstream's wireguard-go.
//
// It is imported by tests alone. [Fake] is safe for concurrent use; RunConformance makes and closes
// its own interfaces, on ports that the system chooses. Errors are those of engine, and [ErrInjected].
package enginetest
