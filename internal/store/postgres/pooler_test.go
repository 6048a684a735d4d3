package postgres

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/pgtest"
	"github.com/parleyhq/parley/internal/store/storetest"
)

// pooler stands between a store and its database, and lends a connection for one transaction at a time, as PgBouncer does
// with pool_mode = transaction. What a transaction leaves behind in its connection is discarded.
type pooler struct {
	listener net.Listener
	idle     chan net.Conn // connections to the database
	handling sync.WaitGroup
}

const pooled = 6

// pool returns the URL by which the database is reached through a pooler.
func pool(t *testing.T, database string) string {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &pooler{listener: listener, idle: make(chan net.Conn, pooled)}
	for range pooled {
		conn, err := pgconn.Connect(t.Context(), database)
		if err != nil {
			t.Fatal(err)
		}
		hijacked, err := conn.Hijack()
		if err != nil {
			t.Fatal(err)
		}
		p.idle <- hijacked.Conn
	}
	p.handling.Go(p.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		p.handling.Wait()
		for range pooled {
			_ = (<-p.idle).Close()
		}
	})
	return pgtest.Through(database, listener.Addr().String())
}

func (p *pooler) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.handling.Go(func() { p.handle(client) })
	}
}

// handle greets a client, and serves its transactions, one after the other.
func (p *pooler) handle(client net.Conn) {
	defer client.Close()
	if _, err := readMessage(client, true); err != nil {
		return
	}
	var greeting []byte
	greeting = appendMessage(greeting, 'R', "\x00\x00\x00\x00")
	greeting = appendMessage(greeting, 'S', "client_encoding\x00UTF8\x00")
	greeting = appendMessage(greeting, 'S', "standard_conforming_strings\x00on\x00")
	greeting = appendMessage(greeting, 'Z', "I")
	if _, err := client.Write(greeting); err != nil {
		return
	}
	for {
		message, err := readMessage(client, false)
		if err != nil || message[0] == 'X' {
			return
		}
		server := <-p.idle
		err = transact(client, server, message)
		discard(server)
		p.idle <- server
		if err != nil {
			return
		}
	}
}

func appendMessage(b []byte, kind byte, body string) []byte {
	b = append(b, kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)+4))
	return append(b, body...)
}

// transact forwards what the client says until its transaction has ended. A client that goes away rolls it back.
func transact(client, server net.Conn, message []byte) error {
	status := byte('I')
	for {
		if _, err := server.Write(message); err != nil {
			return err
		}
		if message[0] == 'Q' || message[0] == 'S' {
			var err error
			if status, err = answer(client, server); err != nil || status == 'I' {
				return err
			}
		}
		var err error
		if message, err = readMessage(client, false); err != nil || message[0] == 'X' {
			if status != 'I' {
				_, _ = server.Write(appendMessage(nil, 'Q', "ROLLBACK\x00"))
				_, err = answer(io.Discard, server)
			}
			return err
		}
	}
}

// answer forwards what the server says until it is ready, and returns the transaction's status then.
func answer(client io.Writer, server net.Conn) (status byte, err error) {
	for {
		message, err := readMessage(server, false)
		if err != nil {
			return 0, err
		}
		_, _ = client.Write(message) // a client that is gone is found out when it is read from
		if message[0] == 'Z' {
			return message[5], nil
		}
	}
}

func discard(server net.Conn) {
	_, _ = server.Write(appendMessage(nil, 'Q', "DISCARD ALL\x00"))
	_, _ = answer(io.Discard, server)
}

// TestStoreThroughAPooler: nothing is kept on connections.
func TestStoreThroughAPooler(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it runs the whole suite once more")
	}
	whole := t
	var databases sync.Map // as in TestStore
	storetest.Run(t, func(t *testing.T, o storetest.Options) session.Store {
		database, known := databases.Load(o.Dir)
		if !known {
			database = pool(whole, pgtest.Database(whole))
			databases.Store(o.Dir, database)
		}
		return openStore(t, Config{URL: database.(string), Now: o.Now, Committed: o.Committed})
	})
}

func TestAPoolerLendsForOneTransaction(t *testing.T) {
	t.Parallel()
	conn, err := pgconn.Connect(t.Context(), pool(t, pgtest.Database(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), `SET lock_timeout = 77`).ReadAll(); err != nil {
		t.Fatal(err)
	}
	results, err := conn.Exec(t.Context(), `SHOW lock_timeout`).ReadAll()
	if err != nil || string(results[0].Rows[0][0]) != "0" {
		t.Errorf("a setting outlives its transaction: %v, %v", results, err)
	}
}
