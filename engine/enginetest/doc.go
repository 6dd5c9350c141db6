// Package enginetest is what tests of the engine, and of everything above it, stand on: a backend in
// memory that has WireGuard's semantics and fails when told to, and the one conformance suite that
// every backend passes. Package mesh beside it makes real clients.
//
// It is imported by tests alone. Fake is safe for concurrent use; RunConformance makes and closes
// its own interfaces, on ports that the system chooses.
package enginetest
