// Package wgquick reads, edits and prints the configuration files of wg-quick(8) and wg(8).
//
// [Parse] makes a [File] of text; [File.Interface] and [File.Peers] say what it means, [File.SetInterface],
// [File.PutPeer] and [File.RemovePeer] edit it, [File.Bytes] prints it.
//
// A File keeps every byte of its input: comments, order, odd spacing, line ends, unknown keys and
// sections. Printing it gives the input back; an edit touches only the lines whose meaning changes.
// Parse is for the files of a host and takes nearly everything; the values of known keys are judged
// when they are asked for (Interface, Peers), so that one odd value does not stop the file from
// being printed. ParseStrict is for the input of "wg syncconf" and refuses what wg(8) refuses.
//
// The grammar is that of wireguard-tools (src/config.c and src/wg-quick/linux.bash): sections and
// keys in any case, '#' begins a comment, white space within the values of wg(8) means nothing, the
// last of a repeated key counts, lists add up. A hook keeps its '#', as in current wg-quick, which
// leaves comments to the shell (1.0.20210914 still cut there).
//
// A comment "# wgfleet: forward" or "# wgfleet: masquerade" in the section of the interface is a directive,
// where both may name links behind it: see [Interface.Forward]. It stands in a section as a key does, and a
// second '#' in front makes it a comment again. Those for a gateway are read by [File.Gateway].
//
// It refuses NUL bytes, and in edits every value that could begin a new line or a comment.
//
// Units: keepalive in seconds, MTU in bytes. A File is not safe for concurrent use.
//
// Errors about a file are *ParseError: one sentence with file, line and key, and never a private or
// preshared key.
package wgquick
