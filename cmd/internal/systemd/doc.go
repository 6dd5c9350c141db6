// Package systemd asks systemd for units and changes them, over D-Bus (org.freedesktop.systemd1(5)), and reads and writes the
// files of EnvironmentFile= (systemd.exec(5)).
//
// It owns the connection and the waiting for jobs; it refuses a host that was not booted with systemd. To stop or to
// disable what is not there is no error. A Bus is safe for concurrent use. Errors name the unit, and the command
// that tells more where systemd gives no reason.
package systemd
