//go:build unix

package pgtest

import (
	"errors"
	"fmt"
	"os"
)

// EngineVariable names an environment variable. If it is "sqlite" or "postgres" then OnBothEngines uses that one alone.
const EngineVariable = "TEST_PARLEY_ENGINE"

// OnBothEngines runs a suite of tests with the server under test on SQLite, for which the URL is empty, and again on
// PostgreSQL, with the URL of an empty database. It returns the first exit code that is not 0. Where PostgreSQL is not
// installed, it says so; see RequireVariable.
func OnBothEngines(suite func(databaseURL string) (code int)) (code int) {
	engine := os.Getenv(EngineVariable)
	if engine != "postgres" {
		code = suite("")
	}
	if code != 0 || engine == "sqlite" {
		return code
	}
	code, err := onPostgres(suite)
	switch {
	case errors.Is(err, errMissing) && engine == "" && os.Getenv(RequireVariable) != "require":
		fmt.Fprintf(os.Stderr, "not run on PostgreSQL: %v\n", err)
		return 0
	case err != nil:
		fmt.Fprintf(os.Stderr, "on PostgreSQL: %v\n", err)
		return 1
	default:
		return code
	}
}

func onPostgres(suite func(databaseURL string) (code int)) (code int, err error) {
	server, err := start()
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	if err := server.exec("CREATE DATABASE suite"); err != nil {
		return 1, err
	}
	fmt.Fprintln(os.Stderr, "on PostgreSQL:")
	return suite(server.url("suite")), nil
}
