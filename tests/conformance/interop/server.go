// The article's server: it requires and verifies a client certificate, and greets by the email in it.
// `server FOLDER` prints its port.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
)

func main() {
	folder := os.Args[1]
	pem, err := os.ReadFile(folder + "/ca.crt")
	fail(err)
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(pem)
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "Hello %s!", r.TLS.PeerCertificates[0].EmailAddresses[0])
		}),
		TLSConfig: &tls.Config{
			ClientCAs:  clients,
			ClientAuth: tls.RequireAndVerifyClientCert,
			MinVersion: tls.VersionTLS12,
		},
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	fail(err)
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	fail(server.ServeTLS(listener, folder+"/tls.crt", folder+"/tls.key"))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
