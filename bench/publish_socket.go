//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/lxzan/gws"
)

// socketPublisher publishes to the first room over one WebSocket, with so many
// frames on their way. The server handles the frames of a socket in their order,
// so the answers come in it too.
type socketPublisher struct {
	gws.BuiltinEventHandler

	slots  chan struct{}  // one for each frame that is not answered; its capacity is the pipeline
	sent   chan time.Time // when those frames were sent
	closed chan error
	out    published
}

// OnMessage implements gws.Event. What is no answer is an event: the socket is
// a stream of the room too.
func (p *socketPublisher) OnMessage(_ *gws.Conn, message *gws.Message) {
	defer func() { _ = message.Close() }()
	frame := message.Bytes()
	if bytes.HasPrefix(frame, []byte(`{"event":`)) {
		return
	}
	var err error
	if !bytes.HasPrefix(frame, []byte(`{"ack":`)) {
		err = fmt.Errorf("answered with %.300s", frame)
	}
	p.out.record(time.Since(<-p.sent), err)
	<-p.slots
}

// OnClose implements gws.Event.
func (p *socketPublisher) OnClose(_ *gws.Conn, err error) { p.closed <- err }

// OnPing implements gws.Event.
func (p *socketPublisher) OnPing(socket *gws.Conn, payload []byte) { _ = socket.WritePong(payload) }

func publishOverSocket(ctx context.Context, addr string, inFlight int, d time.Duration) (*published, error) {
	p := &socketPublisher{
		slots:  make(chan struct{}, inFlight),
		sent:   make(chan time.Time, inFlight),
		closed: make(chan error, 1),
	}
	socket, response, err := gws.NewClient(p, &gws.ClientOption{
		Addr:          "ws://" + addr + sessionsPath + "/" + roomName(0) + "/events",
		RequestHeader: http.Header{"Parley-User": {writerUser}},
	})
	if err != nil {
		return nil, fmt.Errorf("open a WebSocket: %w", err)
	}
	_ = response.Body.Close()
	defer func() { _ = socket.NetConn().Close() }()
	go socket.ReadLoop()
	began := time.Now()
	for time.Since(began) < d {
		if err := p.send(ctx, socket); err != nil {
			return nil, err
		}
	}
	for range inFlight { // who holds every slot knows that every frame is answered
		if err := p.claim(ctx); err != nil {
			return nil, err
		}
	}
	p.out.seconds = time.Since(began).Seconds()
	return &p.out, nil
}

// send writes the next frame, when there is a slot for it.
func (p *socketPublisher) send(ctx context.Context, socket *gws.Conn) error {
	if err := p.claim(ctx); err != nil {
		return err
	}
	now := time.Now()
	p.sent <- now
	return socket.WriteString(`{"publish":{"message":{"text":` + strconv.Quote(stamped(now.UnixNano())) + `}}}`)
}

func (p *socketPublisher) claim(ctx context.Context) error {
	select {
	case p.slots <- struct{}{}:
		return nil
	case err := <-p.closed:
		return fmt.Errorf("the WebSocket was closed: %w", err)
	case <-time.After(publishTimeout):
		return errors.New("no answer to a frame")
	case <-ctx.Done():
		return ctx.Err()
	}
}
