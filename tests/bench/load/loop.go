package main

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Loop has lanes that each do one thing after the other, and measures them within a window.
//
// Without a rate a lane goes on as soon as it is done. With one, each thing is due at its time, and the time that it
// takes runs from there: waiting for a lane is the server's slowness too.
//
// Where one thing is long (Unit > 1), whole ones are counted: the window ends with the last that began in it.
type Loop struct {
	Options *Options
	Client  *Client
	Lanes   int
	Once    func(lane int, scratch []byte) error
	Unit    int64 // what one thing counts: 1, or its bytes or messages

	scratch [][]byte
	times   [][]time.Duration
}

// Measure runs a warm-up and a window, and waits for the end of what is then in flight.
func (loop *Loop) Measure() (any, error) {
	if loop.scratch == nil {
		loop.times = make([][]time.Duration, loop.Lanes)
		for lane := 0; lane < loop.Lanes; lane++ {
			loop.scratch = append(loop.scratch, make([]byte, 64<<10))
		}
	}
	turn := &run{rate: loop.Options.Rate, begin: time.Now()}
	var lanes sync.WaitGroup
	for lane := 0; lane < loop.Lanes; lane++ {
		lanes.Add(1)
		go func(lane int) {
			defer lanes.Done()
			loop.times[lane] = turn.lane(loop.times[lane][:0], func() error { return loop.Once(lane, loop.scratch[lane]) })
		}(lane)
	}
	whole := loop.Unit > 1
	if !whole {
		time.Sleep(loop.Options.WarmUp)
	}
	window, before := OpenWindow(loop.Options.Pids), turn.done.Load()
	turn.counted.Store(true)
	if whole {
		before = 0
	}
	time.Sleep(loop.Options.Window)
	for end := window.begin.Add(Patience); turn.done.Load() == before && !turn.ended.Load() && time.Now().Before(end); {
		time.Sleep(time.Millisecond) // a machine with much else to do: the window is as long as one answer takes
	}
	turn.ended.Store(true)
	if whole {
		lanes.Wait()
	}
	outcome := window.Close((turn.done.Load()-before)*loop.Unit, loop.Client.Facts())
	turn.counted.Store(false)
	lanes.Wait()
	if turn.failure != nil {
		return nil, turn.failure
	}
	outcome.Note(loop.times)
	return outcome, nil
}

// run is one warm-up and window.
type run struct {
	rate    float64
	begin   time.Time
	next    atomic.Int64
	done    atomic.Int64
	counted atomic.Bool
	ended   atomic.Bool
	first   sync.Once
	failure error
}

func (run *run) lane(times []time.Duration, once func() error) []time.Duration {
	for {
		from := run.due()
		if run.ended.Load() {
			return times
		}
		if err := once(); err != nil {
			run.first.Do(func() { run.failure = err })
			run.ended.Store(true)
			return times
		}
		run.done.Add(1)
		if run.counted.Load() {
			times = append(times, time.Since(from))
		}
	}
}

// due waits until the next thing is due and returns when its time began.
func (run *run) due() time.Time {
	if run.rate == 0 {
		return time.Now()
	}
	due := run.begin.Add(time.Duration(math.Round(float64(run.next.Add(1)) / run.rate * 1e9)))
	wait := time.Until(due)
	if wait <= 0 {
		return due
	}
	time.Sleep(wait)
	return time.Now() // a timer that is late is not the server's fault
}
