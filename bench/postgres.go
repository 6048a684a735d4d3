//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"

	"github.com/jackc/pgx/v5"
)

// postgres is the PostgreSQL that the nodes share. It belongs to the user, who has
// started it; the benchmark makes databases in it, and drops them.
type postgres struct {
	url        string
	conn       *pgx.Conn
	postmaster int    // its first process, if it is on this machine; else 0
	facts      string // what of its settings makes figures comparable
	databases  []*database
}

func openPostgres(ctx context.Context, address string) (*postgres, error) {
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return nil, err // pgx leaves the password out of what it says
	}
	p := &postgres{url: address, conn: conn}
	var backend int
	err = conn.QueryRow(ctx, `SELECT pg_backend_pid(), format('PostgreSQL %s; fsync %s, synchronous_commit %s, full_page_writes %s, '
			'shared_buffers %s, max_wal_size %s', current_setting('server_version'), current_setting('fsync'),
			current_setting('synchronous_commit'), current_setting('full_page_writes'), current_setting('shared_buffers'),
			current_setting('max_wal_size'))`).Scan(&backend, &p.facts)
	if err != nil {
		return nil, errors.Join(err, conn.Close(ctx))
	}
	p.postmaster = parentOfPostgres(backend)
	return p, nil
}

// parentOfPostgres is the parent of the process, if that is one of PostgreSQL's on
// this machine; else 0, and what the database's processors do is not known.
func parentOfPostgres(pid int) int {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil || !bytes.HasPrefix(name, []byte("postgres")) {
		return 0
	}
	stat, err := readStat(pid)
	if err != nil {
		return 0
	}
	return stat.parent
}

// close drops the databases, also when ctx has ended.
func (p *postgres) close(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	var errs []error
	for _, d := range p.databases {
		errs = append(errs, p.drop(ctx, d))
	}
	p.databases = nil
	return errors.Join(append(errs, p.conn.Close(ctx))...)
}

// database is one of the benchmark's own.
type database struct {
	name    string
	url     string
	conn    *pgx.Conn
	dropped bool
}

// create makes an empty database. Its name has this process in it, so that two
// benchmarks may share the server.
func (p *postgres) create(ctx context.Context) (*database, error) {
	d := &database{name: fmt.Sprintf("parley_bench_%d_%d", os.Getpid(), len(p.databases))}
	var err error
	if d.url, err = otherDatabase(p.url, d.name); err != nil {
		return nil, err
	}
	if _, err := p.conn.Exec(ctx, `CREATE DATABASE `+d.name+` TEMPLATE template0 ENCODING 'UTF8'`); err != nil {
		return nil, err
	}
	p.databases = append(p.databases, d)
	d.conn, err = pgx.Connect(ctx, d.url)
	return d, err
}

// drop drops the database, once.
func (p *postgres) drop(ctx context.Context, d *database) error {
	if d.dropped {
		return nil
	}
	d.dropped = true
	if d.conn != nil {
		_ = d.conn.Close(ctx)
	}
	_, err := p.conn.Exec(ctx, `DROP DATABASE `+d.name+` WITH (FORCE)`)
	return err
}

// otherDatabase is the URL with the name of another database.
func otherDatabase(address, name string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return "", errors.New("-database-url must be a URL such as postgres://user:password@host:5432/postgres")
	}
	query := u.Query()
	query.Del("dbname")
	query.Del("database")
	u.Path, u.RawQuery = "/"+name, query.Encode()
	return u.String(), nil
}

// account is how far a database has come.
type account struct {
	transactions int64 // also those that only read. PostgreSQL counts them up to a second late
	groups       int64 // that the nodes have committed
	log          int64 // bytes of the write-ahead log, of the whole server
	kept         int64 // bytes on the disk, less the record of the groups, which is purged after an hour
}

func (d *database) account(ctx context.Context) (a account, err error) {
	err = d.conn.QueryRow(ctx, `SELECT xact_commit + xact_rollback, (SELECT count(*) FROM commits),
			pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint, pg_database_size(datname) - pg_total_relation_size('commits')
		FROM pg_stat_database WHERE datname = current_database()`).Scan(&a.transactions, &a.groups, &a.log, &a.kept)
	return a, err
}

// since is what has been added.
func (a account) since(before account) account {
	return account{
		a.transactions - before.transactions, a.groups - before.groups, a.log - before.log, a.kept - before.kept,
	}
}

// connect connects as the nodes do: statements are described once, and neither
// prepared nor named.
func (d *database) connect(ctx context.Context) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(d.url)
	if err != nil {
		return nil, err
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	config.StatementCacheCapacity = 0
	return pgx.ConnectConfig(ctx, config)
}
