// The article's server: it demands a certificate, trusts one and nothing else, and greets by the email in it.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
)

func hello(w http.ResponseWriter, req *http.Request) {
	fmt.Fprintf(w, "Hello %v!\n", req.TLS.PeerCertificates[0].EmailAddresses[0])
}

func main() {
	pem, err := os.ReadFile("cert.pem")
	if err != nil {
		log.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		log.Fatal("no certificate in cert.pem")
	}
	config := &tls.Config{
		ClientAuth:               tls.RequireAndVerifyClientCert, // nobody without a certificate that verifies
		ClientCAs:                pool,                           // and verified by ours alone
		MinVersion:               tls.VersionTLS12,
		MaxVersion:               tls.VersionTLS12, // of 1.3 the suites cannot be chosen
		CipherSuites:             []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384},
		PreferServerCipherSuites: true,
		CurvePreferences:         []tls.CurveID{tls.CurveP521},
	}
	server := &http.Server{TLSConfig: config, TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}}
	if len(os.Args) > 1 && os.Args[1] == "today" { // Go's own choice: TLS 1.3, HTTP/2
		config.MaxVersion, config.CipherSuites, config.CurvePreferences, server.TLSNextProto = 0, nil, nil, nil
	}
	listener, err := net.Listen("tcp", "localhost:8444")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on https://localhost:8444")
	http.HandleFunc("/", hello)
	log.Fatal(server.ServeTLS(listener, "cert.pem", "key.pem"))
}
