package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// Ask is a request, and what the answer to it has to be.
type Ask struct {
	Path     string
	Expect   string
	Upload   int64
	Download int64
	Message  []byte
	Reply    []byte
	Replies  int
}

// block is what bodies are made of: as long as no period of it is a power of two, a piece out of place is seen.
var block = bytes.Repeat([]byte("0123456789abcdefghijklmnopqrstuvwxyz"), 1820)

// hexBytes is a flag.
type hexBytes struct{ to *[]byte }

func (flag hexBytes) String() string { return "" }
func (flag hexBytes) Set(text string) (err error) {
	*flag.to, err = hex.DecodeString(text)
	return err
}

// Unit is what one answer counts: its bytes or messages, or 1.
func (ask *Ask) Unit() int64 {
	for _, many := range []int64{ask.Upload, ask.Download, int64(ask.Replies)} {
		if many > 1 {
			return many
		}
	}
	return 1
}

// Request makes it; net/http takes one apart, so each is a new one.
func (ask *Ask) Request(ctx context.Context) *http.Request {
	target := &url.URL{Scheme: "https", Host: "localhost", Path: ask.Path}
	request := (&http.Request{Method: http.MethodGet, URL: target, Host: "localhost", Header: http.Header{}}).WithContext(ctx)
	request.Proto, request.ProtoMajor, request.ProtoMinor = "HTTP/1.1", 1, 1
	switch {
	case ask.Replies > 0:
		request.Method = http.MethodPost
		request.Header["Content-Type"] = []string{"application/grpc"}
		request.Header["Te"] = []string{"trailers"}
		framed := framed(ask.Message)
		request.ContentLength, request.Body = int64(len(framed)), io.NopCloser(bytes.NewReader(framed))
	case ask.Upload > 0:
		request.Method = http.MethodPost
		request.ContentLength, request.Body = ask.Upload, io.NopCloser(&pattern{left: ask.Upload})
	}
	return request
}

// Check reads the answer to its end, and says what is wrong with it. `scratch` is a buffer to read with.
func (ask *Ask) Check(response *http.Response, scratch []byte) error {
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	if ask.Download > 0 {
		return ask.checkDownload(response.Body, scratch)
	}
	if ask.Replies > 0 {
		return ask.checkReplies(response, scratch)
	}
	if response.ContentLength != int64(len(ask.Expect)) {
		return fmt.Errorf("content-length %d", response.ContentLength)
	}
	return match(response.Body, []byte(ask.Expect), scratch)
}

func (ask *Ask) checkDownload(body io.Reader, scratch []byte) error {
	for done := int64(0); ; {
		count, err := body.Read(scratch)
		for piece := scratch[:count]; len(piece) > 0; {
			there := block[done%int64(len(block)):]
			if len(there) > len(piece) {
				there = there[:len(piece)]
			}
			if !bytes.Equal(there, piece[:len(there)]) {
				return fmt.Errorf("another body around byte %d", done)
			}
			done += int64(len(there))
			piece = piece[len(there):]
		}
		if err == io.EOF && done == ask.Download {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the body ended after %d bytes: %w", done, err)
		}
	}
}

func (ask *Ask) checkReplies(response *http.Response, scratch []byte) error {
	one := framed(ask.Reply)
	for number := 0; number < ask.Replies; number++ {
		if _, err := io.ReadFull(response.Body, scratch[:len(one)]); err != nil {
			return fmt.Errorf("gRPC: %d messages: %w; status %q %q", number, err,
				response.Header.Get("Grpc-Status")+response.Trailer.Get("Grpc-Status"), response.Header.Get("Grpc-Message"))
		}
		if !bytes.Equal(scratch[:len(one)], one) {
			return fmt.Errorf("gRPC: another message: %q", scratch[:len(one)])
		}
	}
	if err := match(response.Body, nil, scratch); err != nil {
		return err
	}
	if status := response.Trailer.Get("Grpc-Status"); status != "0" {
		return fmt.Errorf("gRPC: status %q", status)
	}
	return nil
}

// match reads to the end.
func match(body io.Reader, expected, scratch []byte) error {
	count, err := io.ReadFull(body, scratch[:len(expected)+1])
	if err != io.ErrUnexpectedEOF && err != io.EOF {
		if err == nil {
			return fmt.Errorf("a longer body: %q", scratch[:count])
		}
		return err
	}
	if !bytes.Equal(scratch[:count], expected) {
		return fmt.Errorf("another body: %q", scratch[:count])
	}
	return nil
}

func framed(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// pattern is a body of so many bytes.
type pattern struct{ done, left int64 }

func (body *pattern) Read(into []byte) (int, error) {
	if body.left == 0 {
		return 0, io.EOF
	}
	if int64(len(into)) > body.left {
		into = into[:body.left]
	}
	count := copy(into, block[body.done%int64(len(block)):])
	body.done += int64(count)
	body.left -= int64(count)
	return count, nil
}
