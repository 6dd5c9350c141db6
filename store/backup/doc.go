// Package backup is the file that a backup of the panel is: an ordered stream of records, encrypted with a passphrase.
//
// It owns the format, its reader and its writer, the rule of what a passphrase must be, and the hash that tells whether
// two sets of records are the same. It knows no store and no disk: package store fills a Writer and empties a Reader.
//
// The file is that of age (age-encryption.org/v1) with one scrypt recipient, so that `age -d` opens it as well. Inside
// come a line of JSON that says what wrote it (Header), the records by ascending key, and JSON with their number and
// their SHA-256. The hash is of the records alone, each as two big-endian 32-bit lengths, the key and the value: it
// does not change with the passphrase, the time or the program.
//
// Everything is a stream: neither side holds more than one record and one chunk of age, 64 KiB, beside the memory of
// scrypt, 128 MiB for a moment. Each chunk is authenticated before a byte of it is seen, but that the file is complete
// is known at its end only: act on nothing before Next has returned io.EOF.
//
// Errors are ErrPassphrase, ErrNotBackup, ErrDamaged and ErrNewer, each a sentence, and those of the reader or writer
// that was given, as they are. No value of a record and no passphrase ever stands in one. A Reader or Writer belongs
// to one goroutine.
package backup
