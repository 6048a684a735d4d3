//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// publishTimeout is for one message. At a steady rate, those that are slower are
// errors.
const publishTimeout = 30 * time.Second

// published is what a publisher in this process has done.
type published struct {
	mu         sync.Mutex // guards what follows while messages are on their way
	answers    int64
	errors     int64
	firstError string
	latencies  histogram // from the sending of a message to its acknowledgment
	late       histogram // from when a message was due to its sending, of a pacer

	seconds float64
}

func (p *published) record(latency time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.answers++
		p.latencies.record(latency)
		return
	}
	p.errors++
	if p.firstError == "" {
		p.firstError = err.Error()
	}
}

func (p *published) recordLate(by time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.late.record(by)
}

// flaw says what is wrong; empty if nothing is.
func (p *published) flaw() string {
	if p.errors == 0 {
		return ""
	}
	return fmt.Sprintf("%d messages failed, the first: %s", p.errors, p.firstError)
}

// pacer publishes to rooms, in turn, at a steady rate over REST. Each message is sent when
// it is due, whatever has become of those before: a server that stops for a second
// is seen by all that are due meanwhile. A message that is sent late tells of this
// process, which shares the machine, and so is counted apart.
type pacer struct {
	addr  string
	first int // number of the first room
	rooms int // 0: one
	rate  int // messages a second, all together
}

// run publishes until it is told to stop, and returns when everything is
// answered.
func (p pacer) run(ctx context.Context, stop <-chan struct{}) *published {
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: publishTimeout}
	return pace(ctx, p.rate, stop, func(number int, sent time.Time) error {
		room := roomName(p.first + number%max(1, p.rooms))
		return post(ctx, client, "http://"+p.addr+sessionsPath+"/"+room+"/messages", sent)
	})
}

// runFor publishes for as long.
func (p pacer) runFor(ctx context.Context, d time.Duration) *published {
	stop := make(chan struct{})
	timer := time.AfterFunc(d, func() { close(stop) })
	defer timer.Stop()
	return p.run(ctx, stop)
}

// pace sends so many times a second, numbered from 0, until it is told to stop.
func pace(ctx context.Context, rate int, stop <-chan struct{}, send func(number int, sent time.Time) error) *published {
	out := &published{}
	interval := time.Second / time.Duration(rate)
	began := time.Now()
	var sending sync.WaitGroup
	for number, due := 0, began; await(ctx, stop, due); number, due = number+1, due.Add(interval) {
		sending.Go(func() {
			sent := time.Now()
			err := send(number, sent)
			out.record(time.Since(sent), err)
			out.recordLate(sent.Sub(due))
		})
	}
	sending.Wait()
	out.seconds = time.Since(began).Seconds()
	return out
}

// await waits until the next is due, and tells whether there is one.
func await(ctx context.Context, stop <-chan struct{}, due time.Time) bool {
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-stop:
		return false
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func post(ctx context.Context, client *http.Client, url string, sent time.Time) error {
	body := strings.Replace(publishBody, messageText, stamped(sent.UnixNano()), 1)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Parley-User", writerUser)
	return succeed(client, request)
}

// succeed fails unless the request is answered with success.
func succeed(client *http.Client, request *http.Request) error {
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != expectedStatus {
		err = fmt.Errorf("status %d: %.300s", response.StatusCode, answer)
	}
	return err
}
