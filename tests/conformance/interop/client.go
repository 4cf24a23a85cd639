// A client of Go's net/http: `client FOLDER URL [nocert]`. It prints the protocol and the body.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	folder, url := os.Args[1], os.Args[2]
	pem, err := os.ReadFile(folder + "/ca.crt")
	fail(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	if len(os.Args) < 4 {
		pair, err := tls.LoadX509KeyPair(folder+"/tls.crt", folder+"/tls.key")
		fail(err)
		config.Certificates = []tls.Certificate{pair}
	}
	for _, http2 := range []bool{false, true} {
		transport := &http.Transport{TLSClientConfig: config.Clone(), ForceAttemptHTTP2: http2}
		if !http2 {
			transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
		}
		reply, err := (&http.Client{Transport: transport}).Get(url)
		fail(err)
		body, err := io.ReadAll(reply.Body)
		fail(err)
		fmt.Println(reply.Proto, string(body))
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
