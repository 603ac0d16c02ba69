package localacr

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// startUpload opens a session. With mount and from it tries to link a blob of
// another repository first, with digest it takes the whole blob at once.
func (x *exchange) startUpload() error {
	if digest := x.query.Get("mount"); digest != "" {
		mounted, err := x.mount(digest, x.query.Get("from"))
		if err != nil {
			return err
		}
		if mounted {
			return x.created("/v2/"+x.name+"/blobs/"+digest, digest)
		}
	}
	st, err := x.uploads.create(x.name)
	if err != nil {
		return err
	}
	defer x.touched.pushes.step(st)()
	if x.query.Get("digest") != "" {
		err := x.finish(st)
		if err != nil {
			x.uploads.remove(st.UUID) // nobody knows of it
		}
		return err
	}
	return x.progress(http.StatusAccepted, st)
}

// mount links a blob that another repository has. One whose file is damaged is
// not mounted: the client uploads it then, which mends it.
func (x *exchange) mount(digest, from string) (mounted bool, err error) {
	if !validDigest(digest) || !validRepository(from) {
		return false, nil
	}
	err = x.store.commit.do(x.r.Context(), func(e edit) error {
		b, ok, err := e.blob(from, digest)
		if err != nil || !ok {
			return err
		}
		if may, err := e.mayPullBlob(from); err != nil || !may {
			return err
		}
		if whole, err := x.store.files.whole(digest, b.Size); err != nil || !whole {
			return err
		}
		mounted = true
		return e.linkBlob(x.name, digest, b.Size, instant())
	})
	return mounted, err
}

// session checks the state that the client brought and takes the session, if
// it can go on from there.
func (x *exchange) session() (st uploadState, unlock func(), err error) {
	st, usable, leave, err := x.anySession()
	if err != nil {
		return st, nil, err
	}
	if !usable {
		leave()
		return st, nil, errUploadInvalid()
	}
	end := x.touched.pushes.step(st)
	return st, func() { end(); leave() }, nil
}

// anySession is session for one that may be beyond use.
func (x *exchange) anySession() (st uploadState, usable bool, unlock func(), err error) {
	st, ok := x.uploads.readState(x.query.Get("_state"))
	if !ok || st.Name != x.name || st.UUID != x.ref {
		return st, false, nil, errUploadInvalid()
	}
	usable, unlock, err = x.uploads.lock(x.r.Context(), st)
	return st, usable, unlock, err
}

// appendUpload takes one chunk.
func (x *exchange) appendUpload() error {
	st, unlock, err := x.session()
	if err != nil {
		return err
	}
	defer unlock()
	if err := x.takeChunk(&st); err != nil {
		return err
	}
	return x.progress(http.StatusAccepted, st)
}

// takeChunk appends the request's body, after a look at its Content-Range.
func (x *exchange) takeChunk(st *uploadState) error {
	size := x.r.ContentLength
	if header := x.r.Header.Get("Content-Range"); header != "" {
		start, end, ok := parseContentRange(header)
		switch {
		case !ok:
			return errUploadRange("-1--1", "the Content-Range header format is invalid")
		case start != st.Offset:
			return errUploadRange(header, fmt.Sprintf("the chunk does not begin at offset %d", st.Offset))
		case size >= 0 && size != end-start+1:
			return errUploadRange(header, "the Content-Range does not match the Content-Length")
		}
		size = end - start + 1
	}
	before := st.Offset
	err := x.uploads.append(st, x.input(), size)
	x.counters.received.Add(st.Offset - before)
	if errors.Is(err, errChunkSize) {
		return errUploadRange(x.r.Header.Get("Content-Range"), err.Error())
	}
	if err != nil {
		return err
	}
	return x.touched.cover(x.r.Context(), time.Now())
}

// finishUpload takes the last bytes and makes the upload a blob.
func (x *exchange) finishUpload() error {
	st, unlock, err := x.session()
	if err != nil {
		return err
	}
	defer unlock()
	return x.finish(st)
}

func (x *exchange) finish(st uploadState) error {
	want := x.query.Get("digest")
	if !validDigest(want) {
		return errDigestInvalid("digest parsing failed")
	}
	if err := x.takeChunk(&st); err != nil {
		return err
	}
	algorithm, _, _ := strings.Cut(want, ":")
	got, err := x.uploads.digest(st, algorithm)
	if err != nil {
		return err
	}
	if got != want {
		x.uploads.remove(st.UUID)
		return errDigestInvalid("content does not match digest")
	}
	if err := x.store.adopt(x.r.Context(), x.uploads.path(st.UUID), x.name, want, st.Offset); err != nil {
		return err
	}
	x.uploads.hashes.Remove(st.UUID)
	return x.created("/v2/"+x.name+"/blobs/"+want, want)
}

func (x *exchange) statusUpload() error {
	st, unlock, err := x.session()
	if err != nil {
		return err
	}
	defer unlock()
	return x.progress(http.StatusNoContent, st)
}

// cancelUpload ends a session, also one that is good for nothing else.
func (x *exchange) cancelUpload() error {
	st, _, unlock, err := x.anySession()
	if err != nil {
		return err
	}
	defer unlock()
	if err := x.uploads.remove(st.UUID); err != nil {
		return err
	}
	return x.empty(http.StatusNoContent)
}

// progress answers with the session's next address and how far it is.
func (x *exchange) progress(status int, st uploadState) error {
	h := x.w.Header()
	h.Set("Location", x.uploads.location(st))
	h.Set("Docker-Upload-Uuid", st.UUID)
	h.Set("Range", "0-"+strconv.FormatInt(max(st.Offset-1, 0), 10))
	return x.empty(status)
}

func (x *exchange) created(location, digest string) error {
	x.w.Header().Set("Location", location)
	x.w.Header().Set("Docker-Content-Digest", digest)
	return x.empty(http.StatusCreated)
}

// putManifest stores a manifest, under a tag or by its digest alone.
func (x *exchange) putManifest() error {
	data, err := io.ReadAll(io.LimitReader(x.input(), manifestLimit+1))
	if err != nil {
		return err
	}
	if len(data) > manifestLimit {
		return errManifestInvalid()
	}
	x.counters.received.Add(int64(len(data)))
	tag, want := x.ref, ""
	if validDigest(x.ref) {
		tag, want = "", x.ref
	}
	contentType, _, _ := strings.Cut(x.r.Header.Get("Content-Type"), ";")
	p, err := parseManifest(strings.TrimSpace(contentType), data, want)
	switch {
	case err == errOtherDigest:
		return errDigestInvalid(errOtherDigest.Error())
	case err != nil:
		return errManifestInvalid()
	}
	if err := x.store.push(x.r.Context(), x.name, tag, p); err != nil {
		return err
	}
	if p.Subject != nil && !x.cfg.NoReferrers {
		x.w.Header().Set("OCI-Subject", p.Subject.Digest)
	}
	return x.created("/v2/"+x.name+"/manifests/"+p.digest, p.digest)
}
