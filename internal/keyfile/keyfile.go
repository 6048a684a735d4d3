// Package keyfile keeps the server's key ring in a file.
package keyfile

import (
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
// whole, before anything is made with it.
func Load(path string, create bool) (*session.KeyRing, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		keys := session.NewKeyRing()
		if err := writeWhole(path, keys.Encode(), nil); err != nil {
			return nil, fmt.Errorf("server key: %w", err)
		}
		return keys, nil
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

// Rotate adds a fresh key to the ring. The file keeps its owner and its mode; a crash leaves it as it was or as it is to
// be. Servers that run do not notice.
func Rotate(path string) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("server key: %w", err)
	}
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
	if err := writeWhole(path, rotated.Encode(), info); err != nil {
		return fmt.Errorf("server key: %w", err)
	}
	return nil
}

// writeWhole writes a file of which a crash leaves all or nothing. It gets the owner and the mode of the file that it
// replaces; nil: there is none.
func writeWhole(path string, content []byte, replaces fs.FileInfo) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	_, err = file.Write(content)
	err = errors.Join(err, setOwner(file, replaces), file.Sync(), file.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
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
