// Package offload does on packets what a network card does for a host: it cuts what the kernel hands to a TUN in one piece (TSO, USO)
// into the segments that it stands for, and finishes the checksums that were left to the card. All of it is pure work on
// bytes.
//
// It owns no buffer and keeps none. It refuses a header that does not fit its packet with ErrMalformed: the kernel makes no
// such one, and nothing of it is written then. Units: bytes. A Cutter is used by one goroutine at a time.
package offload
