//go:build linux

package main

import (
	"context"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/store/pgtest"
)

// built builds the server once for all tests.
var built = sync.OnceValues(func() (string, error) {
	return (&workspace{programs: builtDir}).build(context.Background(), io.Discard)
})

// nodesOptions are those of a short run on a PostgreSQL of the tests'.
func nodesOptions(t *testing.T, rows string) options {
	t.Helper()
	url := pgtest.Database(t)
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	o, err := parseOptions([]string{
		"-nodes", "-database-url", url, "-server", path, "-data-dir", t.TempDir(), "-rows", rows,
		"-rounds", "1", "-warmup", "50ms", "-duration", "200ms",
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	o.leave, o.counted = 100*time.Millisecond, 0
	return o
}

func TestNodesAreMeasuredBesideTheEchoAndTheBareEngine(t *testing.T) {
	o := nodesOptions(t, "publish64x1000,across1,cut1,live100")
	var out strings.Builder
	if err := benchmark(t.Context(), o, &out, io.Discard); err != nil {
		t.Fatalf("%v; it printed\n%s", err, out.String())
	}
	rates, groups := map[string]bool{}, map[string]string{}
	for line := range strings.Lines(out.String()) {
		fields := strings.Fields(strings.NewReplacer("one node", "one", "two nodes", "two", "bare ", "").Replace(line))
		if len(fields) < 16 || fields[0] != "publish64x1000" {
			continue
		}
		rate, err := strconv.ParseFloat(fields[2], 64)
		rates[fields[1]] = err == nil && rate > 0
		groups[fields[1]] = fields[len(fields)-3]
	}
	want := map[string]bool{"echopublish64": true, "2x32": true, "2x16": true, "4x16": true, "one": true, "two": true}
	if diff := cmp.Diff(want, rates); diff != "" {
		t.Errorf("who has a rate (-want +got):\n%s\nof\n%s", diff, out.String())
	}
	for name, rows := range map[string]string{"2x32": "32.0", "2x16": "16.0", "4x16": "16.0"} {
		if groups[name] != rows {
			t.Errorf("bare %s has groups of %s", name, groups[name])
		}
	}
	for _, line := range []string{"across1        messages published", "cut1           messages published", "p99 from publish to receive", "live100        resident"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("there is no line %q in\n%s", line, out.String())
		}
	}
	if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), "NATS subscriptions more 100") {
		t.Errorf("100 live sessions have not as many subscriptions:\n%s", out.String())
	}
	wantNoDatabases(t, o.databaseURL)
}

func wantNoDatabases(t *testing.T, url string) {
	t.Helper()
	p, err := openPostgres(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close(t.Context())
	var left int
	err = p.conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_database WHERE datname LIKE 'parley_bench_%'`).Scan(&left)
	if err != nil || left > 0 {
		t.Errorf("%d databases are left, %v", left, err)
	}
}

func TestTheBareEngineWritesWhatANodeWrites(t *testing.T) {
	o := nodesOptions(t, "create64")
	p, err := openPostgres(t.Context(), o.databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close(t.Context())
	b := &bench{options: o, stderr: io.Discard, space: newTestWorkspace(t), path: o.server, postgres: p}
	var stand nodesStand
	if err := b.openBare(t.Context(), &stand); err != nil {
		t.Fatal(err)
	}
	const lanes, rows, drawn = 2, 8, 5
	written := map[action]int64{}
	for _, a := range []action{create, publish} {
		x := &bare{database: stand.bare, action: a, nodes: 2, lanes: lanes, rows: rows, rooms: drawn, sample: stand.sample}
		got, err := x.run(t.Context(), p.postmaster, 0, 100*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if got.Answers == 0 || got.Answers%rows > 0 || got.Requests > got.Answers {
			t.Errorf("%s: %d of %d rows in the window, want groups of %d", a, got.Requests, got.Answers, rows)
		}
		written[a] = got.Answers
	}
	for question, want := range map[string]int64{
		`SELECT count(*) FROM sessions WHERE id NOT LIKE 'r-%' AND creator LIKE 'creator-%'`: written[create],
		`SELECT sum(sessions) FROM creators WHERE user_name LIKE 'creator-%'`:                written[create],
		`SELECT count(*) FROM events WHERE doc LIKE '%parcel%'`:                              written[publish] + 1, // the sample
		`SELECT count(DISTINCT uid) FROM events WHERE doc LIKE '%parcel%'`:                   drawn,
		`SELECT count(*) FROM sessions s LEFT JOIN heads h ON h.uid = s.uid WHERE h.sequence IS DISTINCT FROM
			1 + (SELECT count(*) FROM events e WHERE e.uid = s.uid)`: 0, // the first event is the session's row
		`SELECT count(*) FROM sessions a JOIN sessions b ON a.type = b.type AND a.doc = b.doc AND a.display_name = b.display_name
			WHERE a.creator LIKE 'creator-%' AND b.creator NOT LIKE 'creator-%' AND b.id NOT LIKE 'r-%'`: written[create],
		`SELECT count(*) FROM sessions s WHERE creator LIKE 'creator-%' AND (SELECT count(*) FROM session_users u WHERE u.uid = s.uid) = 0`: 0,
	} {
		var got int64
		if err := stand.bare.conn.QueryRow(t.Context(), question).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", question, got, err, want)
		}
	}
}

func TestThePostgresOfThisMachineIsKnownByItsProcesses(t *testing.T) {
	p, err := openPostgres(t.Context(), pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.close(t.Context())
	before, err := familyTime(p.postmaster)
	if err != nil || p.postmaster == 0 {
		t.Fatalf("its first process is %d, %v", p.postmaster, err)
	}
	var backend int
	if err := p.conn.QueryRow(t.Context(), `SELECT pg_backend_pid() FROM generate_series(1, 3000000) OFFSET 2999999`).Scan(&backend); err != nil {
		t.Fatal(err)
	}
	own, err := processorTime(backend) // and what it had taken before is little
	if err != nil {
		t.Fatal(err)
	}
	if after, err := familyTime(p.postmaster); err != nil || after-before < own/2 {
		t.Errorf("the family took %s, %v, and one of its processes %s", after-before, err, own)
	}
}

func TestTheDeadOfAFamilyCount(t *testing.T) {
	shell := exec.Command("sh", "-c", `sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done'; echo; read line`)
	stdin, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := shell.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	defer shell.Wait()
	defer stdin.Close()
	if _, err := stdout.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	own, err := processorTime(shell.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := familyTime(shell.Process.Pid); err != nil || all < own+5*clockTick {
		t.Errorf("the family took %s, %v, and of that its first process %s", all, err, own)
	}
}

func TestSelectNodes(t *testing.T) {
	for _, tt := range []struct {
		list, rows, measurements string
		fails                    bool
	}{
		{"", "create64, publish64x1, publish64x1000", "near1 across1 cut1 near100 across100 cut100 live100 live1000 live10000", false},
		{"publish64x1,cut1", "publish64x1", "cut1", false},
		{"live100", "", "live100", false},
		{"create64", "create64", "", false},
		{"get64", "", "", true},
		{"echo64", "", "", true},
	} {
		rows, measurements, err := selectNodes(tt.list)
		var names []string
		for _, m := range measurements {
			names = append(names, m.name)
		}
		if (err != nil) != tt.fails || rowNames(rows) != tt.rows || strings.Join(names, " ") != tt.measurements {
			t.Errorf("%q selects %q and %q (error %v), want %q and %q", tt.list, rowNames(rows), names, err, tt.rows, tt.measurements)
		}
	}
}

func TestNodesNeedADatabase(t *testing.T) {
	t.Setenv("DATABASE_URL", "")
	if _, err := parseOptions([]string{"-nodes"}, io.Discard); err == nil || !strings.Contains(err.Error(), "scripts/with-postgres") {
		t.Errorf("without a URL the error is %v", err)
	}
	t.Setenv("DATABASE_URL", "postgres://localhost/postgres")
	if o, err := parseOptions([]string{"-nodes"}, io.Discard); err != nil || o.databaseURL != "postgres://localhost/postgres" {
		t.Errorf("the URL is %q, %v", o.databaseURL, err)
	}
	if _, err := parseOptions([]string{"-nodes", "-streams"}, io.Discard); err == nil {
		t.Error("two modes at once are taken")
	}
}

func TestOtherDatabase(t *testing.T) {
	for address, want := range map[string]string{
		"postgres://u:p@127.0.0.1:5432/postgres?sslmode=disable": "postgres://u:p@127.0.0.1:5432/other?sslmode=disable",
		"postgresql:///a?dbname=b&host=%2Ftmp":                   "postgresql:///other?host=%2Ftmp",
		"host=localhost dbname=a":                                "",
	} {
		if got, err := otherDatabase(address, "other"); got != want || (err != nil) != (want == "") {
			t.Errorf("%s becomes %q, %v, want %q", address, got, err, want)
		}
	}
}

func TestDeliveriesOfMessagesInTurn(t *testing.T) {
	for _, tt := range []struct {
		messages       int64
		streams, rooms int
		want           int64
	}{
		{7, 10, 1, 70},
		{7, 3, 3, 7},
		{4, 5, 3, 2*2 + 2 + 1}, // 2, 1 and 1 messages to 2, 2 and 1 streams
		{0, 5, 3, 0},
		{2, 100, 100, 2},
	} {
		if got := deliveries(tt.messages, tt.streams, tt.rooms); got != tt.want {
			t.Errorf("%d messages to %d streams of %d rooms: %d, want %d", tt.messages, tt.streams, tt.rooms, got, tt.want)
		}
	}
}

func TestConnectionsAndStreamsTakeTurnsOverServers(t *testing.T) {
	first, one := startCounting(t, newEcho())
	second, two := startCounting(t, newEcho())
	got, err := generate(t.Context(), loadConfig{
		Addr: first + "," + second, Action: echoCreate, Conns: 6, Loops: 2, Duration: 100 * time.Millisecond,
	}, io.Discard)
	if err != nil || got.Errors > 0 || one.Load() == 0 || two.Load() == 0 {
		t.Errorf("%d and %d requests, %d errors (%s), %v", one.Load(), two.Load(), got.Errors, got.FirstError, err)
	}
	var mu sync.Mutex
	asked := map[int][]string{}
	addrs := make([]string, 2)
	for i := range addrs {
		addrs[i] = startStreams(t, func(path string) string {
			mu.Lock()
			defer mu.Unlock()
			asked[i] = append(asked[i], path[strings.Index(path, "/r-")+1:strings.LastIndex(path, "/")])
			return sse("ready", wholeUID, 2)
		})
	}
	c := followConfig{Addr: strings.Join(addrs, ","), Streams: 4, Rooms: 4}
	if _, err := runFollower(t, c, strings.NewReader("0\n")); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, rooms := range asked {
		slices.Sort(rooms)
	}
	want := map[int][]string{0: {"r-00000000", "r-00000002"}, 1: {"r-00000001", "r-00000003"}}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("rooms asked of each server (-want +got):\n%s", diff)
	}
}

func TestThePacerTakesRoomsInTurn(t *testing.T) {
	var r recorder
	addr := r.serve(t, nil)
	got := pacer{addr: addr, first: 3, rooms: 2, rate: 100}.runFor(t.Context(), 100*time.Millisecond)
	paths := map[string]int{}
	for _, c := range r.take() {
		paths[c.path]++
	}
	a, b := paths[sessionsPath+"/r-00000003/messages"], paths[sessionsPath+"/r-00000004/messages"]
	if flaw := got.flaw(); flaw != "" || a == 0 || a-b < 0 || a-b > 1 || int64(a+b) != got.answers {
		t.Errorf("%v of %d answers, %s", paths, got.answers, flaw)
	}
}

func TestNumbersOfProcessesSurviveTheCommandLine(t *testing.T) {
	for _, numbers := range [][]int{nil, {7}, {7, 8}} {
		if got, err := parseNumbers(joinNumbers(numbers)); err != nil || !slices.Equal(got, numbers) {
			t.Errorf("%v becomes %v, %v", numbers, got, err)
		}
	}
	if _, err := parseNumbers("7,x"); err == nil {
		t.Error("x is a number")
	}
}

func TestPrintNodes(t *testing.T) {
	of := func(requests int64) []contest {
		return []contest{{
			loadResult{Requests: requests, Answers: 2 * requests, Seconds: 1, ServerCPU: 0.1, Database: 0.05, P50: time.Millisecond, P99: 20 * time.Millisecond},
			account{groups: requests / 8, log: 4000 * requests, kept: 1000 * requests},
		}}
	}
	table := []line{{
		{contender{name: "echo64"}, of(4000)},
		{contender{name: "bare 2x32"}, of(2000)},
		{contender{name: "one node", against: "bare 2x32"}, of(1000)},
	}}
	var out strings.Builder
	printNodes(&out, []row{{name: "create64"}}, table)
	got, _, _ := strings.Cut(out.String(), "\n64 connections")
	want := `
row            on                 req/s       p50       p99    node CPU    database      log     kept  a group  of echo  of bare
create64       echo64              4000   1000 us     20 ms     25.0 us     12.5 us   2000 B    500 B     16.0     1.00        - 
create64       bare 2x32           2000   1000 us     20 ms     50.0 us     25.0 us   2000 B    500 B     16.0     0.50        - 
create64       one node            1000   1000 us     20 ms    100.0 us     50.0 us   2000 B    500 B     16.0     0.25     0.50 
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}
