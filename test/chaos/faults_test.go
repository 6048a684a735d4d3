//go:build linux

package chaos_test

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"time"
)

// suffer has the cluster go through the steps. Everything is up and mended when it returns without an error.
func (c *cluster) suffer(ctx context.Context, steps []step) error {
	for i, s := range steps {
		c.t.Logf("step %d of %d: %s", i+1, len(steps), s.Faults)
		errs := make([]error, len(s.Faults))
		var breaking sync.WaitGroup
		for j, f := range s.Faults {
			breaking.Go(func() { errs[j] = c.inflict(ctx, f) })
		}
		breaking.Wait()
		for j, err := range errs {
			if err != nil {
				return fmt.Errorf("%s: %w", s.Faults[j], err)
			}
		}
		if err := c.alive(); err != nil {
			return err
		}
		if err := wait(ctx, s.Rest); err != nil {
			return err
		}
	}
	return nil
}

// alive fails if a node has ended that nobody has ended.
func (c *cluster) alive() error {
	for _, n := range c.nodes {
		if !n.process.running() {
			return fmt.Errorf("%s ended by itself: %w\n%s", n.name, n.process.exit, &n.process.output)
		}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// inflict breaks something, and mends it when its time is over.
func (c *cluster) inflict(ctx context.Context, f fault) error {
	within, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	switch f.Kind {
	case natsKilled:
		return c.nats[f.Which].away(within, f.For)
	case natsGone:
		return c.natsAway(within, f.For)
	case postgresStopped, postgresCrashed, postgresKilled, postgresDropped:
		return c.inflictPostgres(within, f)
	default:
		return c.nodes[f.Which].inflict(within, f)
	}
}

func (n *node) inflict(ctx context.Context, f fault) error {
	switch f.Kind {
	case nodeKilled:
		n.lock.Lock()
		defer n.lock.Unlock()
		n.process.kill()
		return n.comeBack(ctx, f.For)
	case nodeDrained:
		n.lock.Lock()
		defer n.lock.Unlock()
		if err := n.drain(); err != nil {
			return err
		}
		return n.comeBack(ctx, f.For)
	case nodeStopped:
		n.lock.Lock()
		defer n.lock.Unlock()
		n.process.signal(syscall.SIGSTOP)
		defer n.process.signal(syscall.SIGCONT)
		return wait(ctx, f.For)
	case clockShifted:
		if n.clock == nil {
			return nil
		}
		if err := n.clock.shift(f.Ahead); err != nil {
			return err
		}
		return wait(ctx, f.For) // and it stays so until it is shifted again
	case natsCut, natsStalled:
		return broken(ctx, f, n.nats...)
	default:
		return broken(ctx, f, n.postgres)
	}
}

func (n *node) comeBack(ctx context.Context, after time.Duration) error {
	if err := wait(ctx, after); err != nil {
		return err
	}
	return n.start(ctx)
}

// broken cuts or stalls proxies.
func broken(ctx context.Context, f fault, proxies ...*proxy) error {
	stalled := f.Kind == natsStalled || f.Kind == postgresStalled
	for _, p := range proxies {
		if stalled {
			p.stall()
		} else {
			p.sever()
		}
	}
	err := wait(ctx, f.For)
	for _, p := range proxies {
		if f.Loses {
			p.sever()
		}
		p.mend()
	}
	return err
}

// away kills a NATS server, and starts it again.
func (s *natsServer) away(ctx context.Context, d time.Duration) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.kill()
	if err := wait(ctx, d); err != nil {
		return err
	}
	return again(ctx, s.start)
}

// natsAway kills the whole cluster of NATS, and starts it again.
func (c *cluster) natsAway(ctx context.Context, d time.Duration) error {
	errs := make([]error, len(c.nats))
	var dying sync.WaitGroup
	for i, s := range c.nats {
		dying.Go(func() { errs[i] = s.away(ctx, d) })
	}
	dying.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) inflictPostgres(ctx context.Context, f fault) error {
	c.postgresLock.Lock()
	defer c.postgresLock.Unlock()
	switch f.Kind {
	case postgresStopped:
		c.postgres.Stop()
	case postgresCrashed:
		c.postgres.Kill()
	case postgresKilled:
		c.postgres.OutOfMemory()
	default:
		return c.postgres.EndConnections() //nolint:contextcheck // it has a limit of its own
	}
	if err := wait(ctx, f.For); err != nil {
		return err
	}
	return again(ctx, c.postgres.Start)
}

// again starts something that was killed, as often as it takes: what it had may not be free at once.
func again(ctx context.Context, start func() error) error {
	for {
		err := start()
		if err == nil || wait(ctx, 100*time.Millisecond) != nil {
			return err
		}
	}
}
