package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// Patience is how long an answer may take; then it counts as missing.
const Patience = 20 * time.Second

// connectionsAnAddress stays far below the ports that a loopback address has for one destination.
const connectionsAnAddress = 5000

// Client makes connections to one server, each of which verifies it and presents the same certificate.
type Client struct {
	config *tls.Config
	port   int
	http2  bool
	made   atomic.Int64
	facts  atomic.Value
}

// NewClient reads a credential folder.
func NewClient(credential string, port int, http2 bool) (*Client, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(credential, "tls.crt"), filepath.Join(credential, "tls.key"))
	if err != nil {
		return nil, err
	}
	authority, err := os.ReadFile(filepath.Join(credential, "ca.crt"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authority) {
		return nil, errors.New("ca.crt holds no certificate")
	}
	alpn := "http/1.1"
	if http2 {
		alpn = "h2"
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{pair},
		RootCAs:      pool,
		ServerName:   "localhost",
		MinVersion:   tls.VersionTLS13, // no session cache: every handshake is a full one
		NextProtos:   []string{alpn},
	}
	return &Client{config: config, port: port, http2: http2}, nil
}

// Connect makes a connection and shakes hands.
func (client *Client) Connect(ctx context.Context) (net.Conn, error) {
	number := client.made.Add(1)
	local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+number/connectionsAnAddress%200))}
	dialer := net.Dialer{Timeout: Patience, LocalAddr: local}
	raw, err := dialer.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", client.port))
	if err != nil {
		return nil, err
	}
	connection := tls.Client(raw, client.config)
	if err := connection.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, fmt.Errorf("handshake: %w", err)
	}
	state := connection.ConnectionState()
	// Who knows HTTP/1.1 alone may leave ALPN out.
	if state.NegotiatedProtocol != client.config.NextProtos[0] && (client.http2 || state.NegotiatedProtocol != "") {
		connection.Close()
		return nil, fmt.Errorf("ALPN chose %q", state.NegotiatedProtocol)
	}
	client.facts.Store(tls.CipherSuiteName(state.CipherSuite))
	return connection, nil
}

// Facts is what the last handshake chose.
func (client *Client) Facts() string {
	facts, _ := client.facts.Load().(string)
	return facts
}

// Session is one connection that stays open: a second one in its place is an error, since the server ended the first.
type Session struct {
	transport *http.Transport
	dials     atomic.Int64
}

// NewSession connects with its first request.
func (client *Client) NewSession() *Session {
	session := &Session{}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		if session.dials.Add(1) > 1 {
			return nil, errors.New("the server ended a connection")
		}
		return client.Connect(ctx)
	}
	session.transport = &http.Transport{
		DialTLSContext:     dial,
		TLSClientConfig:    client.config,
		ForceAttemptHTTP2:  client.http2,
		DisableCompression: true,
		MaxConnsPerHost:    1,
		IdleConnTimeout:    0,
		WriteBufferSize:    64 << 10,
		ReadBufferSize:     16 << 10,
	}
	return session
}

// Close ends the connection.
func (session *Session) Close() { session.transport.CloseIdleConnections() }
