package server

import "github.com/wgfleet/wgfleet/agent"

// difference is one way in which our agent answers otherwise than the original, on purpose.
type difference struct {
	names  string // of the exchanges, separated by spaces
	why    string
	status int
	code   agent.Code
	has    string // what the answer holds; of a .state line: the hooks that ran, and whether it is up
	device string // what the device holds
	as     string // the exchange whose recorded answer it is
}

// baseDevice is the recorded interface as wg(8) dumps it.
const baseDevice = recordedKey + "\tX9uvq988mTu2UCG98Gz2ZTT8LS1xv9SzJPYhvko1mEQ=\t51820\toff"

// Hooks that ran during a PUT config, and whether the interface is up in the end.
const (
	hooksNone   = "[postup-wg0] true"
	hooksReload = "[postup-new-wg0 postup-wg0 predown-wg0] true"
)

var differ = []difference{
	// Signatures and routing.
	{
		names: "auth.nonascii_signature auth.body_nonutf8_bad_signature", status: 401, code: agent.CodeSignature,
		why: "a wrong signature is 401, not an error of the server",
	},
	{
		names: "auth.body_nonutf8 add.body_utf16", status: 400, code: agent.CodeMalformed,
		why: "a body that is no UTF-8 is 400, not an error of the server",
	},
	{
		names: "auth.signature_surrounding_spaces", status: 200, as: "auth.ok",
		why: "white space around a header's value does not belong to it (RFC 9110)",
	},
	{
		names: "auth.path_percent_encoded_signed_raw", status: 200, as: "auth.path_percent_encoded_signed_decoded",
		why: "the path may be signed as it was sent or decoded: the original's client and server do not agree",
	},
	{
		names:  "auth.path_percent_question_mark auth.path_percent_hash auth.path_unicode_percent dump.iface_newline dump.iface_tab",
		why:    "the signed path is not cut at a decoded ? or # and loses no control characters: the name is judged, and is none",
		status: 404, code: agent.CodeUnknownInterface,
	},
	{
		names:  "auth.path_percent_question_mark_signed_truncated auth.path_percent_hash_signed_truncated auth.path_nonutf8_percent auth.path_percent_newline_signed_stripped auth.path_percent_tab_signed_stripped config.put_iface_newline_signed_stripped",
		why:    "another path than the one in the request was signed",
		status: 401, code: agent.CodeSignature,
	},
	{
		names: "auth.path_invalid_percent", status: 400, has: "400 Bad Request",
		why: "a target with a broken percent sign is no request",
	},
	{
		names: "auth.host_question_health auth.host_hash_metrics auth.no_host_header", status: 400, has: "Host header",
		why: "a missing or malformed Host header is refused before anything is looked at (RFC 9112)",
	},
	{names: "auth.big_header_200k", status: 431, why: "the status for this exists (RFC 6585)"},
	{
		names: "health.trailing_slash_unsigned health.trailing_slash_signed", status: 200, as: "health.ok",
		why: "a trailing slash means nothing, and nothing redirects",
	},
	{
		names: "metrics.trailing_slash", status: 200, as: "metrics.two_peers",
		why: "a trailing slash means nothing, and nothing redirects",
	},
	{
		names: "status.trailing_slash", status: 200, as: "status.ok_two_peers",
		why: "a trailing slash means nothing, and nothing redirects",
	},
	{
		names: "route.dump_trailing_slash route.dump_trailing_slash_query", status: 200, as: "auth.ok",
		why: "a trailing slash means nothing, and nothing redirects",
	},
	{
		names: "route.peers_trailing_slash", status: 200, device: plainPeer2 + "\t(none)\t(none)\t(none)",
		why: "a trailing slash means nothing, and nothing redirects",
	},
	{
		names: "route.peer_trailing_slash", status: 200, device: baseDevice,
		why: "a trailing slash means nothing, and nothing redirects",
	},
	{names: "route.two_trailing_slashes", status: 404, code: agent.CodeNotFound, why: "an empty segment names nothing"},
	{
		names: "route.dump_FOO route.lowercase_method_get", status: 405, code: agent.CodeMethod,
		why: "an unknown method is 405 like any other",
	},
	{names: "route.old_example_agent_path", status: 200, has: `"interface":"wg0"`, why: "the paths of the example agent work"},
	{names: "route.interface_list route.interface_list_slash", status: 200, has: `"interfaces":[`, why: "new: the list of interfaces"},
	{
		names: "route.docs_signed route.redoc_signed route.openapi.json_signed route.docs_oauth2-redirect_signed",
		why:   "the framework's own pages are not part of the API", status: 404, code: agent.CodeNotFound,
	},
	{
		names: "add.negative_content_length add.two_content_lengths add.garbage_request_line add.tls_client_hello",
		why:   "the text for what is no HTTP is the server's own", status: 400, has: "400 Bad Request",
	},
	{names: "add.short_content_length", status: 401, code: agent.CodeSignature, why: "the body is what Content-Length says, and was not signed"},
	{names: "add.content_length_and_chunked", status: 200, as: "add.chunked", why: "Transfer-Encoding overrides Content-Length (RFC 9112)"},

	// Dump.
	{names: "dump.all_kinds", status: 200, has: `"allowed_ips":[]`, why: "a peer without allowed IPs has none, and not one that is called (none)"},
	{
		names: "dump.unknown_interface dump.iface_dotdot_raw dump.iface_dotdot_encoded dump.iface_space dump.iface_plus dump.iface_16_chars dump.iface_15_chars dump.iface_300_chars " +
			"dump.iface_semicolon dump.iface_nul dump.iface_all dump.iface_interfaces dump.iface_dash_h dump.iface_dash_dash_help dump.iface_help dump.iface_loopback dump.iface_unicode " +
			"dump.iface_backslash dump.iface_percent dump.iface_dot_conf dump.iface_uppercase add.iface_unknown add.iface_dotdot add.iface_space add.iface_16_chars add.iface_dash_h add.iface_all " +
			"add.iface_loopback syncconf.unknown_interface syncconf.iface_dotdot disable.all disable.interfaces disable.nul",
		why: "an unknown interface, or a name that none can have, is 404", status: 404, code: agent.CodeUnknownInterface,
	},
	{
		names: "disable.unknown disable.dotdot disable.space", status: 404, code: agent.CodeUnknownInterface,
		why: "what does not exist is not already down",
	},
	{
		names: "config.get_unknown config.get_dotdot config.get_space config.get_nul config.get_long", status: 404, code: agent.CodeUnknownInterface,
		why: "404 as well; the folder is another here, or the name is judged",
	},

	// Peers.
	{names: "add.duplicate_keepalive_0", status: 200, device: plainPeer2 + "\t" + recordedPSK + "\t(none)\t10.8.0.33/32\ths\trx\ttx\toff", why: "0 clears"},
	{names: "add.duplicate_empty_ips", status: 200, device: plainPeer2 + "\t" + recordedPSK + "\t(none)\t(none)", why: "[] clears"},
	{names: "add.duplicate_empty_psk", status: 200, device: plainPeer2 + "\t(none)\t(none)\t10.8.0.33/32", why: `"" clears`},
	{
		names: "add.ips_stolen_from_other_peer syncconf.duplicate_ips add.ips_20000", status: 409, code: agent.CodeAllowedIPTaken,
		why: "a prefix is not taken from another peer silently",
	},
	{
		names: "add.ips_mask_33 add.ips_mask_129 add.ips_mask_neg add.ips_mask_text add.ips_mask_empty add.ips_dotted_mask add.ips_hostname add.ips_garbage add.ips_short_ipv4 add.ips_octal " +
			"add.ips_one_good_one_bad add.ips_plus_prefix add.ips_minus_prefix add.psk_short add.psk_not_base64 add.psk_43_chars add.psk_leading_space add.psk_two_lines " +
			"add.key_empty add.key_short add.key_43_chars add.key_45_chars add.key_no_padding_44 add.key_not_base64 add.key_urlsafe add.key_noncanonical_bits add.key_hex add.key_leading_space " +
			"add.key_trailing_newline add.key_nul add.key_unicode add.key_lone_surrogate add.key_remove_word add.key_dash add.key_5000_chars",
		why: "a wrong value is the caller's mistake, not the server's", status: 422, code: agent.CodeInvalidField,
	},
	{
		names: "add.keepalive_65536 add.keepalive_minus_1 add.keepalive_huge", status: 422, code: agent.CodeInvalidField,
		why: "the peer is not made with the rest of what was asked for",
	},
	{
		names: "add.key_all_zero add.key_own_interface", status: 422, code: agent.CodeInvalidField,
		why: "WireGuard drops such a peer without a word",
	},
	{
		names: "add.psk_number syncconf.number syncconf.list config.put_private_key_number", status: 422, code: agent.CodeInvalidField,
		has: `"input":null`, why: "what may be a secret is not echoed",
	},
	{
		names: "add.body_string add.content_type_text_plain add.content_type_form add.content_type_xml", status: 422, code: agent.CodeInvalidField,
		has: `"input":null`, why: "a whole body as text may hold secrets and is not echoed",
	},
	{
		names: "add.body_truncated_json add.body_trailing_garbage add.body_single_quotes add.body_comment syncconf.bad_json config.put_bad_json add.body_nan add.body_deep_nesting",
		why:   "what is no JSON is 400", status: 400, code: agent.CodeMalformed,
	},
	{
		names: "add.body_50mb_unknown_field add.body_50mb_bad_signature", status: 413, code: agent.CodeTooLarge,
		why: "bodies are limited, and not read beyond the limit",
	},
	{
		names: "add.conf_file_missing", status: 200, device: "10.8.0.2/32",
		why: "the data folder keeps the change; an interface without a file gets none",
	},
	{
		names: "syncconf.conf_missing", status: 200, device: plainPeer2,
		why: "the data folder keeps the change; an interface without a file gets none",
	},

	// Syncconf.
	{names: "syncconf.peers_only_as_documented syncconf.interface_without_port", status: 200, device: baseDevice, why: "the interface's identity is left alone"},
	{
		names: "syncconf.empty_config syncconf.whitespace_only syncconf.interface_only syncconf.unicode_comment syncconf.b64_newlines syncconf.b64_empty",
		why:   "to remove all peers needs allow_empty", status: 409, code: agent.CodeEmpty,
	},
	{names: "syncconf.keepalive_dropped", status: 200, device: plainPeer1 + "\t(none)\t(none)\t10.8.0.2/32\ths\trx\ttx\toff", why: "a key that is left out means none"},
	{names: "syncconf.psk_dropped", status: 200, device: plainPeer1 + "\t(none)\t(none)\t10.8.0.2/32\ths\trx\ttx\toff", why: "a key that is left out means none"},
	{names: "syncconf.psk_changed", status: 200, device: "\t(none)\t10.8.0.2/32\ths\trx\ttx\toff", why: "a key that is left out means none"},
	{names: "syncconf.endpoint_dropped", status: 200, device: "\t192.0.2.1:9\t10.8.0.2/32\ths\trx\ttx\toff", why: "a key that is left out means none; the endpoint stays, as in wg(8)"},
	{names: "syncconf.ips_swapped_between_peers", status: 200, device: plainPeer1 + "\t(none)\t(none)\t10.8.0.3/32\ths\trx\ttx\toff", why: "a key that is left out means none"},
	{names: "syncconf.endpoint_name", status: 200, device: "\t127.0.0.1:9\t", why: "localhost is its IPv4 address in this test"},
	{
		names: "syncconf.invalid_key syncconf.invalid_ips syncconf.invalid_then_nothing_applied syncconf.wgquick_keys_in_interface syncconf.unknown_key syncconf.peer_without_key syncconf.empty_allowedips " +
			"syncconf.endpoint_unresolvable syncconf.keepalive_65536 syncconf.garbage_text syncconf.nonutf8_content syncconf.b64_garbage syncconf.b64_bad_padding syncconf.b64_one_char syncconf.b64_unicode syncconf.plain_text_config",
		why: "a wrong value is the caller's mistake, not the server's", status: 422, code: agent.CodeInvalidField,
	},
	{names: "syncconf.own_key_as_peer", status: 422, code: agent.CodeInvalidField, why: "WireGuard drops such a peer without a word"},
	{names: "syncconf.nul_byte syncconf.b64_urlsafe", status: 422, code: agent.CodeInvalidField, why: "what is no configuration does not wipe the interface"},
	{names: "syncconf.interface_down", status: 409, code: agent.CodeInterfaceDown, why: "the interface exists and is down"},

	// Config.
	{names: "config.get_two_addresses", status: 200, has: `"address":"10.8.0.1/24, fd00:8::1/64"`, why: "lines of Address add up"},
	{names: "config.get_inline_comment_port", status: 200, has: `"listen_port":51820`, why: "a comment is no part of the value"},
	{names: "config.get_bad_mtu", status: 200, has: `"mtu":null`, why: "what can't be read hides nothing else"},
	{names: "config.get_nonutf8", status: 200, has: `"listen_port":51820`, why: "what can't be read hides nothing else"},
	{names: "config.get_crlf", status: 200, has: `\r\n`, why: "raw_config is the file as it is"},
	{names: "config.get_spaces_in_section", status: 200, has: `"listen_port":51820`, why: "wg(8) takes spaces there"},
	{
		names: "config.put_full config.put_port_string config.put_mtu_0 config.put_two_addresses config.put_table_off config.put_same_again",
		why:   "peers that were added at run time stay", status: 200, has: `"reloaded":true`, device: plainPeer2 + "\t(none)\t(none)\t10.8.0.3/32",
	},
	{names: "config.put_port_0", status: 200, has: `"reloaded":true`, device: plainPeer2, why: "peers that were added at run time stay"},
	{
		names: "config.put_rich_old_conf", status: 200, has: `"reloaded":true`, device: "10.8.0.40/32",
		why: "a section in lower case is a peer like any other",
	},
	{names: "config.put_no_conf_file_but_up", status: 200, has: `"reloaded":true`, device: plainPeer1, why: "the peers of the device are kept"},
	{names: "config.put_unknown_fields", status: 200, device: "\t51821\t0x5", why: "fwmark is a field"},
	{
		names: "config.put_full.state config.put_port_0.state config.put_port_string.state config.put_mtu_0.state config.put_two_addresses.state config.put_table_off.state config.put_unknown_fields.state config.put_same_again.state",
		why:   "the old hooks take the interface down, not the new ones", has: hooksReload,
	},
	{
		names: "config.put_rich_old_conf.state", has: "[postdown-old postup-new-wg0 postup-second postup-wg0 predown-wg0] true",
		why: "the old hooks take the interface down, PostDown included",
	},
	{
		names: "config.put_minimal config.put_missing_private_key config.put_empty_object", status: 200, has: `"reloaded":false`,
		why: "what is not given stays as it is, and nothing else was asked for",
	},
	{
		names: "config.put_private_key_null", status: 200, has: `"reloaded":true`, device: recordedKey,
		why: "null leaves the private key as it is",
	},
	{names: "config.put_private_key_null.state", has: hooksReload, why: "null leaves the private key as it is"},
	{names: "config.put_dns_without_resolvconf", status: 200, has: `"reloaded":true`, why: "DNS is not set up by this test's host, and does not fail"},
	{names: "config.put_dns_without_resolvconf.state", has: hooksReload, why: "DNS is not set up by this test's host, and does not fail"},
	{
		names: "config.put_bad_private_key config.put_empty_private_key config.put_bad_address config.put_port_negative config.put_port_70000 config.put_mtu_1 config.put_mtu_99999 " +
			"config.put_newline_injection config.put_section_injection config.put_no_conf_file_bad_key",
		why: "everything is checked before anything is done: the interface stays up as it was", status: 422, code: agent.CodeInvalidField,
	},
	{
		names: "config.put_bad_private_key.state config.put_empty_private_key.state config.put_bad_address.state config.put_port_negative.state config.put_port_70000.state config.put_mtu_1.state config.put_mtu_99999.state " +
			"config.put_newline_injection.state config.put_section_injection.state",
		why: "everything is checked before anything is done: no hook runs", has: hooksNone,
	},
	{names: "config.put_failing_post_up", status: 500, code: agent.CodeInternal, has: "put back as it was", why: "the interface comes up again as it was"},
	{names: "config.put_failing_post_up.state", has: "[postup-wg0 predown-wg0] true", why: "the interface comes up again as it was"},
	{names: "config.put_failing_pre_down", status: 200, has: `"reloaded":true`, why: "the new PreDown does not run before it is in effect"},
	{names: "config.put_failing_pre_down.state", has: hooksReload, why: "the new PreDown does not run before it is in effect"},
	{
		names: "config.put_iface_dotdot config.put_iface_16_chars config.put_iface_space config.put_iface_newline config.put_iface_nul config.put_iface_300_chars config.put_iface_dash config.put_iface_backslash",
		why:   "names are judged before they name a file", status: 422, code: agent.CodeInvalidField,
	},

	// Disable.
	{names: "disable.failing_pre_down", status: 500, code: agent.CodeInternal, has: "PreDown hook", why: "the text is ours"},
	{names: "disable.failing_post_down", status: 200, as: "disable.ok", device: "no interface", why: "the interface is down, as was asked; the hook's failure is logged"},
	{names: "disable.up_without_conf", status: 200, as: "disable.ok", device: "no interface", why: "an interface can be taken down without its file"},
}
