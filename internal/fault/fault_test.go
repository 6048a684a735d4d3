package fault_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/parleyhq/parley/internal/fault"
)

var shape = cmpopts.IgnoreUnexported(fault.Error{})

func TestFromFindsTheFaultInAChain(t *testing.T) {
	want := fault.New(fault.Aborted, "ETAG_MISMATCH", "changed")
	if got := fault.From(fmt.Errorf("b: %w", fmt.Errorf("a: %w", want))); got != want {
		t.Errorf("From = %v, want the fault itself", got)
	}
}

func TestFromMakesAnInternalFaultOfOthers(t *testing.T) {
	cause := errors.New("dsn=secret")
	got := fault.From(cause)
	want := &fault.Error{Kind: fault.Internal, Reason: "INTERNAL", Message: "internal error"}
	if diff := cmp.Diff(want, got, shape); diff != "" {
		t.Errorf("fault (-want +got):\n%s", diff)
	}
	if !errors.Is(got, cause) {
		t.Error("the cause is lost to the log")
	}
}

func TestFromNilIsNil(t *testing.T) {
	if got := fault.From(nil); got != nil {
		t.Errorf("From(nil) = %v", got)
	}
}

func TestIs(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		kind fault.Kind
		want bool
	}{
		"the kind":       {fault.New(fault.NotFound, "R", "m"), fault.NotFound, true},
		"another":        {fault.New(fault.NotFound, "R", "m"), fault.Aborted, false},
		"an other error": {errors.New("x"), fault.Internal, true},
		"nil":            {nil, fault.Internal, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := fault.Is(test.err, test.kind); got != test.want {
				t.Errorf("Is = %t, want %t", got, test.want)
			}
		})
	}
}

func TestViolationsAreOneFault(t *testing.T) {
	var violations fault.Violations
	if err := violations.Err(); err != nil {
		t.Fatalf("Err() = %v of no violations", err)
	}
	violations.Addf("owners[3]", "must be at most %d bytes", 128)
	violations.Addf("profile", "is required")
	want := &fault.Error{
		Kind: fault.InvalidArgument, Reason: "INVALID_FIELDS", Message: "owners[3]: must be at most 128 bytes (and 1 more)",
		Violations: []fault.Violation{{Field: "owners[3]", Description: "must be at most 128 bytes"}, {Field: "profile", Description: "is required"}},
	}
	if diff := cmp.Diff(want, fault.From(violations.Err()), shape); diff != "" {
		t.Errorf("fault (-want +got):\n%s", diff)
	}
}

func TestAFaultTellsItsCauseToTheLogAlone(t *testing.T) {
	f := fault.New(fault.Unavailable, "FULL", "the disk is full").Because(errors.New("ENOSPC")).After(time.Second)
	if got := f.Error(); got != "the disk is full: ENOSPC" {
		t.Errorf("Error() = %q", got)
	}
	if f.Message != "the disk is full" || f.RetryAfter != time.Second {
		t.Errorf("fault = %+v", f)
	}
}

func TestShown(t *testing.T) {
	for name, want := range map[string]string{
		"":                       "",
		"a b":                    "a b",
		"a\nb\x00":               "a\ufffdb\ufffd",
		"ü":                      "ü",
		"\xff":                   "\ufffd",
		strings.Repeat("x", 64):  strings.Repeat("x", 64),
		strings.Repeat("ü", 999): strings.Repeat("ü", 64) + "...",
	} {
		if got := fault.Shown(name); got != want {
			t.Errorf("Shown(%q) = %q, want %q", name, got, want)
		}
	}
}
