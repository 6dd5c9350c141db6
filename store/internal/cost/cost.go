// Package cost is what it costs to try one passphrase of a backup.
//
// It owns scrypt's work factor, one number for the whole process: package backup reads it whenever it writes a backup, and
// only package backuptest sets it, before the tests of a package begin. Where it stands, only rooms of the store can import
// it, so that no setting and no mistake makes a real backup cheap. It returns no errors, and is not safe to set while
// anybody writes a backup.
package cost

// WorkFactor is scrypt's N as a power of two: 128 MiB and some 0.3 s for each guess, what OWASP asks for. age's own
// 18 takes 256 MiB for each backup, in a process that may carry a node's traffic on a small machine.
var WorkFactor = 17
