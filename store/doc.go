// Package store keeps the panel's records: sealed values under ordered keys, changed in transactions, on Badger.
//
// It owns the data folder (0700, one process at a time), the sealing of values with the master key, the schema
// version and its migrations, conflict detection, and the order in which changes are told to watchers. It refuses
// to open a folder that another process holds, that was made with another master key, or that a newer program
// wrote. It knows nothing of nodes and peers: Table gives a record type its keys and its JSON, Unique makes a
// value belong to one owner.
//
// Keys are plain text on disk, values never are: put no secret into a key. Sizes are bytes. A transaction is
// all or nothing and serializable: an Update commits only if nothing that it read has changed since it began, the
// gaps of a Scan included, and a change is on disk (fsync) when Update returns nil. It may write up to
// MaxTransaction, so that an import of 10,000 peers is one; beyond some 1,600 records of 700 B it goes through a
// journal and holds up all others for a moment.
//
// All records leave as a backup of one moment (Export) and come back as a store that is made beside the one in use and
// takes its place by names (Restore). Before a migration the folder is copied, so that there is a way back.
//
// A Store may be used by many goroutines; a Tx belongs to the one that runs the function it was given to.
//
// Errors are the ones declared here, wrapped with the key or folder; test with errors.Is. No type or error of the
// engine leaves this package, no value ever stands in an error.
package store
