// Package keyfile keeps the server's key ring in a file.
package keyfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/parleyhq/parley/internal/session"
)

// FileName is the file's name within the data directory, unless another one is named.
const FileName = "server.key"

const newFileMode = 0o600

// Load reads the ring. If there is no file and it is to be made, then it is made with a fresh ring, and is on the disk,
// whole, before anything is made with it. Of several who make it at the same time, all get the ring of the first.
func Load(path string, create bool) (*session.KeyRing, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		if err := makeFile(path, session.NewKeyRing().Encode()); err != nil {
			return nil, fmt.Errorf("server key: %w", err)
		}
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("server key: %w", err)
	}
	keys, err := session.ParseKeyRing(text)
	if err != nil {
		return nil, fmt.Errorf("server key: %s: %w", path, err)
	}
	return keys, nil
}

// Put makes the file with a ring. It fails if there is a file with another one.
func Put(path string, keys *session.KeyRing) error {
	if err := makeFile(path, keys.Encode()); err != nil {
		return fmt.Errorf("server key: %w", err)
	}
	return Check(path, keys)
}

// Check fails if there is a file that has another ring than this one.
func Check(path string, keys *session.KeyRing) error {
	present, err := Load(path, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !bytes.Equal(present.Encode(), keys.Encode()) {
		err = fmt.Errorf("server key: %s has another key ring", path)
	}
	return err
}

// Rotate adds a fresh key to the ring. The file keeps its owner and its mode; a crash leaves it as it was or as it is to
// be. Several rotations come one after the other. Servers that run do not notice.
func Rotate(path string) (err error) {
	path, err = filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("server key: %w", err)
	}
	lock, err := lockDir(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("server key: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	keys, err := Load(path, false)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("server key: %w", err)
	}
	rotated, err := keys.Rotate()
	if err != nil {
		return fmt.Errorf("server key: %s: %w", path, err)
	}
	if err := replaceFile(path, rotated.Encode(), info); err != nil {
		return fmt.Errorf("server key: %w", err)
	}
	return nil
}

// makeFile makes a file, unless there is one: its name is given to it once it is whole.
func makeFile(path string, content []byte) (err error) {
	name, err := writeBeside(path, content, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(name)) }()
	if err := os.Link(name, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(path)) // also for another's file: that one may not have come so far
}

// replaceFile puts a file with the owner and the mode of the one that is there in its place.
func replaceFile(path string, content []byte, replaces fs.FileInfo) error {
	name, err := writeBeside(path, content, replaces)
	if err != nil {
		return err
	}
	if err := os.Rename(name, path); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return syncDir(filepath.Dir(path))
}

// writeBeside writes a file in the same directory, and returns its name. The content is on the disk. It gets the owner and
// the mode of another file; nil: those of a new one.
func writeBeside(path string, content []byte, like fs.FileInfo) (name string, err error) {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return "", err
	}
	_, err = file.Write(content)
	if err := errors.Join(err, setOwner(file, like), file.Sync(), file.Close()); err != nil {
		return "", errors.Join(err, os.Remove(file.Name()))
	}
	return file.Name(), nil
}

func setOwner(file *os.File, like fs.FileInfo) error {
	if like == nil {
		return file.Chmod(newFileMode)
	}
	owner, ok := like.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("the file's owner is not known")
	}
	return errors.Join(file.Chown(int(owner.Uid), int(owner.Gid)), file.Chmod(like.Mode().Perm()))
}

// syncDir has the names in a directory on the disk.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
