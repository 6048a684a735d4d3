package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// files are a certificate's files, the Certificate made from them, and what it has logged.
type files struct {
	cert, key string
	loaded    *Certificate
	logged    bytes.Buffer
}

// newFiles makes the files of one.example in a directory of their own, and loads them.
func newFiles(t *testing.T) *files {
	t.Helper()
	dir := t.TempDir()
	f := &files{cert: filepath.Join(dir, "tls.crt"), key: filepath.Join(dir, "tls.key")}
	chain, key := pair(t, "one.example")
	write(t, f.cert, chain)
	write(t, f.key, key)
	f.load(t)
	return f
}

func (f *files) load(t *testing.T) {
	t.Helper()
	loaded, err := Load(f.cert, f.key, slog.New(slog.NewTextHandler(&f.logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	f.loaded = loaded
}

// pair makes a certificate of a name, which holds for a day, and its key, both in PEM.
func pair(t *testing.T, name string) (chain, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
}

// write puts a file where another may be, as a whole.
func write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// replace puts another pair into the files.
func (f *files) replace(t *testing.T, name string) {
	t.Helper()
	chain, key := pair(t, name)
	write(t, f.cert, chain)
	write(t, f.key, key)
}

// served is the name on the certificate that a client of TLS gets.
func (f *files) served(t *testing.T) string {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	client := tls.Client(near, &tls.Config{InsecureSkipVerify: true})
	result := make(chan error, 1)
	go func() { result <- tls.Server(far, f.loaded.Config()).HandshakeContext(t.Context()) }()
	if err := errors.Join(client.HandshakeContext(t.Context()), <-result); err != nil {
		t.Fatal(err)
	}
	leaf := client.ConnectionState().PeerCertificates[0]
	if err := leaf.VerifyHostname(leaf.Subject.CommonName); err != nil {
		t.Error(err)
	}
	return leaf.Subject.CommonName
}

// wait lets time pass, which costs nothing: the tests are in bubbles.
func wait(d time.Duration) { time.Sleep(d) } //nolint:forbidigo // as it says

// wantServed fails unless the files' certificate has the name, once they are looked at again.
func (f *files) wantServed(t *testing.T, want string) {
	t.Helper()
	wait(lookEvery)
	if got := f.served(t); got != want {
		t.Errorf("served is the certificate of %s, want %s; logged was\n%s", got, want, &f.logged)
	}
}

// wantLogged fails unless so many lines of the log have the level.
func (f *files) wantLogged(t *testing.T, level slog.Level, want int) {
	t.Helper()
	if got := strings.Count(f.logged.String(), "level="+level.String()); got != want {
		t.Errorf("the log has %d of level %s, want %d:\n%s", got, level, want, &f.logged)
	}
}

func TestTheCertificateIsServedAndReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFiles(t)
		if got := f.served(t); got != "one.example" {
			t.Errorf("served is the certificate of %s", got)
		}
		f.replace(t, "two.example")
		f.wantServed(t, "two.example")
		f.wantLogged(t, slog.LevelInfo, 1)
		f.wantServed(t, "two.example")
		f.wantLogged(t, slog.LevelInfo, 1)
		f.wantLogged(t, slog.LevelError, 0)
		f.wantLogged(t, slog.LevelWarn, 0)
	})
}

func TestTheFilesAreLookedAtOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFiles(t)
		f.replace(t, "two.example")
		wait(lookEvery - 1)
		if got := f.served(t); got != "one.example" {
			t.Errorf("within a second, served is the certificate of %s", got)
		}
		wait(1)
		if got := f.served(t); got != "two.example" {
			t.Errorf("after a second, served is the certificate of %s", got)
		}
	})
}

// A secret of Kubernetes is a link to a link to a directory, and the one in the middle is swapped.
func TestTheCertificateIsReplacedByALink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		version := func(name string) {
			t.Helper()
			chain, key := pair(t, name)
			if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, name, "tls.crt"), chain)
			write(t, filepath.Join(dir, name, "tls.key"), key)
			data := filepath.Join(dir, "..data")
			if err := errors.Join(os.Symlink(name, data+"_tmp"), os.Rename(data+"_tmp", data)); err != nil {
				t.Fatal(err)
			}
		}
		version("one.example")
		f := &files{cert: filepath.Join(dir, "tls.crt"), key: filepath.Join(dir, "tls.key")}
		if err := errors.Join(os.Symlink("..data/tls.crt", f.cert), os.Symlink("..data/tls.key", f.key)); err != nil {
			t.Fatal(err)
		}
		f.load(t)
		f.wantServed(t, "one.example")
		version("two.example")
		f.wantServed(t, "two.example")
		f.wantLogged(t, slog.LevelError, 0)
	})
}

func TestABrokenPairLeavesTheOneBefore(t *testing.T) {
	chain, key := pair(t, "other.example")
	for name, spoil := range map[string]func(*files) error{
		"no PEM":                   func(f *files) error { return os.WriteFile(f.cert, []byte("garbage"), 0o600) },
		"empty":                    func(f *files) error { return os.Truncate(f.key, 0) },
		"missing":                  func(f *files) error { return os.Remove(f.key) },
		"a key of another":         func(f *files) error { return os.WriteFile(f.key, key, 0o600) },
		"a certificate of another": func(f *files) error { return os.WriteFile(f.cert, chain, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFiles(t)
				if err := spoil(f); err != nil {
					t.Fatal(err)
				}
				f.wantServed(t, "one.example")
				f.wantServed(t, "one.example")
				f.wantLogged(t, slog.LevelError, 1)
				f.replace(t, "mended.example")
				f.wantServed(t, "mended.example")
				f.wantLogged(t, slog.LevelError, 1)
				f.wantLogged(t, slog.LevelInfo, 1)
			})
		})
	}
}

// Leave to read a file can be given without a trace in what is looked at.
func TestABrokenPairIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFiles(t)
		f.replace(t, "two.example")
		f.loaded.seen, f.loaded.broken = f.loaded.stat(), true // as if the files could not be read when they were new
		f.wantServed(t, "two.example")
		f.wantLogged(t, slog.LevelError, 0)
	})
}

func TestAnExpiredCertificateIsWarnedOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFiles(t)
		f.wantServed(t, "one.example")
		f.wantLogged(t, slog.LevelWarn, 0)
		wait(25 * time.Hour)
		f.wantServed(t, "one.example")
		f.wantServed(t, "one.example")
		f.wantLogged(t, slog.LevelWarn, 1)
		f.load(t) // as when the server starts
		f.wantLogged(t, slog.LevelWarn, 2)
		f.replace(t, "two.example")
		f.wantServed(t, "two.example")
		f.wantLogged(t, slog.LevelWarn, 2)
	})
}

func TestErrorsNameTheFileAndNothingOfItsContent(t *testing.T) {
	dir := t.TempDir()
	chain, key := pair(t, "one.example")
	_, other := pair(t, "two.example")
	const secret = "SESAME"
	odd := []byte("-----BEGIN " + secret + "-----\nU0VTQU1F\n-----END " + secret + "-----\n")
	noKey := []byte("-----BEGIN PRIVATE KEY-----\nU0VTQU1F\n-----END PRIVATE KEY-----\n")
	for name, test := range map[string]struct {
		chain, key []byte
		want       string
	}{
		"no certificate":    {nil, key, "tls.crt"},
		"no PEM":            {[]byte(secret), key, "tls.crt"},
		"another block":     {odd, key, "tls.crt"},
		"no key":            {chain, nil, "tls.key"},
		"no key in PEM":     {chain, []byte(secret), "tls.key"},
		"another key block": {chain, odd, "tls.key"},
		"malformed key":     {chain, noKey, "tls.key"},
		"a key of another":  {chain, other, "tls.key"},
	} {
		t.Run(name, func(t *testing.T) {
			cert, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
			for file, content := range map[string][]byte{cert: test.chain, keyFile: test.key} {
				_ = os.Remove(file)
				if content != nil {
					write(t, file, content)
				}
			}
			_, err := Load(cert, keyFile, slog.New(slog.DiscardHandler))
			if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, test.want)) || strings.Contains(err.Error(), secret) {
				t.Errorf("the error is %v, want one that names %s", err, test.want)
			}
		})
	}
}

func TestAuthoritiesAreOfAFileWithCertificates(t *testing.T) {
	dir := t.TempDir()
	chain, key := pair(t, "one.example")
	good, bad := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "key.pem")
	write(t, good, chain)
	write(t, bad, key)
	authorities, err := LoadAuthorities(good)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(chain)
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := certificate.Verify(x509.VerifyOptions{Roots: authorities}); err != nil {
		t.Error(err)
	}
	for _, file := range []string{bad, filepath.Join(dir, "missing.pem")} {
		if _, err := LoadAuthorities(file); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("LoadAuthorities(%s) = %v, want an error that names the file", file, err)
		}
	}
}
