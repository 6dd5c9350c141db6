package client

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"time"
)

// TLS says how agents with https are known and how the panel shows itself to them.
type TLS struct {
	Roots  *x509.CertPool   // nil: the system's
	Client *tls.Certificate // nil: none
	// Pin is the hex SHA-256 of the agent's certificate. With it, that certificate is accepted
	// whoever signed it, and no other.
	Pin string
}

// ParsePin reads a pin as people write it: hex, colons and case do not matter.
func ParsePin(s string) (string, error) {
	s = strings.ToLower(strings.ReplaceAll(strings.TrimSpace(s), ":", ""))
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != sha256.Size {
		return "", errors.New("not a certificate pin: expected the SHA-256 of the certificate as 64 hex digits")
	}
	return s, nil
}

// How long a connection of HTTP/2 may be silent, and then a ping without its answer.
const (
	pingAfter   = 15 * time.Second
	pingTimeout = 10 * time.Second
)

var errPin = errors.New("the certificate is not the pinned one")

// NewTransport makes the connections for clients that share these settings.
func NewTransport(t TLS) (*http.Transport, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: t.Roots}
	if t.Client != nil {
		conf.Certificates = []tls.Certificate{*t.Client}
	}
	if t.Pin != "" {
		pin, err := ParsePin(t.Pin)
		if err != nil {
			return nil, &Error{Kind: BadSettings, Reason: "tls_pin: " + err.Error(), Err: err}
		}
		conf.InsecureSkipVerify = true // the pin says more than a name and a chain
		conf.VerifyConnection = func(s tls.ConnectionState) error {
			sum := sha256.Sum256(s.PeerCertificates[0].Raw)
			if subtle.ConstantTimeCompare([]byte(hex.EncodeToString(sum[:])), []byte(pin)) != 1 {
				return errPin
			}
			return nil
		}
	}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		TLSClientConfig:        conf,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // the signature is over the bytes as sent
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        2 * time.Minute,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		// Held requests are silent: without pings one of HTTP/2 would hang on a connection that died, and so
		// would each that comes after it on the same one.
		HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}, nil
}
