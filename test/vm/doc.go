// Command vm packs the initramfs of a virtual machine whose kernel has WireGuard, for the tests that
// need one: this package's sibling init as /init, test binaries, the kernel modules in the order in
// which they must be loaded, and a list that says what to run. .ci/test-kernel boots it. Or a whole
// root file system with a process 1 of its own, for .ci/in-systemd.
//
// It refuses modules that it cannot find and dependencies that go in a ring. It starts nothing and
// writes only the file that it was told to. Its first error is one line on standard error and exit
// status 1.
package main
