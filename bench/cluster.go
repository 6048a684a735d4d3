//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// cluster is nodes that share a database of their own, and a NATS server.
type cluster struct {
	postgres *postgres
	database *database
	nats     *natsServer
	nodes    []*server
}

// startCluster starts so many nodes on an empty database.
func (b *bench) startCluster(ctx context.Context, name string, nodes int) (_ *cluster, err error) {
	c := &cluster{postgres: b.postgres}
	defer func() {
		if err != nil {
			c.stop()
		}
	}()
	if c.database, err = b.postgres.create(ctx); err != nil {
		return nil, err
	}
	if c.nats, err = startNATS(ctx, filepath.Join(b.space.programs, name+"-nats.log")); err != nil {
		return nil, err
	}
	key, err := b.space.makeServerKey(name)
	if err != nil {
		return nil, err
	}
	for i := range nodes {
		s, err := b.space.startServer(ctx, b.path, fmt.Sprintf("%s-%d", name, i),
			"--database-url", c.database.url, "--server-key-file", key, "--nats-url", c.nats.url)
		if err != nil {
			return nil, err
		}
		c.nodes = append(c.nodes, s)
	}
	return c, nil
}

// makeServerKey makes the key ring that nodes share: a number and 32 bytes.
func (w *workspace) makeServerKey(name string) (string, error) {
	file := filepath.Join(w.programs, name+".key")
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return file, os.WriteFile(file, []byte("1 "+base64.StdEncoding.EncodeToString(key)+"\n"), 0o600)
}

// stop stops the nodes and then what they need. The database stays until PostgreSQL is
// left: dropping it takes its disk time.
func (c *cluster) stop() {
	for _, s := range c.nodes {
		s.stop()
	}
	if c.nats != nil {
		c.nats.stop()
	}
}

// target is all nodes together.
func (c *cluster) target() target {
	t := target{users: authUsers, database: c.postgres.postmaster}
	addrs := make([]string, 0, len(c.nodes))
	for _, s := range c.nodes {
		addrs = append(addrs, s.addr)
		t.processes = append(t.processes, s.child)
	}
	t.addr = strings.Join(addrs, ",")
	return t
}

// settle waits until neither the nodes nor PostgreSQL have anything more to do.
func (t target) settle(ctx context.Context) error {
	return settleBy(ctx, func() (time.Duration, error) {
		total, err := familyTime(t.database)
		for _, c := range t.processes {
			used, failed := processorTime(c.pid())
			if failed != nil {
				return 0, failed
			}
			total += used
		}
		return total, err
	})
}

// pids are those of all nodes.
func (t target) pids() []int {
	pids := make([]int, len(t.processes))
	for i, c := range t.processes {
		pids[i] = c.pid()
	}
	return pids
}

// lastWords are those of all nodes.
func (t target) lastWords() string {
	words := make([]string, len(t.processes))
	for i, c := range t.processes {
		words[i] = c.lastWords()
	}
	return strings.Join(words, "; ")
}
