package localacr

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// store is everything on disk: the database and the blob files beside it.
type store struct {
	db     *bolt.DB
	past   *past
	commit *committer
	files  files
	mark   time.Time // as it was at the start, see touched; zero: there was none
	secrets
}

// secrets are made once per data directory, so that tokens, signed URLs and
// upload sessions outlive a restart.
type secrets struct {
	seed     string          // what the registry's ids are made of, see idUnder
	tokenKey *rsa.PrivateKey // signs tokens
	urlKey   []byte          // signs blob URLs
	stateKey []byte          // signs the _state of uploads
}

// lockWait is how long Open waits for a server that is just going away.
const lockWait = time.Second

// mapSize is address space reserved for the database, not memory: a database
// that outgrows its mapping waits for every reader before it can go on.
const mapSize = 1 << 30

// openStore opens the data directory and creates what is missing. Lists lag
// that long behind.
func openStore(root string, lag time.Duration) (*store, error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("localacr: %w", err)
	}
	db, err := openDatabase(filepath.Join(root, "registry.db"))
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("localacr: data directory %s is in use by another server", root)
	}
	if err != nil {
		return nil, fmt.Errorf("localacr: open %s: %w", filepath.Join(root, "registry.db"), err)
	}
	st := &store{db: db, past: &past{db: db, lag: lag}}
	if err := st.prepare(root); err != nil {
		db.Close()
		return nil, fmt.Errorf("localacr: %w", err)
	}
	st.commit = startCommitter(db, st.past)
	return st, nil
}

// openDatabase opens the database if all of it is there. One that ends too
// soon, like a copy that broke off, would be a fault in the memory it is mapped
// into, now or at some later request.
func openDatabase(path string) (db *bolt.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if problem := recover(); problem != nil {
			err = fmt.Errorf("the file is damaged: %v", problem)
		}
	}()
	db, err = bolt.Open(path, 0o600, &bolt.Options{
		Timeout:         lockWait,
		FreelistType:    bolt.FreelistMapType,
		InitialMmapSize: mapSize,
	})
	if err != nil {
		return nil, err
	}
	err = db.View(func(tx *bolt.Tx) error {
		info, err := os.Stat(path)
		if err == nil && info.Size() < tx.Size() {
			err = fmt.Errorf("the file is damaged: %d bytes of %d are there", info.Size(), tx.Size())
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func (st *store) prepare(root string) (err error) {
	if st.files, err = openFiles(root); err != nil {
		return err
	}
	if st.db.View(func(tx *bolt.Tx) error { return st.load(tx) }) == nil {
		return nil
	}
	return st.db.Update(func(tx *bolt.Tx) error {
		for _, b := range buckets {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		if err := makeSecrets(tx.Bucket(bucketSettings)); err != nil {
			return err
		}
		return st.load(tx)
	})
}

// load reads the secrets of a database that is complete.
func (st *store) load(tx *bolt.Tx) error {
	for _, b := range buckets {
		if tx.Bucket(b) == nil {
			return fmt.Errorf("bucket %s is missing", b)
		}
	}
	get := func(name string) []byte { return append([]byte(nil), tx.Bucket(bucketSettings).Get([]byte(name))...) }
	key, err := x509.ParsePKCS8PrivateKey(get("token-key"))
	if err != nil {
		return fmt.Errorf("token key: %w", err)
	}
	rsaKey, ok := key.(*rsa.PrivateKey)
	if !ok {
		return errors.New("token key: not an RSA key")
	}
	if mark := get(markName); len(mark) == 8 {
		st.mark = time.Unix(0, int64(binary.BigEndian.Uint64(mark)))
	}
	st.secrets = secrets{seed: string(get("id")), tokenKey: rsaKey, urlKey: get("url-key"), stateKey: get("state-key")}
	return nil
}

func makeSecrets(b *bolt.Bucket) error {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(rsaKey)
	if err != nil {
		return err
	}
	for name, value := range map[string][]byte{
		"token-key": der,
		"id":        []byte(hex.EncodeToString(random(16))),
		"url-key":   random(32),
		"state-key": random(32),
	} {
		if b.Get([]byte(name)) != nil {
			continue
		}
		if err := b.Put([]byte(name), value); err != nil {
			return err
		}
	}
	return nil
}

// random returns n random bytes.
func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}

// markName is the setting that holds touched's mark.
const markName = "promised-until"

// saveMark stores the time that mark returns when its turn has come, so that
// of marks that only grow the latest stays, and returns it.
func (st *store) saveMark(ctx context.Context, mark func() time.Time) (saved time.Time, err error) {
	err = st.commit.do(ctx, func(e edit) error {
		saved = mark()
		return e.tx.Bucket(bucketSettings).Put([]byte(markName), binary.BigEndian.AppendUint64(nil, uint64(saved.UnixNano())))
	})
	return saved, err
}

// close finishes accepted changes and lets go of the directory.
func (st *store) close() error {
	st.commit.close()
	st.past.close()
	return st.db.Close()
}

// view runs f on a consistent snapshot. f must be quick and must not wait for
// a client: a database that has to grow waits for its readers.
func (st *store) view(f func(view) error) error {
	err := st.db.View(func(tx *bolt.Tx) error { return f(view{tx}) })
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return errClosed
	}
	return err
}

// lists is view for lists, which may lag behind.
func (st *store) lists(f func(view) error) error {
	if ok, err := st.past.view(f); ok {
		return err
	}
	return st.view(f)
}
