//go:build linux

package main

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
)

// publishOverGRPC publishes to the first room over one connection, with so many
// calls at a time. They are unary: the API has no stream of requests.
func publishOverGRPC(ctx context.Context, addr string, inFlight int, d time.Duration) (*published, error) {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	service := conversationv1.NewSessionServiceClient(conn)
	ctx = metadata.AppendToOutgoingContext(ctx, "parley-user", writerUser)
	out := &published{}
	began := time.Now()
	var callers sync.WaitGroup
	for range inFlight {
		callers.Go(func() {
			for time.Since(began) < d && ctx.Err() == nil {
				sent := time.Now()
				err := call(ctx, service, sent)
				out.record(time.Since(sent), err)
			}
		})
	}
	callers.Wait()
	out.seconds = time.Since(began).Seconds()
	return out, ctx.Err()
}

func call(ctx context.Context, service conversationv1.SessionServiceClient, sent time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	_, err := service.PublishMessage(ctx, &conversationv1.PublishMessageRequest{
		Session: "sessions/" + roomName(0),
		Message: &conversationv1.Message{Content: &conversationv1.Message_Text{Text: stamped(sent.UnixNano())}},
	})
	return err
}
