package internal_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "github.com/parleyhq/parley/"

// layers says what of ours each package may import, tests aside. It is the architecture: a new line here is a decision.
var layers = map[string][]string{
	"internal/fault":          nil,
	"internal/session":        {"internal/fault"},
	"internal/store/commit":   {"internal/fault"},
	"internal/store/schema":   nil,
	"internal/store/transfer": {"internal/session"},
	"internal/store/sqlite": {
		"internal/fault", "internal/session", "internal/store/commit", "internal/store/schema", "internal/store/transfer",
	},
	"internal/store/postgres": {
		"internal/fault", "internal/session", "internal/store/commit", "internal/store/schema", "internal/store/transfer",
	},
	"internal/store/pgtest":    nil,
	"internal/followtest":      {"gen/parley/conversation/v1"},
	"internal/store/storetest": {"internal/fault", "internal/session"},
	"internal/tail":            {"internal/fault", "internal/session"},
	"internal/bus/natsbus":     {"internal/session"},
	"internal/auth":            {"internal/fault", "internal/session"},
	"internal/limit":           {"internal/fault"},
	"internal/gate":            {"internal/auth", "internal/fault", "internal/limit", "internal/session"},
	"internal/rpc":             {"gen/parley/conversation/v1", "internal/auth", "internal/fault", "internal/gate", "internal/session"},
	"internal/rest":            {"internal/auth", "internal/fault", "internal/gate", "internal/rpc", "internal/session"},
	"internal/natsapi": {
		"gen/parley/conversation/v1", "internal/auth", "internal/fault", "internal/gate", "internal/rpc", "internal/session",
	},
	"internal/config":  {"internal/auth"},
	"internal/certs":   nil,
	"internal/keyfile": {"internal/session"},
	"internal/app": {
		"internal/auth", "internal/bus/natsbus", "internal/certs", "internal/config", "internal/gate", "internal/keyfile",
		"internal/limit", "internal/natsapi", "internal/rest", "internal/rpc", "internal/session", "internal/store/postgres", "internal/store/sqlite",
		"internal/tail",
	},
	"cmd/parley": {
		"internal/app", "internal/auth", "internal/config", "internal/keyfile", "internal/session", "internal/store/postgres",
		"internal/store/schema", "internal/store/sqlite", "internal/store/transfer",
	},
	"bench":                      {"gen/parley/conversation/v1"},
	"tools/protoc/openapi":       nil,
	"gen/parley/conversation/v1": nil,
}

// testsOnly are the packages that only tests import.
var testsOnly = []string{"internal/followtest", "internal/store/pgtest", "internal/store/storetest"}

// imported is what each package of the module imports of the module, outside of its tests, with one file that does so.
func imported(t *testing.T) map[string]map[string]string {
	t.Helper()
	const root = ".." // the module's
	packages := map[string]map[string]string{}
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if file != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		of := filepath.ToSlash(relative)
		if packages[of] == nil {
			packages[of] = map[string]string{}
		}
		for _, spec := range parsed.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if ours, ok := strings.CutPrefix(name, module); ok {
				packages[of][ours] = file
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return packages
}

func TestEveryPackageImportsOnlyWhatItsLayerMay(t *testing.T) {
	for of, imports := range imported(t) {
		allowed, known := layers[of]
		if !known {
			t.Errorf("%s has no line in the table of layers", of)
			continue
		}
		for ours, file := range imports {
			if !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s, which %s may not (allowed: %s)", file, ours, of, strings.Join(allowed, ", "))
			}
		}
	}
}

func TestTheTableOfLayersIsCurrent(t *testing.T) {
	packages := imported(t)
	for _, of := range slices.Sorted(maps.Keys(layers)) {
		if packages[of] == nil {
			t.Errorf("%s is in the table of layers, and is no package", of)
		}
	}
}

func TestWhatIsForTestsIsNotShipped(t *testing.T) {
	for of, imports := range imported(t) {
		for ours, file := range imports {
			if slices.Contains(testsOnly, ours) {
				t.Errorf("%s imports %s, which is for tests; it is in %s", file, ours, of)
			}
		}
	}
}

func TestTheLayersHaveNoCycle(t *testing.T) {
	var visit func(of string, above []string)
	visit = func(of string, above []string) {
		if slices.Contains(above, of) {
			t.Fatalf("%s is above itself: %s", of, strings.Join(above, " > "))
		}
		for _, below := range layers[of] {
			visit(below, append(slices.Clone(above), of))
		}
	}
	for of := range layers {
		visit(of, nil)
	}
}

func TestOnlyTheCommandKnowsTheApp(t *testing.T) {
	var users []string
	for of, imports := range imported(t) {
		if imports["internal/app"] != "" {
			users = append(users, path.Clean(of))
		}
	}
	if diff := cmp.Diff([]string{"cmd/parley"}, users); diff != "" {
		t.Errorf("packages that import internal/app (-want +got):\n%s", diff)
	}
}
