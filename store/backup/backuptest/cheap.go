// Package backuptest makes backups cheap in tests, where each would take 0.3 s, and seconds under the race detector.
//
// It owns no more than that, and refuses to be part of the product: only tests import it, which a test of the rooms holds.
// What is written so is a backup like any other, but that its passphrase can be guessed fast. It returns no errors.
package backuptest

import "github.com/wgfleet/wgfleet/store/internal/cost"

// cheap is scrypt's N as a power of two: 16 KiB, and no time.
const cheap = 4

// Cheap makes all backups cheap that this process writes from now on. It is for TestMain: nobody may be writing one.
func Cheap() { cost.WorkFactor = cheap }
