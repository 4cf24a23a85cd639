package main

import (
	"fmt"
	"sort"
	"syscall"
	"time"
	"unsafe"
)

// Outcome is what a measured window found. Times are in seconds, CPU times of user and system together.
type Outcome struct {
	Done      int64   `json:"done"` // requests answered, connections made, messages or bytes moved
	Seconds   float64 `json:"seconds"`
	LoadCPU   float64 `json:"load_cpu"`
	ServerCPU float64 `json:"server_cpu"`
	P50       float64 `json:"p50"`
	P99       float64 `json:"p99"`
	Longest   float64 `json:"longest"`
	Failed    int     `json:"failed"`
	Reason    string  `json:"reason"`
	TLS       string  `json:"tls"`
}

// Window is open between two looks at the clocks of both sides.
type Window struct {
	pids         []int
	begin        time.Time
	load, server float64
}

// OpenWindow begins to measure.
func OpenWindow(pids []int) Window {
	return Window{pids: pids, load: ownCPU(), server: cpuOf(pids), begin: time.Now()}
}

// Close ends it: so much was done.
func (window Window) Close(done int64, facts string) Outcome {
	seconds := time.Since(window.begin).Seconds()
	outcome := Outcome{Done: done, Seconds: seconds, LoadCPU: ownCPU() - window.load, TLS: facts}
	outcome.ServerCPU = cpuOf(window.pids) - window.server
	return outcome
}

// Note takes down how long each thing took.
func (outcome *Outcome) Note(times [][]time.Duration) {
	var all []time.Duration
	for _, some := range times {
		all = append(all, some...)
	}
	if len(all) == 0 {
		return
	}
	sort.Slice(all, func(a, b int) bool { return all[a] < all[b] })
	outcome.P50 = quantile(all, 0.50).Seconds()
	outcome.P99 = quantile(all, 0.99).Seconds()
	outcome.Longest = all[len(all)-1].Seconds()
}

// quantile of what is sorted: the nearest rank.
func quantile(sorted []time.Duration, part float64) time.Duration {
	at := int(part*float64(len(sorted)) + 0.999999)
	if at < 1 {
		at = 1
	}
	return sorted[at-1]
}

func ownCPU() float64 { return clock(2) } // CLOCK_PROCESS_CPUTIME_ID

func cpuOf(pids []int) (sum float64) {
	for _, pid := range pids {
		sum += clock(^pid<<3 | 2) // what clock_getcpuclockid(3) makes of it
	}
	return sum
}

func clock(id int) float64 {
	var spec syscall.Timespec
	_, _, err := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(id), uintptr(unsafe.Pointer(&spec)), 0)
	if err != 0 {
		fail(fmt.Errorf("the server has ended: %w", err))
	}
	return float64(spec.Sec) + float64(spec.Nsec)/1e9
}
