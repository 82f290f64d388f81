package main

import (
	"crypto/tls"
	_ "unsafe" // For go:linkname.
)

// crypto/tls lets nobody choose among the suites of TLS 1.3; what follows is what it would offer.

//go:linkname defaultCipherSuitesTLS13 crypto/tls.defaultCipherSuitesTLS13
var defaultCipherSuitesTLS13 []uint16

//go:linkname defaultCipherSuitesTLS13NoAES crypto/tls.defaultCipherSuitesTLS13NoAES
var defaultCipherSuitesTLS13NoAES []uint16

func offerChaCha20Alone() {
	chacha20 := []uint16{tls.TLS_CHACHA20_POLY1305_SHA256}
	defaultCipherSuitesTLS13, defaultCipherSuitesTLS13NoAES = chacha20, chacha20
}
