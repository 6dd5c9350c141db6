// Package storetest holds the one conformance suite for every implementation of store.Store.
//
// It owns what the contract means in cases: records, scans, conflicts, watches, closing, and random transactions
// against a map. It refuses to know the engine. Errors are failures of the test it is given; the stores that it asks
// for are used by many goroutines.
package storetest
