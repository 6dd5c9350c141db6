// Package hostfile writes files of the host that belong to nobody else, whole and durably or not at all, and removes
// them for as long as nobody has changed them.
//
// It refuses to overwrite a file unless asked to replace it. Paths are those of the host; Root says where they lie. Its
// functions keep nothing between calls. Errors name the path as the host knows it.
package hostfile
