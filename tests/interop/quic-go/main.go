// A client of the interop tests on quic-go: reads a task from standard input, writes a report to
// standard output. Both are described in tests/tests/interop/task.rs.
package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/qlog"
	"github.com/quic-go/quic-go/qlogwriter"
)

type task struct {
	Address    string  `json:"address"`
	ServerName string  `json:"server_name"`
	Authority  string  `json:"authority"`
	Fresh      bool    `json:"fresh"`
	ChaCha20   bool    `json:"chacha20"`
	Visits     []visit `json:"visits"`
}

type visit struct {
	Paths     []string `json:"paths"`
	EarlyData bool     `json:"early_data"`
	KeyUpdate bool     `json:"key_update"`
}

type visited struct {
	Files      []file  `json:"files"`
	Error      *string `json:"error"`
	Resumed    *bool   `json:"resumed"`
	EarlyData  *bool   `json:"early_data"`
	Retry      *bool   `json:"retry"`
	Cipher     *string `json:"cipher"`
	KeyUpdates *int    `json:"key_updates"`
}

type file struct {
	Path   string `json:"path"`
	Status int    `json:"status"`
	Length int64  `json:"length"`
	SHA256 string `json:"sha256"`
}

const idleTimeout = 180 * time.Second

func main() {
	var asked task
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		fail(err)
	}
	pem, err := os.ReadFile(asked.Authority)
	if err != nil {
		fail(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	if asked.ChaCha20 {
		offerChaCha20Alone()
	}
	shared := &tls.Config{
		RootCAs:            roots,
		ServerName:         asked.ServerName,
		NextProtos:         []string{http3.NextProtoH3},
		ClientSessionCache: tls.NewLRUClientSessionCache(100),
	}
	report := make([]visited, len(asked.Visits))
	if asked.Fresh {
		shared.ClientSessionCache = nil
	}
	for i := range asked.Visits {
		report[i] = visitOnce(asked, asked.Visits[i], shared)
	}
	if err := json.NewEncoder(os.Stdout).Encode(map[string]any{"visits": report}); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func visitOnce(asked task, one visit, shared *tls.Config) visited {
	seen := &watcher{}
	config := &quic.Config{
		MaxIdleTimeout:       idleTimeout,
		HandshakeIdleTimeout: idleTimeout,
		Tracer: func(context.Context, bool, quic.ConnectionID) qlogwriter.Trace {
			return seen
		},
	}
	told := visited{Files: []file{}}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	dial := quic.DialAddr
	method := http.MethodGet
	if one.EarlyData {
		dial = quic.DialAddrEarly
		method = http3.MethodGet0RTT
	}
	connection, err := dial(ctx, asked.Address, shared, config)
	if err != nil {
		return told.failed(err)
	}
	transport := &http3.Transport{DisableCompression: true}
	client := transport.NewClientConn(connection)
	told.Files = make([]file, len(one.Paths))
	fetch := func(i int) error {
		var err error
		told.Files[i], err = get(ctx, client, method, asked.ServerName, one.Paths[i])
		return err
	}
	if one.KeyUpdate {
		// quic-go updates its keys by itself, the first time after 100 packets.
		for i := range one.Paths {
			if err := fetch(i); err != nil {
				return told.failed(err)
			}
		}
	} else {
		errs := make(chan error, len(one.Paths))
		for i := range one.Paths {
			go func() { errs <- fetch(i) }()
		}
		for range one.Paths {
			if err := <-errs; err != nil {
				return told.failed(err)
			}
		}
	}
	// With 0-RTT the answers may be here before that.
	<-connection.HandshakeComplete()
	state := connection.ConnectionState()
	resumed, early := state.TLS.DidResume, state.Used0RTT
	cipher := tls.CipherSuiteName(state.TLS.CipherSuite)
	told.Resumed, told.EarlyData, told.Cipher = &resumed, &early, &cipher
	retry, updates := seen.facts()
	told.Retry, told.KeyUpdates = &retry, &updates
	if err := client.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), ""); err != nil {
		return told.failed(err)
	}
	return told
}

func (v visited) failed(err error) visited {
	text := err.Error()
	v.Error = &text
	return v
}

func get(ctx context.Context, client *http3.ClientConn, method, host, path string) (file, error) {
	request, err := http.NewRequestWithContext(ctx, method, "https://"+host+path, nil)
	if err != nil {
		return file{}, err
	}
	response, err := client.RoundTrip(request)
	if err != nil {
		return file{}, err
	}
	defer response.Body.Close()
	hash := sha256.New()
	length, err := io.Copy(hash, response.Body)
	if err != nil {
		return file{}, err
	}
	sum := hex.EncodeToString(hash.Sum(nil))
	return file{Path: path, Status: response.StatusCode, Length: length, SHA256: sum}, nil
}

// watcher counts what quic-go tells in its qlog and nowhere else.
type watcher struct {
	mutex   sync.Mutex
	retry   bool
	updates int
}

func (w *watcher) AddProducer() qlogwriter.Recorder { return w }
func (w *watcher) SupportsSchemas(string) bool      { return true }
func (w *watcher) Close() error                     { return nil }

func (w *watcher) RecordEvent(event qlogwriter.Event) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	switch event := event.(type) {
	case qlog.PacketReceived:
		w.retry = w.retry || event.Header.PacketType == qlog.PacketTypeRetry
	case qlog.KeyUpdated:
		if event.KeyType == qlog.KeyTypeClient1RTT && event.Trigger != qlog.KeyUpdateTLS {
			w.updates++
		}
	}
}

func (w *watcher) facts() (bool, int) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.retry, w.updates
}
