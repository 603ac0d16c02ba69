package localacr

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// uploads are the sessions of blobs on their way in. A session is a file, and
// the signed state that the client carries from step to step; the running
// hashes kept in memory only save reading the file again at the end. So
// sessions outlive a restart, and cost nothing while they lie.
type uploads struct {
	dir    string
	key    []byte
	hashes *lru.Cache[string, running]
	busy   keylock
}

// running is the hash of the first n bytes of an upload.
type running struct {
	h hash.Hash
	n int64
}

// runningLimit is how many uploads are hashed while they arrive; more than
// that, and the longest idle ones are read again at the end.
const runningLimit = 1024

func newUploads(dir string, key []byte) *uploads {
	return &uploads{dir: dir, key: key, hashes: newLRU[running](runningLimit)}
}

var uploadGrammar = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

func validUploadID(s string) bool { return uploadGrammar.MatchString(s) }

func (u *uploads) path(id string) string { return filepath.Join(u.dir, id) }

// uploadState is what a client carries along, signed.
type uploadState struct {
	Name      string
	UUID      string
	Offset    int64
	StartedAt time.Time
}

// stateLimit is above any state of ours.
const stateLimit = 2048

// location is the address of the session's next step.
func (u *uploads) location(st uploadState) string {
	doc, err := json.Marshal(st)
	if err != nil {
		panic(err) // strings and numbers
	}
	state := base64.URLEncoding.EncodeToString(append(u.sign(doc), doc...))
	return "/v2/" + st.Name + "/blobs/uploads/" + st.UUID + "?_nouploadcache=false&_state=" + url.QueryEscape(state)
}

func (u *uploads) sign(doc []byte) []byte {
	mac := hmac.New(sha256.New, u.key)
	mac.Write(doc)
	return mac.Sum(nil)
}

// readState checks a state that came back.
func (u *uploads) readState(state string) (st uploadState, ok bool) {
	if len(state) > stateLimit {
		return st, false
	}
	raw, err := base64.URLEncoding.DecodeString(state)
	if err != nil || len(raw) < sha256.Size || !hmac.Equal(raw[:sha256.Size], u.sign(raw[sha256.Size:])) {
		return st, false
	}
	return st, json.Unmarshal(raw[sha256.Size:], &st) == nil
}

// create opens a new session.
func (u *uploads) create(name string) (uploadState, error) {
	st := uploadState{Name: name, UUID: newUUID(), StartedAt: time.Now().UTC()}
	f, err := os.OpenFile(u.path(st.UUID), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return st, err
	}
	u.hashes.Add(st.UUID, running{h: sha256.New()})
	return st, f.Close()
}

// lock gives the caller the session to itself, and says whether it stands where
// its state says. What arrived of a broken chunk stays in the file, and so puts
// the session beyond use, as on ACR.
func (u *uploads) lock(ctx context.Context, st uploadState) (usable bool, unlock func(), err error) {
	unlock, err = u.busy.lock(ctx, st.UUID)
	if err != nil {
		return false, nil, err
	}
	info, err := os.Stat(u.path(st.UUID))
	if err != nil {
		unlock()
		if errors.Is(err, fs.ErrNotExist) {
			err = errUploadUnknown()
		}
		return false, nil, err
	}
	return info.Size() == st.Offset, unlock, nil
}

// append adds what r has to a locked session and moves its state on. size is
// how much is to come, negative if unknown; with any other amount the session
// stays where it was, and the error is errChunkSize. After every other error
// it is beyond use.
func (u *uploads) append(st *uploadState, r io.Reader, size int64) error {
	f, err := os.OpenFile(u.path(st.UUID), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var w io.Writer = f
	run, known := u.hashes.Get(st.UUID)
	known = known && run.n == st.Offset
	// While bytes come in, the hash belongs to this step alone.
	u.hashes.Remove(st.UUID)
	if known {
		w = io.MultiWriter(f, run.h)
	}
	if size >= 0 {
		r = io.LimitReader(r, size+1) // more than that is too much, however much
	}
	n, err := copyBody(w, r)
	if err == nil && size >= 0 && n != size {
		return firstError(f.Truncate(st.Offset), errChunkSize)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	st.Offset += n
	if known {
		u.hashes.Add(st.UUID, running{run.h, st.Offset})
	}
	return nil
}

// errChunkSize says that a chunk is shorter or longer than was announced.
var errChunkSize = errors.New("the chunk is not as long as announced")

// digest returns the digest of a locked session's content.
func (u *uploads) digest(st uploadState, algorithm string) (string, error) {
	if run, ok := u.hashes.Get(st.UUID); ok && run.n == st.Offset && algorithm == "sha256" {
		return digestString(algorithm, run.h), nil
	}
	f, err := os.Open(u.path(st.UUID))
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := newHash(algorithm)
	_, err = copyBody(h, f)
	return digestString(algorithm, h), err
}

// remove ends a locked session.
func (u *uploads) remove(id string) error {
	u.hashes.Remove(id)
	return os.Remove(u.path(id))
}
