// The load of the benchmark: one process against one server, by mutual TLS.
//
// It says "ready", and then takes a step for each line on stdin; a step prints one line. For `requests` and
// `handshakes` each step is a measured window, whose line is an Outcome in JSON. For `idle` the steps are: a few
// connections, each answered once ("warm": what a process allocates once is no connection's); all the others ("open":
// now the server is weighed); and one more request on each, in turn (Outcome). A wrong or missing answer ends the
// process with an Outcome that says which: one of them makes a run void.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Options are what the command line says.
type Options struct {
	Kind        string
	Port        int
	Credential  string
	Pids        []int
	HTTP2       bool
	Connections int
	Streams     int
	WarmUp      time.Duration
	Window      time.Duration
	Rate        float64
	Ask         Ask
}

// steps of one kind of load: what each line on stdin has done, in turn; the last one is repeated.
type steps []func() (any, error)

func main() {
	options := parse()
	client, err := NewClient(options.Credential, options.Port, options.HTTP2)
	if err != nil {
		fail(err)
	}
	made, err := stepsOf(options, client)
	if err != nil {
		fail(err)
	}
	fmt.Println("ready")
	lines := bufio.NewReader(os.Stdin)
	for number := 0; ; number++ {
		if _, err := lines.ReadString('\n'); err != nil {
			return
		}
		if number >= len(made) {
			number = len(made) - 1
		}
		said, err := made[number]()
		if err != nil {
			fail(err)
		}
		say(said)
	}
}

func stepsOf(options *Options, client *Client) (steps, error) {
	switch options.Kind {
	case "requests":
		load, err := NewRequests(options, client)
		if err != nil {
			return nil, err
		}
		return steps{load.Measure}, nil
	case "handshakes":
		return steps{NewHandshakes(options, client).Measure}, nil
	case "idle":
		load := &Idle{options: options, client: client}
		return steps{load.Warm, load.Open, load.AskAgain}, nil
	}
	return nil, fmt.Errorf("there is no load %q", options.Kind)
}

func parse() *Options {
	options := &Options{}
	var pids, protocol string
	flag.StringVar(&options.Kind, "kind", "requests", "requests, handshakes or idle")
	flag.IntVar(&options.Port, "port", 0, "the server's, on 127.0.0.1")
	flag.StringVar(&options.Credential, "credential", "", "a folder with tls.crt, tls.key and ca.crt")
	flag.StringVar(&pids, "server-pids", "", "whose CPU time is the server's, with commas between them")
	flag.StringVar(&protocol, "protocol", "h2", "h1 or h2")
	flag.IntVar(&options.Connections, "connections", 8, "how many are kept open, or made at once")
	flag.IntVar(&options.Streams, "streams", 1, "requests at once on one HTTP/2 connection")
	flag.DurationVar(&options.WarmUp, "warm-up", 50*time.Millisecond, "before each window")
	flag.DurationVar(&options.Window, "window", 250*time.Millisecond, "what is measured")
	flag.Float64Var(&options.Rate, "rate", 0, "requests offered a second; 0: the next one as soon as one is answered")
	flag.StringVar(&options.Ask.Path, "path", "/", "what is asked for")
	flag.StringVar(&options.Ask.Expect, "expect", "", "the body of every answer, where it is a text")
	flag.Int64Var(&options.Ask.Upload, "upload", 0, "bytes to send")
	flag.Int64Var(&options.Ask.Download, "download", 0, "bytes to expect")
	flag.Var(hexBytes{&options.Ask.Message}, "grpc-message", "the message of a gRPC call, in hex; empty is one too")
	flag.Var(hexBytes{&options.Ask.Reply}, "grpc-reply", "the message of its answer, in hex")
	flag.IntVar(&options.Ask.Replies, "grpc-replies", 0, "how many times the answer holds it; 0: no gRPC")
	flag.Parse()
	options.HTTP2 = protocol == "h2"
	for _, pid := range strings.Split(pids, ",") {
		if number, err := strconv.Atoi(pid); err == nil {
			options.Pids = append(options.Pids, number)
		}
	}
	return options
}

func say(said any) {
	if word, ok := said.(string); ok {
		fmt.Println(word)
		return
	}
	line, err := json.Marshal(said)
	if err != nil {
		fail(err)
	}
	fmt.Println(string(line))
}

func fail(err error) {
	say(Outcome{Failed: 1, Reason: err.Error()})
	os.Exit(1)
}
