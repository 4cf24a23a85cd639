package main

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"
)

func answer(status int, body []byte, trailers http.Header) *http.Response {
	return &http.Response{
		StatusCode:    status,
		ContentLength: int64(len(body)),
		Body:          io.NopCloser(bytes.NewReader(body)),
		Trailer:       trailers,
	}
}

func TestARightAnswerAloneCounts(t *testing.T) {
	ask := Ask{Expect: "Hello!"}
	for body, right := range map[string]bool{"Hello!": true, "hello!": false, "Hello": false, "Hello!!": false, "": false} {
		if err := ask.Check(answer(200, []byte(body), nil), make([]byte, 64)); (err == nil) != right {
			t.Errorf("%q: %v", body, err)
		}
	}
	if ask.Check(answer(403, []byte("Hello!"), nil), make([]byte, 64)) == nil {
		t.Error("403 is no answer")
	}
}

func TestADownloadIsComparedByteByByte(t *testing.T) {
	whole := bytes.Repeat(block, 3)
	ask := Ask{Download: int64(len(whole) - 5)}
	scratch := make([]byte, 1000)
	if err := ask.Check(answer(200, whole[:len(whole)-5], nil), scratch); err != nil {
		t.Error(err)
	}
	changed := append([]byte(nil), whole[:len(whole)-5]...)
	changed[len(block)+7] ^= 1
	for _, wrong := range [][]byte{whole, whole[:len(whole)-6], changed} {
		if ask.Check(answer(200, wrong, nil), scratch) == nil {
			t.Error("taken for the body that was asked for")
		}
	}
}

func TestAnUploadIsThePatternOnce(t *testing.T) {
	sent, _ := io.ReadAll(&pattern{left: int64(len(block) + 10)})
	if !bytes.Equal(sent, append(append([]byte(nil), block...), block[:10]...)) {
		t.Error("another body")
	}
}

func TestAGRPCCallEndsWithItsStatus(t *testing.T) {
	ask := Ask{Reply: []byte("hi"), Replies: 2}
	body := append(framed(ask.Reply), framed(ask.Reply)...)
	status := func(code string) http.Header { return http.Header{"Grpc-Status": {code}} }
	for _, one := range []struct {
		body     []byte
		trailers http.Header
		right    bool
	}{
		{body, status("0"), true},
		{body, status("13"), false},
		{body, nil, false},
		{framed(ask.Reply), status("0"), false},
		{append(body, framed(ask.Reply)...), status("0"), false},
		{append(framed(ask.Reply), framed([]byte("ho"))...), status("0"), false},
	} {
		if err := ask.Check(answer(200, one.body, one.trailers), make([]byte, 64)); (err == nil) != one.right {
			t.Errorf("%v: %v", one, err)
		}
	}
}

func TestAQuantileIsTheNearestRank(t *testing.T) {
	var hundred []time.Duration
	for number := 1; number <= 100; number++ {
		hundred = append(hundred, time.Duration(number))
	}
	if quantile(hundred, 0.5) != 50 || quantile(hundred, 0.99) != 99 || quantile(hundred[:1], 0.99) != 1 {
		t.Error(quantile(hundred, 0.5), quantile(hundred, 0.99), quantile(hundred[:1], 0.99))
	}
}

func TestAnOfferedRateIsKept(t *testing.T) {
	turn := &run{rate: 1000, begin: time.Now().Add(-50 * time.Millisecond)}
	for number := 0; number < 50; number++ {
		if due := turn.due(); due.Sub(turn.begin).Round(time.Millisecond) != time.Duration(number+1)*time.Millisecond {
			t.Fatal("what is late is due since its own time", number, due.Sub(turn.begin))
		}
	}
	if turn.due(); time.Since(turn.begin) < 51*time.Millisecond {
		t.Error("what is early waits")
	}
}
