// What Go's net/http does with the same certificates: the caller's email is in the greeting, as in ours.
//
//	gonet PORT CREDENTIAL
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

var block = []byte(strings.Repeat("0123456789abcdefghijklmnopqrstuvwxyz", 1820))

const download = 10_000_000

func hello(w http.ResponseWriter, r *http.Request) {
	body := "Hello " + r.TLS.PeerCertificates[0].EmailAddresses[0] + "!"
	w.Header()["Content-Type"] = []string{"text/plain; charset=utf-8"}
	io.WriteString(w, body)
}

func send(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", fmt.Sprint(download))
	for left := download; left > 0; left -= len(block) {
		if left < len(block) {
			w.Write(block[:left])
			return
		}
		w.Write(block)
	}
}

func take(w http.ResponseWriter, r *http.Request) {
	count, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r.Body, make([]byte, 64<<10))
	if err != nil {
		panic(err)
	}
	fmt.Fprint(w, count)
}

func main() {
	port, folder := os.Args[1], os.Args[2]
	authority, err := os.ReadFile(filepath.Join(folder, "ca.crt"))
	if err != nil {
		log.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	routes := http.NewServeMux()
	routes.HandleFunc("/", hello)
	routes.HandleFunc("/download", send)
	routes.HandleFunc("/upload", take)
	server := &http.Server{
		Addr:    "127.0.0.1:" + port,
		Handler: routes,
		TLSConfig: &tls.Config{
			ClientAuth:             tls.RequireAndVerifyClientCert,
			ClientCAs:              pool,
			MinVersion:             tls.VersionTLS12,
			SessionTicketsDisabled: true,
		},
	}
	log.Fatal(server.ListenAndServeTLS(filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key")))
}
