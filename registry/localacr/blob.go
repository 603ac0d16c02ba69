package localacr

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"time"
)

// findBlob returns what the repository knows of a blob, if it may be read, and
// keeps it from being collected for a while. One whose file is damaged counts as
// unknown: clients push it again then, which mends it.
func (x *exchange) findBlob() (blobRecord, error) {
	if b, err := x.lookUpBlob(); err != nil {
		return b, err
	}
	if kept, err := x.touched.touch(x.r.Context(), x.name, x.ref); err != nil || !kept {
		return blobRecord{}, firstError(err, errBlobUnknown())
	}
	// It may have been collected between the look and the touch.
	b, err := x.lookUpBlob()
	if err != nil {
		return b, err
	}
	whole, err := x.store.files.whole(x.ref, b.Size)
	if err == nil && !whole {
		x.damaged()
		err = errBlobUnknown()
	}
	return b, err
}

// damaged tells of a blob whose file is gone or cut short.
func (x *exchange) damaged() {
	x.cfg.Logger.Error("the file of a blob is damaged", "digest", x.ref)
}

func (x *exchange) lookUpBlob() (b blobRecord, err error) {
	err = x.store.view(func(v view) error {
		var ok bool
		var err error
		if b, ok, err = v.blob(x.name, x.ref); err != nil || !ok {
			return firstError(err, errBlobUnknown())
		}
		if ok, err := v.mayPullBlob(x.name); err != nil || !ok {
			return firstError(err, errLocked())
		}
		return nil
	})
	return b, err
}

// headBlob answers at once and knows no ranges.
func (x *exchange) headBlob() error {
	b, err := x.findBlob()
	if err != nil {
		return err
	}
	h := x.w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.FormatInt(b.Size, 10))
	h.Set("Docker-Content-Digest", x.ref)
	x.w.WriteHeader(http.StatusOK)
	return nil
}

// getBlob redirects to storage, or serves the blob itself if so configured.
func (x *exchange) getBlob() error {
	if _, err := x.findBlob(); err != nil {
		return err
	}
	x.w.Header().Set("Docker-Content-Digest", x.ref)
	if !x.cfg.DirectBlobs {
		http.Redirect(x.w, x.r, x.signedURL(x.ref, time.Now()), http.StatusTemporaryRedirect)
		return nil
	}
	f, info, err := x.openBlob()
	if errors.Is(err, fs.ErrNotExist) {
		return errBlobUnknown()
	}
	if err != nil {
		return err
	}
	defer f.Close()
	x.w.Header().Set("ETag", `"`+x.ref+`"`)
	start, n, status := parseRange(x.r.Header.Get("Range"), info.Size(), true)
	if status == http.StatusRequestedRangeNotSatisfiable {
		x.w.Header().Set("Content-Range", "bytes */"+strconv.FormatInt(info.Size(), 10))
		return refuse(status, "RANGE_INVALID", "invalid content range")
	}
	return x.sendFile(f, start, n, info.Size(), status)
}

// openBlob opens the file of a blob that is known.
func (x *exchange) openBlob() (*os.File, os.FileInfo, error) {
	f, err := x.store.files.open(x.ref)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			x.damaged()
		}
		return nil, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// pieceSize is sent under one deadline, see stallLimit. It is large enough not
// to cost anything, and small enough that nobody is cut off who takes 10 kB a
// second; below it the socket's buffer decides how slow that is.
const pieceSize = 1 << 20

// sendFile answers with n bytes of a file, from socket to disk without a copy
// in between where nothing has to be slowed or spoilt.
func (x *exchange) sendFile(f *os.File, start, n, size int64, status int) error {
	h := x.w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Length", strconv.FormatInt(n, 10))
	if status == http.StatusPartialContent {
		h.Set("Content-Range", "bytes "+strconv.FormatInt(start, 10)+"-"+strconv.FormatInt(start+n-1, 10)+"/"+strconv.FormatInt(size, 10))
	}
	x.w.WriteHeader(status)
	if x.r.Method == http.MethodHead {
		return nil
	}
	if _, err := f.Seek(start, io.SeekStart); err != nil {
		return err
	}
	for n > 0 {
		sent, err := io.CopyN(x.w, f, min(n, pieceSize))
		if err != nil {
			// Too late for an answer. A short file must not look whole.
			panic(http.ErrAbortHandler)
		}
		n -= sent
	}
	return nil
}
