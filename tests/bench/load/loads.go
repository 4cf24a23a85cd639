package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const idleOpeners = 8

// NewRequests is requests over connections that stay open; each has answered once.
func NewRequests(options *Options, client *Client) (*Loop, error) {
	var sessions []*Session
	scratch := make([]byte, 64<<10)
	for len(sessions) < options.Connections {
		session := client.NewSession()
		if err := session.Once(&options.Ask, scratch); err != nil {
			return nil, err
		}
		sessions = append(sessions, session)
	}
	once := func(lane int, scratch []byte) error { return sessions[lane%len(sessions)].Once(&options.Ask, scratch) }
	lanes := options.Connections * options.Streams
	return &Loop{Options: options, Client: client, Lanes: lanes, Once: once, Unit: options.Ask.Unit()}, nil
}

// NewHandshakes is new connections, each with one request.
func NewHandshakes(options *Options, client *Client) *Loop {
	once := func(_ int, scratch []byte) error {
		session := client.NewSession()
		defer session.Close()
		return session.Once(&options.Ask, scratch)
	}
	return &Loop{Options: options, Client: client, Lanes: options.Connections, Once: once, Unit: 1}
}

// Idle is connections that have answered once and then do nothing.
type Idle struct {
	options  *Options
	client   *Client
	sessions []*Session
}

// Warm opens a few: what a process allocates once is no connection's.
func (load *Idle) Warm() (any, error) { return "warm", load.open(4) }

// Open opens the others.
func (load *Idle) Open() (any, error) { return "open", load.open(load.options.Connections) }

// AskAgain has each of them answer once more, in turn: none that was counted has been closed meanwhile.
func (load *Idle) AskAgain() (any, error) {
	scratch := make([]byte, 64<<10)
	window := OpenWindow(load.options.Pids)
	times := make([]time.Duration, 0, len(load.sessions))
	for _, session := range load.sessions {
		from := time.Now()
		if err := session.Once(&load.options.Ask, scratch); err != nil {
			return nil, err
		}
		times = append(times, time.Since(from))
	}
	outcome := window.Close(int64(len(load.sessions)), load.client.Facts())
	outcome.Note([][]time.Duration{times})
	return outcome, nil
}

func (load *Idle) open(count int) error {
	made := make([]*Session, count)
	errors := make(chan error, idleOpeners)
	var openers sync.WaitGroup
	for opener := 0; opener < idleOpeners; opener++ {
		openers.Add(1)
		go func(opener int) {
			defer openers.Done()
			scratch := make([]byte, 64<<10)
			for number := opener; number < count; number += idleOpeners {
				made[number] = load.client.NewSession()
				if err := made[number].Once(&load.options.Ask, scratch); err != nil {
					errors <- fmt.Errorf("connection %d: %w", len(load.sessions)+number+1, err)
					return
				}
			}
		}(opener)
	}
	openers.Wait()
	load.sessions = append(load.sessions, made...)
	select {
	case err := <-errors:
		return err
	default:
		return nil
	}
}

// Once asks and checks the answer.
func (session *Session) Once(ask *Ask, scratch []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	response, err := session.transport.RoundTrip(ask.Request(ctx))
	if err != nil {
		return err
	}
	return ask.Check(response, scratch)
}
